package worker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// daily gives a subscription a schedule.
func daily(s *dbmodel.Subscription) { s.Schedule, s.Timezone = "0 8 * * *", "Europe/Berlin" }

// slotIsDue has the next slot of a subscription come.
func (e *env) slotIsDue(s *dbmodel.Subscription) (due time.Time) {
	e.t.Helper()
	due = s.NextSlotAt.AddDate(0, 0, -1)
	s.NextSlotAt = &due
	if _, err := e.db.NewUpdate().Model(s).Column("next_slot_at").WherePK().Exec(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	return due
}

// slotComes has the next slot of a subscription come, and waits until it is over.
func (e *env) slotComes(id int64) {
	e.t.Helper()
	ctx := e.t.Context()
	s, err := dbmodel.VisibleSubscriptionByID(ctx, e.db, everything, id)
	if err != nil {
		e.t.Fatal(err)
	}
	// A run that began before would take the slot, which is a day old, and sum up to its own beginning.
	e.waitFor("no run is under way", func() bool {
		var left int
		err := e.db.NewRaw("SELECT count(*) FROM periodic_tasks WHERE task = ? AND status IN ('pending', 'running')",
			dbmodel.PeriodicDigests).Scan(ctx, &left)
		return err == nil && left == 0
	})
	past := e.slotIsDue(s)
	testenv.Eventually(e.t, 15*time.Second, func() error {
		s, err := dbmodel.VisibleSubscriptionByID(ctx, e.db, everything, id)
		if err == nil && s.NextSlotAt != nil && !s.NextSlotAt.After(past) {
			err = errors.New("the slot is not over")
		}
		return err
	}, "a slot")
	e.idle(15 * time.Second)
}

// dailyDigest subscribes a team to product 1 by the schedule daily, and to what is at least as severe as atOnce without
// it; empty: to nothing.
func (e *env) dailyDigest(atOnce rule.Severity) *dbmodel.Subscription {
	e.t.Helper()
	return e.subscribe("Mine", rule.Slack, func(s *dbmodel.Subscription) {
		about(1)(s)
		daily(s)
		s.ImmediateMinSeverity = atOnce
	}, e.receiver.URL+"/team")
}

// TestDigestOfSlot: net changes of what did not go at once, in one message; nothing where nothing changed.
func TestDigestOfSlot(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		s := e.dailyDigest(rule.Critical)
		e.accept(observation(1, 1, rule.High), observation(2, 1, rule.Critical), observation(3, 1, rule.High))
		e.idle(10 * time.Second)
		resolved := observation(1, 1, rule.High) // others lie between its two notifications
		resolved.Status = rule.Resolved
		e.accept(resolved)
		e.idle(10 * time.Second)
		e.slotComes(s.ID)
		e.slotComes(s.ID)
		e.accept(observation(3, 1, rule.Medium), observation(2, 1, rule.High))
		e.idle(10 * time.Second)
		e.slotComes(s.ID)
		want := []string{
			"Critical: CVE-2 in Product 1", "Daily, Product 1: 1 new High", "Daily, Product 1: 1 better, 1 no longer notified",
		}
		if diff := cmp.Diff(want, e.receiver.headlines("/team")); diff != "" {
			t.Errorf("headlines (-want +got):\n%s", diff)
		}
		bodies := e.receiver.bodies()
		if last := bodies[len(bodies)-1]; !strings.Contains(last, "Critical → High") || !strings.Contains(last, "?viewed=all&digest=2") {
			t.Errorf("the last message: %s", last)
		}
	})
}

// TestDigestFollowsSight: a user who loses a product before the slot, or between the slot and the send, reads nothing of it.
func TestDigestFollowsSight(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.settings(func(s *dbmodel.Settings) { s.MemberNotificationTypes = []rule.Type{rule.TypeObservation} })
		for id := range int64(3) {
			e.product(id+1, "")
		}
		alice := e.user("alice", nil)
		for id := range int64(3) {
			e.member(id+1, alice)
		}
		s := e.subscribe("Mine", rule.Slack, func(s *dbmodel.Subscription) {
			of(alice)(s)
			daily(s)
		}, e.receiver.URL+"/alice")
		e.accept(observation(1, 1, rule.High), observation(2, 2, rule.High), observation(3, 3, rule.High))
		e.idle(10 * time.Second)
		lose := func(product int64) {
			if err := dbmodel.RemoveMember(t.Context(), db, dbmodel.InProduct(product), alice); err != nil {
				t.Error(err)
			}
		}
		lose(1)
		e.receiver.mu.Lock()
		e.receiver.answer = func(_ string, try int) (int, map[string]string) {
			if try == 1 {
				lose(2)
				return 503, map[string]string{"Retry-After": "0"}
			}
			return 200, nil
		}
		e.receiver.mu.Unlock()
		e.slotComes(s.ID)
		if diff := cmp.Diff([]string{"Daily, Product 3: 1 new High"}, e.receiver.headlines("/alice")); diff != "" {
			t.Errorf("headlines (-want +got):\n%s", diff)
		}
		if slices.ContainsFunc(e.receiver.bodies(), contains("Product 2")) {
			t.Error("the message names a product that its user does not see")
		}
		if failed := e.deliveries(dbmodel.Failed); len(failed) != 1 {
			t.Errorf("%d failed deliveries: %v", len(failed), failed)
		}
	})
}

