package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// resubscribe changes a stored subscription.
func (e *env) resubscribe(id int64, change func(*dbmodel.Subscription)) {
	e.t.Helper()
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		s, err := dbmodel.VisibleSubscriptionForUpdate(ctx, tx, everything, id)
		if err != nil {
			return err
		}
		change(s)
		return dbmodel.SaveSubscription(ctx, tx, s)
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// high has an observation in product 1 notified.
func (e *env) high(ids ...int64) {
	e.t.Helper()
	for _, id := range ids {
		e.accept(observation(id, 1, rule.High))
	}
	e.idle(10 * time.Second)
}

// TestChangedScheduleNamesEachOnce: whatever is changed about when notifications go, each goes at once or in a digest.
func TestChangedScheduleNamesEachOnce(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		s := e.dailyDigest(rule.Critical)
		e.accept(observation(1, 1, rule.High), observation(2, 1, rule.Critical))
		e.idle(10 * time.Second)
		e.resubscribe(s.ID, func(s *dbmodel.Subscription) { s.ImmediateMinSeverity = rule.High })
		e.high(3)
		e.resubscribe(s.ID, func(s *dbmodel.Subscription) { s.ImmediateMinSeverity = "" })
		e.slotComes(s.ID)
		e.high(4, 5, 6)
		e.resubscribe(s.ID, func(s *dbmodel.Subscription) { s.Schedule = "" })
		e.high(7)
		e.slotComes(s.ID)
		e.high(8)
		e.resubscribe(s.ID, daily)
		e.slotComes(s.ID)
		want := []string{
			"Critical: CVE-2 in Product 1", "High: CVE-3 in Product 1", "Daily, Product 1: 1 new High",
			"High: CVE-7 in Product 1", "Last digest, Product 1: 3 new High", "High: CVE-8 in Product 1",
		}
		if diff := cmp.Diff(want, e.receiver.headlines("/team")); diff != "" {
			t.Errorf("headlines (-want +got):\n%s", diff)
		}
	})
}

// TestScheduleRemovedAndSetAgain: what waited for the last digest of the old schedule is in the first one of the new.
func TestScheduleRemovedAndSetAgain(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		s := e.dailyDigest("")
		later := time.Now().AddDate(0, 0, 1)
		e.high(1)
		e.resubscribe(s.ID, func(s *dbmodel.Subscription) { s.Schedule = "" })
		e.high(2)
		e.pause(1, nil, &later)
		e.high(3)
		e.pause(1, nil, nil) // the last digest of the schedule takes what was held back
		testenv.Eventually(t, 15*time.Second, func() error { return e.heldBack(0) }, "the pause ends")
		e.resubscribe(s.ID, daily)
		e.slotComes(s.ID)
		want := []string{"High: CVE-2 in Product 1", "Daily, Product 1: 2 new High"}
		if diff := cmp.Diff(want, e.receiver.headlines("/team")); diff != "" {
			t.Errorf("headlines (-want +got):\n%s", diff)
		}
	})
}

// TestDecidedUnderTheOldSchedule: an evaluation that read the schedule before it was removed, and ends after, loses nothing; nor does one
// that read that there is none.
func TestDecidedUnderTheOldSchedule(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		s := e.dailyDigest("")
		e.resubscribe(s.ID, func(s *dbmodel.Subscription) { s.Schedule = "" })
		stored := []dbmodel.NewNotification{{Notification: dbmodel.Notification{
			Type: rule.TypeTask, Name: "it waited", ProductID: new(int64(1)),
		}}}
		err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.InsertNotifications(ctx, tx, stored)
		})
		if err != nil {
			t.Fatal(err)
		}
		e.high(1)
		e.slotComes(s.ID)
		want := []string{"High: CVE-1 in Product 1", "Last digest: 1 failed background task"}
		if diff := cmp.Diff(want, e.receiver.headlines("/team")); diff != "" {
			t.Errorf("headlines (-want +got):\n%s", diff)
		}
	})
}

// TestWithdrawnBeforeItsSlot: what waits for the slot of a subscription that is disabled or deleted is not sent, and its deliveries
// say why.
func TestWithdrawnBeforeItsSlot(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		var all []*dbmodel.Subscription
		alice := e.user("alice", func(u *dbmodel.User) { u.IsAdmin = true })
		for i, name := range []string{"disabled", "deleted", "unsubscribed"} {
			all = append(all, e.subscribe(name, rule.Slack, func(s *dbmodel.Subscription) {
				daily(s)
				about(1)(s)
				if i == 2 {
					of(alice)(s)
				}
			}, e.receiver.URL+"/"+name))
		}
		e.high(1)
		e.resubscribe(all[0].ID, func(s *dbmodel.Subscription) { s.Enabled = false })
		if err := dbmodel.DeleteSubscription(t.Context(), db, all[1].ID); err != nil {
			t.Fatal(err)
		}
		if _, err := dbmodel.DisableSubscription(t.Context(), db, all[2].ID); err != nil {
			t.Fatal(err)
		}
		seen, err := dbmodel.Subscriptions(t.Context(), db, everything, dbmodel.SubscriptionFilter{}, 10)
		if err != nil || len(seen) != 2 {
			t.Errorf("%d subscriptions are seen (%v), want 2", len(seen), err)
		}
		for _, s := range all {
			e.slotIsDue(s)
		}
		testenv.Eventually(t, 15*time.Second, func() error {
			for _, d := range e.deliveries(dbmodel.Failed) {
				if d.LastError != dbmodel.WithdrawnReason {
					t.Errorf("a delivery failed: %s", d.LastError)
				}
			}
			if n := len(e.deliveries(dbmodel.Failed)); n != 3 {
				return fmt.Errorf("%d deliveries failed, want 3", n)
			}
			return nil
		}, "the deliveries fail")
		if sent := e.receiver.bodies(); len(sent) > 0 {
			t.Errorf("sent: %v", sent)
		}
		var left int
		if err := db.NewRaw("SELECT count(*) FROM subscriptions WHERE next_slot_at IS NOT NULL OR deleted").Scan(t.Context(), &left); err != nil || left != 0 {
			t.Errorf("%d subscriptions have not ended (%v)", left, err)
		}
	})
}

// TestResentDigestIsOneMessage: who resends one delivery of a digest resends all of it that failed, as one message.
func TestResentDigestIsOneMessage(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		s := e.dailyDigest("")
		e.high(1, 2, 3)
		refuse := func(status int) {
			e.receiver.mu.Lock()
			defer e.receiver.mu.Unlock()
			e.receiver.answer = func(string, int) (int, map[string]string) { return status, nil }
		}
		refuse(400)
		e.slotComes(s.ID)
		failed := e.deliveries(dbmodel.Failed)
		if len(failed) != 3 {
			t.Fatalf("%d deliveries failed, want 3", len(failed))
		}
		refuse(200)
		err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			r, err := dbmodel.ResendableByID(ctx, tx, everything, failed[1].ID)
			if err != nil {
				return err
			}
			_, err = dbmodel.Resend(ctx, tx, r)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		e.idle(10 * time.Second)
		if diff := cmp.Diff([]string{"Daily, Product 1: 3 new High"}, e.receiver.headlines("/team")); diff != "" {
			t.Errorf("headlines (-want +got):\n%s", diff)
		}
		if left := e.deliveries(dbmodel.Failed); len(left) > 0 {
			t.Errorf("%d deliveries are still failed", len(left))
		}
	})
}
