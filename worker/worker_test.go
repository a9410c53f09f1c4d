package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

func TestObservationFromNewToDropped(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/a")
		e.accept(observation(1, 1, rule.High))
		e.idle(10 * time.Second)
		e.accept(observation(1, 1, rule.High)) // as it is stored
		e.accept(observation(1, 1, rule.Critical))
		e.idle(10 * time.Second)
		e.accept(observation(1, 1, rule.Low))
		e.idle(10 * time.Second)
		e.accept(observation(1, 1, rule.Medium))
		e.idle(10 * time.Second)
		want := []string{"High: CVE-1 in Product 1", "High → Critical: CVE-1 in Product 1", "Critical → Low, no longer notified: CVE-1 in Product 1"}
		if diff := cmp.Diff(want, e.receiver.headlines("/a")); diff != "" {
			t.Errorf("notified (-want +got):\n%s", diff)
		}
		if sent := e.deliveries(dbmodel.Sent); len(sent) != 3 || sent[0].Attempts != 1 {
			t.Errorf("deliveries: %+v", sent)
		}
	})
}

func TestGatesAreNotifiedInOrder(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.settings(func(s *dbmodel.Settings) { s.DigestThreshold = 0 })
		e.product(1, "/gate")
		var want []string
		for i := range 30 {
			passed := i%2 == 0
			e.report(accept.NewSecurityGate(1, &passed))
			word := map[bool]string{true: "passed", false: "failed"}[passed]
			want = append(want, "Security gate "+word+": Product 1")
		}
		e.idle(20 * time.Second)
		if diff := cmp.Diff(want, e.receiver.headlines("/gate")); diff != "" {
			t.Errorf("notified (-want +got):\n%s", diff)
		}
		e.report(accept.NewSecurityGate(1, nil))
		e.idle(20 * time.Second)
		state := func(s message.State) string {
			text, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		var got []string
		for _, n := range e.notifications() {
			got = append(got, state(message.Before(&n))+state(message.After(&n)))
		}
		first, last := `{"passed":null}{"passed":true}`, `{"passed":false}{"passed":null}`
		want = append(slices.Repeat([]string{`{"passed":true}{"passed":false}`, `{"passed":false}{"passed":true}`}, 15)[:29], last)
		if diff := cmp.Diff(append([]string{first}, want...), got); diff != "" {
			t.Errorf("before and after (-want +got):\n%s", diff)
		}
	})
}

func TestTitleOfSeveralProducts(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		e.product(2, "")
		e.contact(rule.Holder{Kind: rule.HolderTitles}, rule.Slack, e.receiver.URL+"/titles")
		e.settings(func(s *dbmodel.Settings) { s.TitleMinSeverity = rule.Medium })
		a, b, c := observation(1, 1, rule.Medium), observation(2, 2, rule.Critical), observation(3, 2, rule.Critical)
		b.Title, c.Title, b.Priority = a.Title, a.Title, new(7)
		e.accept(a, b, c)
		e.idle(10 * time.Second)
		if got := e.receiver.headlines("/titles"); len(got) != 1 || got[0] != "Critical in 2 products: CVE-1" {
			t.Errorf("notified: %q", got)
		}
		all := e.notifications()
		if len(all) != 3 { // two observations from High on, and one title
			t.Fatalf("%d notifications: %+v", len(all), all)
		}
		if p := all[2].AfterPriority; p == nil || *p != 7 {
			t.Errorf("the worst is not the one with a priority: %+v", all[2])
		}
	})
}

