package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// pause sets from when until when notifications of a product are paused.
func (e *env) pause(product int64, from, until *time.Time) {
	e.t.Helper()
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		p, err := dbmodel.ProductForUpdate(ctx, tx, product)
		if err != nil {
			return err
		}
		p.PausedFrom, p.PausedUntil = from, until
		return dbmodel.SaveProduct(ctx, tx, p)
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// heldBack is an error where another number of notifications than want is held back.
func (e *env) heldBack(want int) error {
	var n int
	err := e.db.NewRaw("SELECT count(*) FROM notifications WHERE held_back").Scan(e.t.Context(), &n)
	if err == nil && n != want {
		err = fmt.Errorf("%d are held back, want %d", n, want)
	}
	return err
}

// TestPauseEndsWithDigest: each contact that was held back gets one message, a subscription with a schedule in its next slot; a
// pause that begins later holds nothing back before.
func TestPauseEndsWithDigest(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/product")
		e.subscribe("team", rule.Slack, func(s *dbmodel.Subscription) {
			about(1)(s)
			s.MinSeverity = rule.Critical
		}, e.receiver.URL+"/team", e.receiver.URL+"/product")
		slow := e.subscribe("slow", rule.Slack, func(s *dbmodel.Subscription) {
			about(1)(s)
			daily(s)
		}, e.receiver.URL+"/slow")
		tomorrow, later := time.Now().AddDate(0, 0, 1), time.Now().AddDate(0, 0, 2)
		e.pause(1, &tomorrow, &later)
		e.accept(observation(1, 1, rule.High))
		e.idle(10 * time.Second)
		e.pause(1, nil, &later)
		e.accept(observation(2, 1, rule.Critical), observation(3, 1, rule.High))
		e.idle(10 * time.Second)
		resolved := observation(3, 1, rule.High)
		resolved.Status = rule.Resolved
		e.accept(resolved)
		e.idle(10 * time.Second)
		e.slotComes(slow.ID)
		e.pause(1, nil, nil)
		testenv.Eventually(t, 15*time.Second, func() error {
			if n := len(e.receiver.headlines("/team")); n == 0 {
				return errors.New("nothing yet")
			}
			return nil
		}, "the pause ends")
		e.slotComes(slow.ID)
		after := "After the pause, Product 1: 1 new Critical"
		for path, want := range map[string][]string{
			"/product": {"High: CVE-1 in Product 1", after}, "/team": {after},
			"/slow": {"Daily, Product 1: 1 new High", "Daily, Product 1: 1 new Critical"},
		} {
			if diff := cmp.Diff(want, e.receiver.headlines(path)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		}
	})
}

// TestPauseOfGroupEnds: by time. Its contact gets one digest of all products, which names the group.
func TestPauseOfGroupEnds(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		mail := &letters{got: map[string][]*channel.Message{}}
		e := newEnv(t, db, func(w *Worker) { w.Senders[rule.Email] = mail })
		e.settings(func(s *dbmodel.Settings) { s.EmailFrom = "tocsin@example.com" })
		ends := func(until time.Time) {
			g := &dbmodel.ProductGroup{ID: 3, Name: "Payments"}
			g.PausedUntil = &until
			if err := dbmodel.SaveProductGroup(t.Context(), db, g); err != nil {
				t.Fatal(err)
			}
		}
		ends(time.Now().AddDate(0, 0, 1))
		e.contact(rule.Holder{Kind: rule.HolderGroup, ID: 3}, rule.Email, "team@example.com")
		for id := range int64(2) {
			p := &dbmodel.Product{ID: id + 1, Name: "P", ProductGroupID: new(int64(3))}
			p.MinSeverity = rule.High
			if err := dbmodel.SaveProduct(t.Context(), db, p); err != nil {
				t.Fatal(err)
			}
		}
		e.accept(observation(1, 1, rule.High), observation(2, 2, rule.High))
		e.idle(10 * time.Second)
		ends(time.Now().Add(-time.Second))
		testenv.Eventually(t, 15*time.Second, func() error { return e.heldBack(0) }, "the pause ends")
		e.idle(10 * time.Second)
		mail.mu.Lock()
		defer mail.mu.Unlock()
		got := mail.got["team@example.com"]
		if len(got) != 1 || got[0].Headline != "After the pause, P and 1 more: 2 new High" ||
			got[0].Reason != "because team@example.com is set in the notification settings of group Payments" {
			t.Errorf("mail: %+v", got)
		}
	})
}