// TestDigestsOfDifferingSight: of users with the same schedule and the same filter each reads about the own products, and
// a signed webhook gets their notifications.
func TestDigestsOfDifferingSight(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e, data := newEnv(t, db, withWebhooks), newDataReceiver(t)
		e.settings(func(s *dbmodel.Settings) { s.MemberNotificationTypes = []rule.Type{rule.TypeObservation} })
		var all []*dbmodel.Subscription
		mine := func(name string, c rule.Channel, address string, products ...int64) {
			user := e.user(name, nil)
			for _, p := range products {
				e.member(p, user)
			}
			all = append(all, e.subscribe("Mine", c, func(s *dbmodel.Subscription) {
				of(user)(s)
				daily(s)
			}, address))
		}
		for id := range int64(4) {
			e.product(id+1, "")
		}
		mine("alice", rule.Slack, e.receiver.URL+"/alice", 1)
		mine("bob", rule.Slack, e.receiver.URL+"/bob", 1, 2)
		mine("carol", rule.Webhook, data.URL, 2, 3)
		mine("dave", rule.Slack, e.receiver.URL+"/dave", 4)
		e.accept(observation(1, 1, rule.High), observation(2, 2, rule.Critical), observation(3, 3, rule.High))
		e.idle(10 * time.Second)
		e.scheduler.Shutdown() // so that all slots come at once
		for _, s := range all {
			e.slotIsDue(s)
		}
		if err := e.makeDigests(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.idle(10 * time.Second)
		for path, want := range map[string][]string{
			"/alice": {"Daily, Product 1: 1 new High"}, "/bob": {"Daily, Product 2 and 1 more: 1 new Critical, 1 new High"}, "/dave": nil,
		} {
			if diff := cmp.Diff(want, e.receiver.headlines(path)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		}
		var got []string
		batches, _, _ := data.got()
		for _, b := range batches {
			for _, n := range b {
				got = append(got, fmt.Sprint(n["name"]))
			}
		}
		if diff := cmp.Diff([]string{"CVE-2", "CVE-3"}, got); diff != "" {
			t.Errorf("data (-want +got):\n%s", diff)
		}
	})
}

// TestSlotOfData: a signed webhook gets all notifications since the last slot.
func TestSlotOfData(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e, r := newEnv(t, db, withWebhooks), newDataReceiver(t)
		e.product(1, "")
		s := e.subscribe("Data", rule.Webhook, func(s *dbmodel.Subscription) {
			about(1)(s)
			daily(s)
		}, r.URL)
		received := func() (n int) {
			batches, _, _ := r.got()
			for _, b := range batches {
				n += len(b)
			}
			return n
		}
		for range 2 {
			for _, status := range []rule.Status{rule.Open, rule.Resolved} {
				o := observation(1, 1, rule.High)
				o.Status = status
				e.accept(o)
				e.idle(10 * time.Second)
			}
		}
		stored := len(e.notifications())
		e.slotComes(s.ID)
		if got := received(); got != stored || stored != 4 {
			t.Errorf("%d notifications, want all %d", got, stored)
		}
		e.slotComes(s.ID)
		if got := received(); got != stored {
			t.Errorf("%d notifications after another slot, want %d", got, stored)
		}
	})
}

// TestSlotIsMadeOnce: several workers that have found the same slot make it at the same time.
func TestSlotIsMadeOnce(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		s := e.dailyDigest("")
		e.accept(observation(1, 1, rule.High))
		e.idle(10 * time.Second)
		e.scheduler.Shutdown()
		e.slotIsDue(s)
		var found sync.WaitGroup
		found.Add(3)
		var made errgroup.Group
		var ended atomic.Int64
		for range 3 {
			made.Go(func() error {
				d := &digestRun{w: e.worker}
				groups, err := func() ([]*slotGroup, error) {
					defer found.Done()
					var errSettings, errNow error
					d.settings, errSettings = dbmodel.LoadSettings(t.Context(), db)
					d.now, errNow = dbmodel.DatabaseNow(t.Context(), db)
					if err := errors.Join(errSettings, errNow, d.settle(t.Context())); err != nil {
						return nil, err
					}
					return d.dueGroups(t.Context())
				}()
				found.Wait() // all have found it before one ends it
				if err != nil || len(groups) != 1 {
					return fmt.Errorf("%d slots were found (%w)", len(groups), err)
				}
				err = d.endSlot(t.Context(), groups[0], nil)
				ended.Add(int64(d.slots))
				return err
			})
		}
		if err := made.Wait(); err != nil || ended.Load() != 1 {
			t.Errorf("%d workers ended the slot (%v), want 1", ended.Load(), err)
		}
		e.idle(10 * time.Second)
		if diff := cmp.Diff([]string{"Daily, Product 1: 1 new High"}, e.receiver.headlines("/team")); diff != "" {
			t.Errorf("headlines (-want +got):\n%s", diff)
		}
	})
}

// TestSlotsBehindAFault: a schedule that cannot be read keeps no other subscription from its digest.
func TestSlotsBehindAFault(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		broken := e.dailyDigest("")
		good := e.subscribe("Good", rule.Slack, func(s *dbmodel.Subscription) {
			about(1)(s)
			daily(s)
		}, e.receiver.URL+"/good")
		e.accept(observation(1, 1, rule.High))
		e.idle(10 * time.Second)
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf("UPDATE subscriptions SET schedule = 'x' WHERE id = %d", broken.ID)); err != nil {
			t.Fatal(err)
		}
		e.slotIsDue(broken)
		e.slotIsDue(good)
		testenv.Eventually(t, 15*time.Second, func() error {
			if diff := cmp.Diff([]string{"Daily, Product 1: 1 new High"}, e.receiver.headlines("/good")); diff != "" {
				return fmt.Errorf("headlines (-want +got):\n%s", diff)
			}
			return nil
		}, "the digest")
	})
}