func TestDigestsOfAnImport(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, func(w *Worker) { w.Rates = map[rule.Channel]float64{rule.Slack: 5} })
		dead := "/dead"
		e.receiver.answer = func(path string, _ int) (int, map[string]string) {
			if path == dead {
				return 503, nil
			}
			return 200, nil
		}
		const imported = 5000 / testenv.Slowdown
		e.product(1, "/live")
		e.product(2, dead)
		var list []dbmodel.Observation
		for i := range int64(imported) {
			list = append(list, observation(i+1, 1, rule.High))
		}
		list = append(list, observation(9000, 2, rule.Critical))
		e.accept(list...)
		live := func() (n int) {
			for _, d := range e.deliveries(dbmodel.Sent) {
				if d.State == dbmodel.Sent {
					n++
				}
			}
			return n
		}
		testenv.Eventually(t, 30*time.Second, func() error {
			if n := live(); n != imported {
				return fmt.Errorf("%d sent", n)
			}
			return nil
		}, "the live target does not get everything")
		if n := len(e.receiver.headlines("/live")); n > 30 {
			t.Errorf("%d messages for %d notifications", n, imported)
		}
		testenv.Eventually(t, 20*time.Second, func() error {
			pending := e.deliveries(dbmodel.Pending)
			if len(pending) != 1 || pending[0].LastError == "" || pending[0].NextAttemptAt == nil {
				return fmt.Errorf("%+v", pending)
			}
			return nil
		}, "what is known of the dead target's delivery")
		if n := e.receiver.tried(dead); n > 12 {
			t.Errorf("the dead target was tried %d times", n)
		}
	})
}

func TestOrderIsKeptOverRetries(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.receiver.answer = func(_ string, try int) (int, map[string]string) {
			switch try {
			case 1:
				return 500, nil
			case 3:
				return 429, map[string]string{"Retry-After": "1"}
			}
			return 200, nil
		}
		e.product(1, "/a")
		want := []string{"High: CVE-1 in Product 1"}
		for i := range 5 {
			severity, headline := rule.High, "Critical → High: CVE-1 in Product 1"
			if i%2 == 1 {
				severity, headline = rule.Critical, "High → Critical: CVE-1 in Product 1"
			}
			if i > 0 {
				want = append(want, headline)
			}
			e.accept(observation(1, 1, severity))
			testenv.Eventually(t, 10*time.Second, func() error {
				if n := len(e.notifications()); n != i+1 {
					return fmt.Errorf("%d notifications", n)
				}
				return nil
			}, "the state is not evaluated before the next one")
		}
		e.idle(30 * time.Second)
		if diff := cmp.Diff(want, e.receiver.headlines("/a")); diff != "" {
			t.Errorf("notified (-want +got):\n%s", diff)
		}
	})
}

func TestRefusedForGood(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.receiver.answer = func(_ string, try int) (int, map[string]string) {
			if try == 1 {
				return 404, nil
			}
			return 200, nil
		}
		e.product(1, "/a")
		e.accept(observation(1, 1, rule.High))
		e.idle(10 * time.Second)
		e.accept(observation(2, 1, rule.High))
		e.idle(10 * time.Second)
		failed := e.deliveries(dbmodel.Failed)
		if len(failed) != 1 || !strings.Contains(failed[0].LastError, "404") || strings.Contains(failed[0].LastError, "127.0.0.1") {
			t.Errorf("failed: %+v", failed)
		}
		if got := e.receiver.headlines("/a"); len(got) != 1 {
			t.Errorf("notified: %q", got)
		}
	})
}

// leaking panics with the address that it sends to.
type leaking struct{}

func (leaking) Send(_ context.Context, to channel.Target, _ *channel.Message) error {
	panic("post to " + to.Address.Reveal())
}

// TestPanicKeepsTheAddress: what a sender panics with is neither logged nor notified.
func TestPanicKeepsTheAddress(t *testing.T) {
	t.Parallel()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	e := newEnv(t, testenv.SQLiteDB(t), func(w *Worker) {
		w.Senders[rule.Slack], w.Log = leaking{}, zerolog.New(log)
	})
	e.product(1, "/s3cr3t")
	e.accept(observation(1, 1, rule.High))
	testenv.Eventually(t, 20*time.Second, func() error {
		if list := e.notifications(); len(list) != 2 || list[1].Type != rule.TypeTask {
			return fmt.Errorf("notifications: %+v", list)
		}
		return nil
	}, "the panic is not reported")
	for _, n := range e.notifications() {
		if strings.Contains(fmt.Sprintf("%+v", n), "s3cr3t") {
			t.Errorf("notified: %+v", n)
		}
	}
	if text, err := os.ReadFile(log.Name()); err != nil || strings.Contains(string(text), "s3cr3t") || !strings.Contains(string(text), "a string") {
		t.Errorf("the log: %s %v", text, err)
	}
}

