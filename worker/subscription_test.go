package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// user adds a user, or changes the one of this name.
func (e *env) user(name string, change func(*dbmodel.User)) int64 {
	e.t.Helper()
	var id int64
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		u, _, err := dbmodel.EnsuredUser(ctx, tx, name)
		if err != nil {
			return err
		}
		if change != nil {
			change(u)
		}
		id = u.ID
		return dbmodel.SaveUser(ctx, tx, u)
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return id
}

func (e *env) member(product, user int64) {
	e.t.Helper()
	if err := dbmodel.SetMember(e.t.Context(), e.db, dbmodel.InProduct(product), user, rule.Reader); err != nil {
		e.t.Fatal(err)
	}
}

// subscribe stores an enabled subscription, changed before, whose contacts are by one channel.
func (e *env) subscribe(name string, c rule.Channel, change func(*dbmodel.Subscription), addresses ...string) *dbmodel.Subscription {
	e.t.Helper()
	s := &dbmodel.Subscription{Name: name, Enabled: true}
	if change != nil {
		change(s)
	}
	var contacts []dbmodel.ContactChange
	for _, a := range addresses {
		contacts = append(contacts, dbmodel.ContactChange{Channel: c, Address: a, Secret: signingSecret})
	}
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if err := dbmodel.AddSubscription(ctx, tx, s); err != nil {
			return err
		}
		return dbmodel.SetSubscriptionContacts(ctx, tx, e.vault, s, contacts)
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

// signingSecret is that of all signed webhooks here.
const signingSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// of gives a subscription its user.
func of(user int64) func(*dbmodel.Subscription) {
	return func(s *dbmodel.Subscription) { s.UserID = &user }
}

// about gives a subscription its product.
func about(product int64) func(*dbmodel.Subscription) {
	return func(s *dbmodel.Subscription) { s.ProductID = &product }
}

// TestSubscribersReceive: each what its filter and its sight let through, and each target once.
func TestSubscribersReceive(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/product")
		e.product(2, "")
		e.settings(func(s *dbmodel.Settings) {
			s.MemberNotificationTypes, s.DigestThreshold = []rule.Type{rule.TypeObservation}, 0
		})
		url := e.receiver.URL
		alice, bob, carol := e.user("alice", nil), e.user("bob", nil), e.user("carol", func(u *dbmodel.User) { u.IsAdmin = true })
		e.member(1, alice)
		e.subscribe("team", rule.Slack, about(1), url+"/team", url+"/product")
		e.subscribe("critical", rule.Slack, func(s *dbmodel.Subscription) { s.MinSeverity = rule.Critical }, url+"/critical")
		e.subscribe("alice", rule.Slack, of(alice), url+"/alice")
		e.subscribe("bob", rule.Slack, of(bob), url+"/bob")
		e.subscribe("carol", rule.Slack, of(carol), url+"/carol")
		e.subscribe("off", rule.Slack, func(s *dbmodel.Subscription) { s.Enabled = false }, url+"/off")
		e.subscribe("later", rule.Slack, func(s *dbmodel.Subscription) { s.Schedule = "0 8 1 1 *" }, url+"/later")
		e.subscribe("sooner", rule.Slack, func(s *dbmodel.Subscription) {
			s.Schedule, s.ImmediateMinSeverity = "0 8 1 1 *", rule.Critical
		}, url+"/sooner")
		e.subscribe("titles", rule.Slack, func(s *dbmodel.Subscription) {
			s.Types = []rule.Type{rule.TypeObservationTitle, rule.TypeSecurityGate}
		}, url+"/titles")
		e.subscribe("observations", rule.Slack, func(s *dbmodel.Subscription) {
			s.Types = []rule.Type{rule.TypeSecurityGate, rule.TypeObservation}
		}, url+"/observations")
		e.accept(observation(1, 1, rule.High), observation(2, 2, rule.Critical))
		e.idle(10 * time.Second)

		one, two := "High: CVE-1 in Product 1", "Critical: CVE-2 in Product 2"
		for path, want := range map[string][]string{
			"/product": {one}, "/team": {one}, "/critical": {two}, "/alice": {one}, "/bob": nil, "/carol": {one, two}, "/off": nil, "/later": nil,
			"/sooner": {two}, "/titles": nil, "/observations": {one, two},
		} {
			got := e.receiver.headlines(path)
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		}
		// What comes from another user's subscription, or from one to everything, is not for everybody to see.
		seen := func(user int64) int {
			list, err := dbmodel.Deliveries(t.Context(), db, dbmodel.Viewer{UserID: user}, dbmodel.DeliveryFilter{}, 100)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		e.member(1, bob)
		if a, b := seen(alice), seen(bob); a != 3 || b != 2 {
			t.Errorf("alice sees %d deliveries, bob %d", a, b)
		}
	})
}

