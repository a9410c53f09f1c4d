package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
	"golang.org/x/sync/errgroup"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// dyingContext ends when it was asked so many times whether it has ended: within each statement in its turn.
type dyingContext struct {
	context.Context
	left atomic.Int64
	end  context.CancelFunc
}

func (c *dyingContext) Done() <-chan struct{} {
	if c.left.Add(-1) == 0 {
		c.end()
	}
	return c.Context.Done()
}

// makeDigests does what a run does, but for its row.
func (e *env) makeDigests(ctx context.Context) error {
	d := &digestRun{w: e.worker}
	if err := d.begin(ctx); err != nil {
		return err
	}
	if err := d.endPauses(ctx); err != nil {
		return err
	}
	return d.endSlots(ctx)
}

// TestDigestsSurviveDeath: a run that dies at each statement, the one after the other, and three that end them at once, make
// each digest once.
func TestDigestsSurviveDeath(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e, data := newEnv(t, db, withWebhooks), newDataReceiver(t)
		e.product(1, "")
		e.product(2, "/held")
		url := e.receiver.URL
		var all []*dbmodel.Subscription
		for name, severity := range map[string]rule.Severity{"any": "", "high": rule.High, "same": rule.High} {
			all = append(all, e.subscribe(name, rule.Slack, func(s *dbmodel.Subscription) {
				daily(s)
				about(1)(s)
				s.MinSeverity = severity
			}, url+"/"+name))
		}
		all = append(all, e.subscribe("data", rule.Webhook, func(s *dbmodel.Subscription) { daily(s); about(1)(s) }, data.URL))
		e.subscribe("team", rule.Slack, func(s *dbmodel.Subscription) {
			about(2)(s)
			s.MinSeverity = rule.High
		}, url+"/team")
		later := time.Now().AddDate(0, 0, 1)
		e.pause(2, nil, &later)
		e.accept(observation(1, 1, rule.High), observation(2, 1, rule.Critical), observation(3, 2, rule.High))
		e.idle(10 * time.Second)
		e.scheduler.Shutdown()
		e.pause(2, nil, nil)
		for _, s := range all {
			e.slotIsDue(s)
		}
		var err error
		for n := int64(1); ; n += 5 {
			ctx, end := context.WithCancel(t.Context())
			dying := &dyingContext{Context: ctx, end: end}
			dying.left.Store(n)
			err = e.makeDigests(dying)
			end()
			if err == nil {
				break
			}
			if n > 10_000 {
				t.Fatalf("no run ends: %v", err)
			}
		}
		var g errgroup.Group
		for range 3 {
			g.Go(func() error { return e.makeDigests(t.Context()) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		e.scheduler.Start()
		e.idle(20 * time.Second)
		after, daily := "After the pause, Product 2: 1 new High", "Daily, Product 1: 1 new Critical, 1 new High"
		for path, want := range map[string]string{
			"/held": after, "/team": after, "/any": daily, "/high": daily, "/same": daily,
		} {
			if diff := cmp.Diff([]string{want}, e.receiver.headlines(path)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		}
		batches, _, _ := data.got()
		if n := len(slices.Concat(batches...)); n != 2 {
			t.Errorf("%d notifications as data, want 2", n)
		}
	})
}

// happen stores a notification that nothing else is like.
func (e *env) happen(ctx context.Context, db bun.Tx, name string) error {
	return dbmodel.InsertNotifications(ctx, db, []dbmodel.NewNotification{{Notification: dbmodel.Notification{
		Type: rule.TypeTask, Name: name, ProductID: new(int64(1)),
	}}})
}

// digested lists how many notifications each digest sums up.
func (e *env) digested() []int {
	e.t.Helper()
	var lists []string
	if err := e.db.NewRaw("SELECT notifications FROM digests ORDER BY id").Scan(e.t.Context(), &lists); err != nil {
		e.t.Fatal(err)
	}
	var out []int
	for _, text := range lists {
		var ids []int64
		if err := json.Unmarshal([]byte(text), &ids); err != nil {
			e.t.Fatal(err)
		}
		out = append(out, len(ids))
	}
	return out
}

// runFor begins a run for the slot of s, which comes; no other run begins after that.
func (e *env) runFor(s *dbmodel.Subscription) *digestRun {
	e.t.Helper()
	e.scheduler.Shutdown()
	e.slotIsDue(s)
	d := &digestRun{w: e.worker}
	if err := d.begin(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	return d
}

// settles reports whether digestRun.settle has looked, on PostgreSQL, for transactions that are storing notifications.
func (e *env) settles() bool {
	e.t.Helper()
	var asked bool
	err := e.db.Reader.NewRaw(`SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
		AND pid <> pg_backend_pid() AND query LIKE '%FROM pg_locks%')`).Scan(e.t.Context(), &asked)
	if err != nil {
		e.t.Fatal(err)
	}
	return asked
}

// TestLateCommitIsDigested: a notification that is being stored when the slot comes is waited for, and one that gets its number
// after that is in the next digest.
func TestLateCommitIsDigested(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		s := e.dailyDigest("")
		ctx, d := t.Context(), e.runFor(s)
		postgres := db.Dialect().Name() == dialect.PG // SQLite has one writer: nothing is stored while it settles
		settled := make(chan error, 1)
		err := db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			if err := e.happen(ctx, tx, "late"); err != nil || !postgres {
				return err
			}
			go func() { settled <- d.settle(t.Context()) }()
			e.waitFor("settle waits for this transaction", e.settles)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !postgres {
			settled <- d.settle(ctx)
		}
		if err := <-settled; err != nil {
			t.Fatal(err)
		}
		err = db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error { return e.happen(ctx, tx, "later") })
		if err != nil {
			t.Fatal(err)
		}
		groups, err := d.dueGroups(ctx)
		if err != nil || len(groups) != 1 {
			t.Fatalf("%d slots (%v), want 1", len(groups), err)
		}
		if err := d.endSlot(ctx, groups[0], nil); err != nil {
			t.Fatal(err)
		}
		if s, err = dbmodel.VisibleSubscriptionByID(ctx, db, everything, s.ID); err != nil {
			t.Fatal(err)
		}
		e.slotIsDue(s)
		if err := e.makeDigests(ctx); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{1, 1}, e.digested()); diff != "" {
			t.Errorf("digests (-want +got):\n%s", diff)
		}
	})
}