// TestAddressWithLostKey: where the keys in the database are gone, what waits for an address that they sealed fails and says
// why, and an address that is set anew is used.
func TestAddressWithLostKey(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/a")
		e.product(2, "/b")
		if _, err := db.DB.DB.ExecContext(t.Context(), "UPDATE targets SET address = (SELECT address FROM targets WHERE id = 2) WHERE id = 1"); err != nil {
			t.Fatal(err)
		}
		if _, err := db.DB.DB.ExecContext(t.Context(), "UPDATE targets SET channel = 'ms_teams' WHERE id = 1"); err != nil { // another channel's opens as little as another key's
			t.Fatal(err)
		}
		err := dbmodel.SetContacts(t.Context(), db, rule.Holder{Kind: rule.HolderExceptions}, rule.Slack, []rule.Contact{{Target: 2}})
		if err != nil {
			t.Fatal(err)
		}
		e.accept(observation(1, 1, rule.High), observation(2, 2, rule.High))
		e.idle(20 * time.Second)
		failed := e.deliveries(dbmodel.Failed)
		if len(failed) != 1 || !strings.Contains(failed[0].LastError, "the key that sealed it is lost") {
			t.Errorf("failed: %+v", failed)
		}
		got := e.receiver.headlines("/b")
		if len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), "Microsoft Teams webhook of Product 1 fails: the address cannot be read") {
			t.Errorf("notified: %q", got)
		}
	})
}

func TestEmailWithoutServerFailsAtOnce(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.settings(func(s *dbmodel.Settings) { s.EmailFrom = "tocsin@example.com" })
		p := &dbmodel.Product{ID: 1, Name: "P"}
		p.MinSeverity = rule.High
		if err := dbmodel.SaveProduct(t.Context(), db, p); err != nil {
			t.Fatal(err)
		}
		e.contact(rule.Holder{Kind: rule.HolderProduct, ID: 1}, rule.Email, "a@example.com", "A@EXAMPLE.COM")
		e.accept(observation(1, 1, rule.High))
		e.idle(10 * time.Second)
		failed := e.deliveries(dbmodel.Failed)
		if len(failed) != 1 || !strings.Contains(failed[0].LastError, "SMTP_URL") {
			t.Errorf("failed: %+v", failed)
		}
	})
}

func TestPausedGetsNoDeliveries(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/a")
		p, err := dbmodel.ProductByID(t.Context(), db, 1)
		if err != nil {
			t.Fatal(err)
		}
		p.PausedUntil = new(time.Now().Add(time.Hour))
		if err := dbmodel.SaveProduct(t.Context(), db, p); err != nil {
			t.Fatal(err)
		}
		e.accept(observation(1, 1, rule.High))
		e.idle(10 * time.Second)
		if n := e.notifications(); len(n) != 1 || len(e.receiver.headlines("/a")) != 0 || len(e.deliveries("")) != 0 {
			t.Errorf("paused: %+v", n)
		}
	})
}

func TestPanicSetsOneAside(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, func(w *Worker) {
			w.fault = func(o *dbmodel.StoredObservation) {
				if o.ID == 7 {
					panic("the \x00 seventh \xff") // texts that PostgreSQL does not take
				}
			}
		})
		e.product(1, "/a")
		var list []dbmodel.Observation
		for i := range int64(20) {
			list = append(list, observation(i+1, 1, rule.High))
		}
		e.accept(list...)
		e.hurried(60 * time.Second)
		all := e.notifications()
		if len(all) != 20 { // nineteen, and what became of the twentieth
			t.Fatalf("%d notifications", len(all))
		}
		if n := all[19]; n.Type != rule.TypeTask || n.Name != "Panic" || n.Function != queue.TypeOf(dbmodel.KindObservation) || !strings.Contains(n.Trace, "observation 7") {
			t.Errorf("reported: the one that is set aside: %+v", n)
		}
		c, err := dbmodel.Count(t.Context(), db)
		if err != nil || c.FailedEvents != 1 {
			t.Errorf("counts: %+v %v", c, err)
		}
	})
}