// TestSightIsAskedAgain: a user who loses a product, the rights of an administrator or the account between storing and sending.
func TestSightIsAskedAgain(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		for id := range int64(3) {
			e.product(id+1, "")
		}
		ctx, url := t.Context(), e.receiver.URL
		alice, bob, carol := e.user("alice", nil), e.user("bob", nil), e.user("carol", func(u *dbmodel.User) { u.IsAdmin = true })
		for name, id := range map[string]int64{"alice": alice, "bob": bob, "carol": carol} {
			e.member(1, id)
			e.subscribe(name, rule.Slack, of(id), url+"/"+name)
		}
		e.receiver.mu.Lock()
		e.receiver.answer = func(string, int) (int, map[string]string) { return 503, map[string]string{"Retry-After": "1"} }
		e.receiver.mu.Unlock()
		const secret = "what only administrators read"
		e.report(accept.NewTaskException(accept.TaskExceptionInfo{
			ExceptionInfo: accept.ExceptionInfo{Class: "ValueError", Message: secret, Function: "import"}, ProductID: 1,
		}))
		testenv.Eventually(t, 10*time.Second, func() error {
			if n := e.receiver.tried("/alice") * e.receiver.tried("/bob") * e.receiver.tried("/carol"); n == 0 {
				return fmt.Errorf("not tried yet")
			}
			return nil
		}, "three tries")
		if err := dbmodel.RemoveMember(ctx, db, dbmodel.InProduct(1), alice); err != nil {
			t.Fatal(err)
		}
		err := db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteUser(ctx, tx, bob) })
		if err != nil {
			t.Fatal(err)
		}
		e.user("carol", func(u *dbmodel.User) { u.IsAdmin = false })
		e.receiver.mu.Lock()
		e.receiver.answer = nil
		e.receiver.mu.Unlock()
		e.idle(20 * time.Second)

		if got := e.receiver.headlines("/carol"); len(got) != 1 {
			t.Errorf("carol: %v", got)
		}
		for _, path := range []string{"/alice", "/bob"} {
			if got := e.receiver.headlines(path); len(got) > 0 {
				t.Errorf("%s: %v", path, got)
			}
		}
		failed := e.deliveries(dbmodel.Failed)
		for _, d := range failed {
			if d.LastError != "Its user does not see this notification any more." {
				t.Errorf("failed: %+v", d)
			}
		}
		if list := e.notifications(); len(failed) != 2 || len(list) != 1 {
			t.Errorf("%d failed deliveries, %d notifications", len(failed), len(list))
		}
		bodies := e.receiver.bodies()
		if len(bodies) != 1 || slices.ContainsFunc(bodies, contains(secret)) {
			t.Errorf("carol, who is no administrator any more, reads %v", bodies)
		}
	})
}

// letters notes the mail that it takes.
type letters struct {
	mu  sync.Mutex
	got map[string][]*channel.Message
}

func (l *letters) Send(_ context.Context, to channel.Target, m *channel.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got[to.Address.Reveal()] = append(l.got[to.Address.Reveal()], m)
	return nil
}

// TestUnsubscribeLink: mail has the link where a personal subscription is its only reason, a digest too.
func TestUnsubscribeLink(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		mail := &letters{got: map[string][]*channel.Message{}}
		e := newEnv(t, db, func(w *Worker) { w.Senders[rule.Email] = mail })
		e.settings(func(s *dbmodel.Settings) {
			s.EmailFrom, s.MemberNotificationTypes = "tocsin@example.com", []rule.Type{rule.TypeObservation}
		})
		e.product(1, "")
		e.product(2, "")
		e.contact(rule.Holder{Kind: rule.HolderProduct, ID: 1}, rule.Email, "alex@example.com")
		alex := e.user("alex", func(u *dbmodel.User) { u.Email = "alex@example.com" })
		e.member(1, alex)
		e.member(2, alex)
		sub := e.subscribe("Mine", rule.Email, of(alex), "")
		e.accept(observation(1, 1, rule.High)) // the product's contact comes first
		e.idle(10 * time.Second)
		e.accept(observation(2, 2, rule.High))
		e.idle(10 * time.Second)
		list := make([]dbmodel.Observation, 30)
		for i := range list {
			list[i] = observation(int64(10+i), 2, rule.High)
		}
		e.accept(list...)
		e.idle(10 * time.Second)
		mail.mu.Lock()
		defer mail.mu.Unlock()
		got := mail.got["alex@example.com"]
		if len(got) != 3 {
			t.Fatalf("%d mails", len(got))
		}
		link := fmt.Sprintf("http://tocsin.example/unsubscribe/%d/%s", sub.ID, e.vault.UnsubscribeKey(sub.ID))
		for i, want := range []string{"", link, link} {
			if got[i].Unsubscribe != want || (want != "") != strings.Contains(got[i].Reason, "the subscription Mine") {
				t.Errorf("mail %d: %q, %q", i, got[i].Unsubscribe, got[i].Reason)
			}
		}
	})
}