// clock makes digests as if it were now, where a slot has come by then, and returns the slot that is done.
func (e *env) clock(id int64, now time.Time) (done time.Time, made bool) {
	e.t.Helper()
	ctx := e.t.Context()
	stored := func() *dbmodel.Subscription {
		s, err := dbmodel.VisibleSubscriptionByID(ctx, e.db, everything, id)
		if err != nil {
			e.t.Fatal(err)
		}
		return s
	}
	if stored().NextSlotAt.After(now) {
		return done, false
	}
	d := &digestRun{w: e.worker}
	if err := d.begin(ctx); err != nil {
		e.t.Fatal(err)
	}
	d.now = now
	if err := d.endSlots(ctx); err != nil {
		e.t.Fatal(err)
	}
	return *stored().LastSlotAt, true
}

// TestSlotsThroughClockChanges: each local day has one slot where clocks change, and each hour one where the clock of the
// database steps an hour ahead and back; what happens is in one digest.
func TestSlotsThroughClockChanges(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		e.scheduler.Shutdown()
		for _, c := range []struct {
			zone, day, line string
			step            int // at which the clock steps ahead for three
		}{
			{"Europe/Berlin", "2024-03-31", "30 2 * * *", 0},
			{"Europe/Berlin", "2024-10-27", "30 2 * * *", 0},
			{"America/New_York", "2024-03-10", "30 2 * * *", 0},
			{"America/New_York", "2024-11-03", "30 1 * * *", 0},
			{"Australia/Lord_Howe", "2024-10-06", "15 2 * * *", 0},
			{"Australia/Lord_Howe", "2024-04-07", "45 1 * * *", 0},
			{"Europe/Berlin", "2024-03-31", "0 * * * *", 7},
			{"UTC", "2024-06-01", "0 * * * *", 5},
		} {
			zone, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			day, err := time.ParseInLocation(time.DateOnly, c.day, zone)
			if err != nil {
				t.Fatal(err)
			}
			begin, end := day.Add(-12*time.Hour), day.Add(36*time.Hour)
			slots, _ := rule.Schedule{Line: c.line, Timezone: c.zone}.Slots()
			var want, got []string
			for at := slots.Next(begin); !at.After(end); at = slots.Next(at) {
				want = append(want, at.UTC().Format(time.DateTime))
			}
			s := e.subscribe(c.zone, rule.Slack, func(s *dbmodel.Subscription) {
				about(1)(s)
				s.Schedule, s.Timezone = c.line, c.zone
			}, e.receiver.URL+"/team")
			first := slots.Next(begin).UTC()
			s.NextSlotAt = &first
			if _, err := db.NewUpdate().Model(s).Column("next_slot_at").WherePK().Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
			before, happened := len(e.digested()), 0
			for i, now := 0, begin; !now.After(end); i, now = i+1, now.Add(20*time.Minute) {
				happened++
				err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					return e.happen(ctx, tx, fmt.Sprint(c, i))
				})
				if err != nil {
					t.Fatal(err)
				}
				seen := now
				if c.step > 0 && i >= c.step && i < c.step+3 {
					seen = now.Add(time.Hour)
				}
				if done, made := e.clock(s.ID, seen); made {
					got = append(got, done.UTC().Format(time.DateTime))
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%+v: slots (-want +got):\n%s", c, diff)
			}
			late := end.AddDate(0, 0, 2)
			if done, made := e.clock(s.ID, late); !made || !done.Equal(slots.Last(late)) {
				t.Errorf("%+v: after two days without a scheduler the slot %s is made (%v), want the last one, %s",
					c, done, made, slots.Last(late))
			}
			sum := 0
			for _, n := range e.digested()[before:] {
				sum += n
			}
			if sum != happened {
				t.Errorf("%+v: the digests sum up %d notifications, want %d", c, sum, happened)
			}
			// Not by DeleteSubscription, after which a last slot would come in half a minute: in a later case.
			if _, err := db.ExecContext(t.Context(), "DELETE FROM subscriptions WHERE id = ?", s.ID); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestSlotComesWhileARunWaits: a slot that comes while a run waits for notifications that are being stored has all that
// was notified before it, also what came after the run had begun.
func TestSlotComesWhileARunWaits(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t) // SQLite has one writer: no run waits
	e := newEnv(t, db, nil)
	e.product(1, "")
	early := e.dailyDigest("")
	late := e.subscribe("Late", rule.Slack, func(s *dbmodel.Subscription) { about(1)(s); daily(s) }, e.receiver.URL+"/late")
	e.high(1)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE notifications IN ROW EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	e.slotIsDue(early)
	e.waitFor("a run waits", e.settles)
	e.accept(observation(2, 1, rule.High))
	e.waitFor("the second notification", func() bool { return len(e.notifications()) == 2 })
	e.exec("UPDATE subscriptions SET next_slot_at = clock_timestamp() WHERE id = ?", late.ID)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	e.waitFor("the late slot", func() bool {
		s, err := dbmodel.VisibleSubscriptionByID(t.Context(), db, everything, late.ID)
		return err == nil && s.LastSlotAt != nil
	})
	e.idle(15 * time.Second)
	// The slot came at another time than the schedule says: what the digest is called depends on that.
	if got := e.receiver.headlines("/late"); len(got) != 1 || !strings.HasSuffix(got[0], ", Product 1: 2 new High") {
		t.Errorf("headlines %q", got)
	}
}