func TestHangingTargetsDelayNobody(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.receiver.answer = func(path string, _ int) (int, map[string]string) {
			if strings.HasPrefix(path, "/hang") {
				return 0, nil
			}
			return 200, nil
		}
		const hanging = 300 / testenv.Slowdown // more than one provider that stands still
		for i := range int64(hanging) {
			e.product(i+1, fmt.Sprintf("/hang/%d", i))
			e.accept(observation(i+1, i+1, rule.High))
		}
		e.product(1000, "/live")
		testenv.Eventually(t, 10*time.Second, func() error {
			for i := range hanging {
				if e.receiver.tried(fmt.Sprintf("/hang/%d", i)) == 0 {
					return fmt.Errorf("target %d is not tried yet", i)
				}
			}
			return nil
		}, "the targets do not hang yet")
		began := time.Now()
		e.accept(observation(1000, 1000, rule.High))
		testenv.Eventually(t, 5*time.Second, func() error {
			if len(e.receiver.headlines("/live")) == 0 {
				return fmt.Errorf("not notified")
			}
			return nil
		}, "a hanging target delays others")
		t.Logf("notified after %s", time.Since(began))
		if n := len(e.notifications()); n != hanging+1 {
			t.Errorf("%d notifications", n)
		}
		e.receiver.CloseClientConnections()
	})
}

func TestHandlersRunTwice(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/a")
		e.accept(observation(1, 1, rule.High))
		for range 50 {
			e.queue.Enqueue(t.Context(), []dbmodel.QueueableEvent{{ID: 1, Kind: dbmodel.KindObservation}, {ID: 1, Kind: dbmodel.KindObservation, Alone: true}})
			e.queue.Poke(t.Context(), []int64{1})
		}
		e.idle(10 * time.Second)
		if n, got := e.notifications(), e.receiver.headlines("/a"); len(n) != 1 || len(got) != 1 {
			t.Errorf("%d notifications, delivered %q", len(n), got)
		}
	})
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	for failures := range 100 {
		d := backOffTime(failures)
		if d < firstBackOff*3/4 || d > mostBackOff*5/4 {
			t.Fatalf("after %d failures: %s", failures, d)
		}
	}
	if d := backOffTime(0); d > 4*time.Second {
		t.Errorf("the first retry comes after %s", d)
	}
}

// TestStatementsThatTakeTooLong are those that PostgreSQL itself ends: an import is taken apart, and what takes too long alone
// is set aside.
func TestStatementsThatTakeTooLong(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(testenv.PostgresURL(t, testenv.MigrateSchema))
	if err != nil {
		t.Fatal(err)
	}
	query := address.Query()
	query.Set("statement_timeout", "1s")
	address.RawQuery = query.Encode()
	db := testenv.OpenDB(t, address.String())
	_, err = db.ExecContext(t.Context(), `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM pg_sleep(CASE NEW.name WHEN 'CVE-7' THEN 2 ELSE 0.1 END); RETURN NEW;
		END $$; CREATE TRIGGER slow BEFORE INSERT ON notifications FOR EACH ROW WHEN (NEW.type = 'observation') EXECUTE FUNCTION slow()`)
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, db, nil)
	e.product(1, "/a")
	var list []dbmodel.Observation
	for i := range int64(20) {
		list = append(list, observation(i+1, 1, rule.High))
	}
	e.accept(list...)
	e.hurried(60 * time.Second)
	c, err := dbmodel.Count(t.Context(), db)
	if n := len(e.notifications()); n != 20 || err != nil || c.FailedEvents != 1 { // nineteen, and what became of the twentieth
		t.Errorf("%d notifications, %+v, %v", n, c, err)
	}
}
