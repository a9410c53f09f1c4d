package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestWithdrawnSubscriptions: what waits for a subscription that is disabled or deleted meanwhile fails, unless another one sends
// it to the same target.
func TestWithdrawnSubscriptions(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		e.product(2, "")
		e.settings(func(s *dbmodel.Settings) { s.MemberNotificationTypes = []rule.Type{rule.TypeObservation} })
		ctx, url := t.Context(), e.receiver.URL
		alice := e.user("alice", nil)
		e.member(1, alice)
		disabled := []*dbmodel.Subscription{
			e.subscribe("team", rule.Slack, about(1), url+"/disabled"),
			e.subscribe("alice", rule.Slack, of(alice), url+"/alice"),
			e.subscribe("first", rule.Slack, about(1), url+"/twice"),
			e.subscribe("narrow", rule.Slack, about(1), url+"/elsewhere"),
		}
		deleted := e.subscribe("deleted", rule.Slack, about(1), url+"/deleted")
		e.subscribe("second", rule.Slack, about(1), url+"/twice")
		e.subscribe("of another product", rule.Slack, about(2), url+"/elsewhere")
		e.subscribe("stays", rule.Slack, about(1), url+"/stays")

		paths := []string{"/disabled", "/alice", "/twice", "/elsewhere", "/deleted", "/stays"}
		targets := e.keepBack(paths)
		e.accept(observation(1, 1, rule.High))
		e.waitFor("the deliveries", func() bool { return len(e.deliveries(dbmodel.Pending)) == len(paths) })
		e.disable(disabled)
		if err := dbmodel.DeleteSubscription(ctx, db, deleted.ID); err != nil {
			t.Fatal(err)
		}
		got := e.release(targets, paths)
		want := map[string]int{"/disabled": 0, "/alice": 0, "/twice": 1, "/elsewhere": 0, "/deleted": 0, "/stays": 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
		var reasons []string
		for _, d := range e.deliveries(dbmodel.Failed) {
			reasons = append(reasons, fmt.Sprint(d.Attempts, " ", d.LastError))
		}
		const reason = "0 Its subscription was disabled or deleted before it was sent."
		if !slices.Equal(reasons, slices.Repeat([]string{reason}, 4)) || len(e.notifications()) != 1 {
			t.Errorf("failed: %q, %d notifications", reasons, len(e.notifications()))
		}
	})
}