// TestSubscriptionChangesWhileARunReadsIt: what is notified after the change is in a digest, by the rules that the
// subscription has since then.
func TestSubscriptionChangesWhileARunReadsIt(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t) // on SQLite nothing can keep the run waiting in the middle
	e := newEnv(t, db, nil)
	e.product(1, "")
	e.product(2, "")
	s := e.subscribe("Mine", rule.Slack, func(s *dbmodel.Subscription) { about(2)(s); daily(s) }, e.receiver.URL+"/team")
	ctx, d := t.Context(), e.runFor(s)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "LOCK TABLE products IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.endSlots(ctx) }()
	e.waitFor("the run waits for the products", func() bool {
		var waits bool
		err := db.NewRaw(`SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event_type = 'Lock')`).Scan(ctx, &waits)
		return err == nil && waits
	})
	if _, err := tx.ExecContext(ctx, "UPDATE subscriptions SET product_id = 1 WHERE id = ?", s.ID); err != nil {
		t.Fatal(err)
	}
	if err := e.happen(ctx, tx, "late"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || d.slots != 1 {
		t.Fatalf("%d slots ended (%v), want 1", d.slots, err)
	}
	if s, err = dbmodel.VisibleSubscriptionByID(ctx, db, everything, s.ID); err != nil {
		t.Fatal(err)
	}
	e.slotIsDue(s)
	if err := e.makeDigests(ctx); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1}, e.digested()); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
}