// TestEndOfPauseWaitsNotForEver: a transaction that stores notifications and hangs holds the end of a pause up for a
// while; then the run ends, and the next one tries again. SQLite has one writer, which no other waits for.
func TestEndOfPauseWaitsNotForEver(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	e := newEnv(t, db, nil)
	ctx := t.Context()
	e.product(1, "/product")
	later := time.Now().AddDate(0, 0, 1)
	e.pause(1, nil, &later)
	e.accept(observation(1, 1, rule.High))
	e.idle(10 * time.Second)
	e.scheduler.Shutdown()
	e.pause(1, nil, nil)
	hangs, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer hangs.Rollback() //nolint:errcheck // it is over by then
	if _, err := hangs.ExecContext(ctx, "LOCK TABLE notifications IN ROW EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	if p, err := dbmodel.NextEndedPause(ctx, db, 50*time.Millisecond); err == nil {
		t.Fatalf("the pause ends, though not all is stored: %+v", p)
	}
	if err := hangs.Rollback(); err != nil {
		t.Fatal(err)
	}
	if p, err := dbmodel.NextEndedPause(ctx, db, time.Minute); err != nil || p == nil || len(p.Products) != 1 {
		t.Errorf("the pause does not end: %+v, %v", p, err)
	}
}

// TestPauseEndsBesideSlots: what a pause held back goes while a slot takes long, not after it. SQLite has one writer,
// which nothing else can hold up.
func TestPauseEndsBesideSlots(t *testing.T) {
	t.Parallel()
	db := testenv.OpenDB(t, testenv.PostgresURL(t, testenv.MigrateSchema))
	e := newEnv(t, db, nil)
	e.product(1, "")
	e.product(2, "/product")
	slow := e.dailyDigest("")
	later := time.Now().AddDate(0, 0, 1)
	e.pause(2, nil, &later)
	e.accept(observation(1, 1, rule.High), observation(2, 2, rule.High))
	e.idle(10 * time.Second)
	slot := func() *time.Time {
		s, err := dbmodel.VisibleSubscriptionByID(t.Context(), db, everything, slow.ID)
		if err != nil {
			t.Fatal(err)
		}
		return s.LastSlotAt
	}
	e.slotIsDue(slow)
	err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewRaw("SELECT 1 FROM subscriptions WHERE id = ? FOR UPDATE", slow.ID).Exec(ctx); err != nil {
			return err
		}
		testenv.Eventually(t, 15*time.Second, func() error {
			var waiting int
			err := e.db.NewRaw("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%last_slot_at%' "+
				"AND datname = current_database()").Scan(ctx, &waiting)
			if err == nil && waiting == 0 {
				err = errors.New("it does not wait")
			}
			return err
		}, "the slot waits")
		e.pause(2, nil, nil)
		testenv.Eventually(t, 15*time.Second, func() error {
			if len(e.receiver.headlines("/product")) == 0 {
				return errors.New("nothing yet")
			}
			return nil
		}, "the pause ends")
		if at := slot(); at != nil {
			t.Errorf("the slot was made at %s", at)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 15*time.Second, func() error {
		if slot() == nil {
			return errors.New("not yet")
		}
		return nil
	}, "the slot is made")
	e.idle(10 * time.Second)
	if diff := cmp.Diff([]string{"Daily, Product 1: 1 new High"}, e.receiver.headlines("/team")); diff != "" {
		t.Errorf("headlines (-want +got):\n%s", diff)
	}
}