// TestAnotherSubscriptionTakesOver: what one subscription does not bring any more goes on as that of another one with
// the same target that takes it, and says everything only where an administrator still receives there.
func TestAnotherSubscriptionTakesOver(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		e.group(5, 1)
		e.group(6, 0)
		e.settings(func(s *dbmodel.Settings) { s.MemberNotificationTypes = []rule.Type{rule.TypeTask} })
		ctx, url := t.Context(), e.receiver.URL
		admin := func(u *dbmodel.User) { u.IsAdmin = true }
		leaves, stays := e.user("leaves", nil), e.user("stays", nil)
		demoted, boss := e.user("demoted", admin), e.user("boss", admin)
		e.member(1, leaves)
		e.member(1, stays)
		e.member(1, demoted)
		narrow := func(s *dbmodel.Subscription) { s.UserID, s.Events = &stays, []rule.Event{rule.EventNew} }
		// Of two personal ones the older one brings what both take; a team's comes first.
		disabled := []*dbmodel.Subscription{
			e.subscribe("disabled", rule.Slack, of(leaves), url+"/disabled"),
			e.subscribe("team", rule.Slack, about(1), url+"/team", url+"/filtered"),
		}
		e.subscribe("leaves", rule.Slack, of(leaves), url+"/seen")
		e.subscribe("stays", rule.Slack, of(stays), url+"/seen", url+"/disabled", url+"/team")
		e.subscribe("narrow", rule.Slack, narrow, url+"/filtered")
		e.subscribe("masked", rule.Slack, about(1), url+"/masked", url+"/whole", url+"/group", url+"/other-group")
		e.subscribe("demoted", rule.Slack, of(demoted), url+"/masked", url+"/whole", url+"/group", url+"/other-group")
		e.subscribe("boss", rule.Slack, of(boss), url+"/whole")
		e.subscribe("group", rule.Slack, ofGroup(boss, 5), url+"/group")
		e.subscribe("other group", rule.Slack, ofGroup(boss, 6), url+"/other-group")

		paths := []string{"/seen", "/disabled", "/team", "/filtered", "/masked", "/whole", "/group", "/other-group"}
		targets := e.keepBack(paths)
		const secret = "what only administrators read"
		e.report(accept.NewTaskException(accept.TaskExceptionInfo{
			ExceptionInfo: accept.ExceptionInfo{Class: "ValueError", Message: secret, Function: "import"}, ProductID: 1,
		}))
		e.waitFor("the deliveries", func() bool { return len(e.deliveries(dbmodel.Pending)) == len(paths) })
		if err := dbmodel.RemoveMember(ctx, db, dbmodel.InProduct(1), leaves); err != nil {
			t.Fatal(err)
		}
		e.user("demoted", func(u *dbmodel.User) { u.IsAdmin = false })
		e.disable(disabled)
		got := e.release(targets, paths)
		want := map[string]int{
			"/seen": 1, "/disabled": 1, "/team": 1, "/filtered": 0, "/masked": 1, "/whole": 1, "/group": 1, "/other-group": 1,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
		// They are those at /whole and /group: what goes to the others is masked.
		whole := slices.DeleteFunc(e.receiver.bodies(), func(body string) bool { return !strings.Contains(body, secret) })
		if len(whole) != 2 {
			t.Errorf("%d messages say everything: %q", len(whole), whole)
		}
		failed := e.deliveries(dbmodel.Failed)
		if len(failed) != 1 || failed[0].LastError != dbmodel.WithdrawnReason {
			t.Errorf("failed: %+v", failed)
		}
	})
}

// group makes a product group, of which a product becomes a part; 0: none.
func (e *env) group(id, product int64) {
	e.t.Helper()
	if err := dbmodel.SaveProductGroup(e.t.Context(), e.db, &dbmodel.ProductGroup{ID: id, Name: "Group"}); err != nil {
		e.t.Fatal(err)
	}
	e.exec("UPDATE products SET product_group_id = ? WHERE id = ?", id, product)
}

// ofGroup gives a subscription its user and its product group.
func ofGroup(user, group int64) func(*dbmodel.Subscription) {
	return func(s *dbmodel.Subscription) { s.UserID, s.ProductGroupID = &user, &group }
}

// keepBack takes the leases of the Slack webhooks with these paths, so that what is for them waits until release.
func (e *env) keepBack(paths []string) (targets []int64) {
	e.t.Helper()
	ctx := e.t.Context()
	addresses := make([]string, len(paths))
	for i, path := range paths {
		addresses[i] = e.receiver.URL + path
	}
	targets, err := dbmodel.EnsureTargets(ctx, e.db, e.vault, rule.Slack, addresses)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, id := range targets {
		if lease, err := dbmodel.TakeTarget(ctx, e.db, id, "test"); err != nil || !lease.Mine {
			e.t.Fatal(lease, err)
		}
	}
	return targets
}

// release gives the targets of keepBack back, and returns how many messages came for each path.
func (e *env) release(targets []int64, paths []string) map[string]int {
	e.t.Helper()
	ctx := e.t.Context()
	for _, id := range targets {
		if err := dbmodel.YieldTarget(ctx, e.db, id, "test"); err != nil {
			e.t.Fatal(err)
		}
	}
	e.queue.Poke(ctx, targets)
	e.idle(10 * time.Second)
	got := map[string]int{}
	for _, path := range paths {
		got[path] = len(e.receiver.headlines(path))
	}
	return got
}

// disable disables subscriptions as a change of their rows alone does.
func (e *env) disable(list []*dbmodel.Subscription) {
	e.t.Helper()
	for _, s := range list {
		_, err := e.db.ExecContext(e.t.Context(), "UPDATE subscriptions SET enabled = ? WHERE id = ?", false, s.ID)
		if err != nil {
			e.t.Fatal(err)
		}
	}
}
