package scheduler

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestDueSlot(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		v, err := time.Parse("2006-01-02 15:04:05", text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, c := range map[string]struct{ line, last, now, want string }{
		"not yet":                 {"0 3 * * *", "2026-03-01 03:00:00", "2026-03-02 02:59:59", ""},
		"on the second":           {"0 3 * * *", "2026-03-01 03:00:00", "2026-03-02 03:00:00", "2026-03-02 03:00:00"},
		"once":                    {"0 3 * * *", "2026-03-02 03:00:00", "2026-03-02 23:00:00", ""},
		"the last of many missed": {"0 3 * * *", "2025-01-01 03:00:00", "2026-03-02 02:00:00", "2026-03-01 03:00:00"},
		"minutes of two years":    {"* * * * *", "2024-01-01 00:00:00", "2026-03-02 02:00:30", "2026-03-02 02:00:00"},
		"the clock went back":     {"0 * * * *", "2026-03-02 03:00:00", "2026-03-02 02:30:00", ""},
		"once in four years":      {"0 0 29 2 *", "2024-03-01 00:00:00", "2029-01-01 00:00:00", "2028-02-29 00:00:00"},
		"before the first":        {"0 3 * * *", "2026-03-02 03:00:01", "2026-03-02 04:00:00", ""},
	} {
		schedule, err := cron.ParseStandard(c.line)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if slot := dueSlot(schedule, at(c.last), at(c.now)); !slot.IsZero() {
			got = slot.Format("2006-01-02 15:04:05")
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// newScheduler returns a scheduler that does not sweep by itself.
func newScheduler(t *testing.T, db *dbmodel.DB, server *testenv.RedisServer) *Scheduler {
	t.Helper()
	client := testenv.RedisClient(t, server.URL())
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	return New(db, queue.New(client, log), log)
}

func setCron(t *testing.T, db *dbmodel.DB, line string) {
	t.Helper()
	err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		s, err := dbmodel.SettingsForUpdate(ctx, tx)
		if err != nil {
			return err
		}
		s.CleanupCron = line
		return dbmodel.SaveSettings(ctx, tx, s)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func slots(t *testing.T, db *dbmodel.DB) []time.Time {
	t.Helper()
	runs, err := dbmodel.PeriodicRuns(t.Context(), db, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]time.Time, 0, len(runs))
	for _, r := range runs {
		out = append(out, r.Slot)
	}
	slices.Reverse(out)
	return out
}

// Three schedulers look at every ten minutes of a day, while the clock steps an hour ahead, and back again, twice.
func TestEachSlotIsAddedOnce(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		server := testenv.Redis(t)
		var all []*Scheduler
		for range 3 {
			all = append(all, newScheduler(t, db, server))
		}
		setCron(t, db, "0 * * * *")
		begin, err := dbmodel.LastSlot(t.Context(), db, dbmodel.PeriodicCleanup, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		first := begin.Truncate(time.Hour).Add(time.Hour)
		for step := range 6 * 24 {
			now := first.Add(time.Duration(step) * 10 * time.Minute)
			if step >= 40 && step < 60 || step == 91 {
				now = now.Add(time.Hour)
			}
			var g errgroup.Group
			for _, s := range all {
				g.Go(func() error { return s.addCleanup(t.Context(), now) })
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		var want []time.Time
		for h := range 24 {
			want = append(want, first.Add(time.Duration(h)*time.Hour))
		}
		if diff := cmp.Diff(want, slots(t, db)); diff != "" {
			t.Errorf("slots (-want +got):\n%s", diff)
		}
		tasksInRedis, _, err := all[0].queue.Size(t.Context(), queue.Periodic)
		if err != nil || tasksInRedis != len(want) {
			t.Errorf("%d tasks (%v), want one for each slot", tasksInRedis, err)
		}
	})
}

// Three schedulers find the slot of a subscription at the same time: one run makes its digest.
func TestDueDigestsAreAddedOnce(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, server := t.Context(), testenv.Redis(t)
		addDueSubscription(t, db)
		now := time.Now()
		var g errgroup.Group
		for i := range 3 {
			each := newScheduler(t, db, server)
			g.Go(func() error { return each.addDigests(ctx, now.Add(time.Duration(i)*time.Millisecond)) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if n := digestRuns(t, db); n != 1 {
			t.Errorf("%d runs make digests, want 1", n)
		}
	})
}

// TestOnePeriodicTaskDoesNotStopOthers: a clean-up whose line cannot be read keeps no digest waiting.
func TestOnePeriodicTaskDoesNotStopOthers(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		addDueSubscription(t, db)
		setCron(t, db, "never")
		s := newScheduler(t, db, testenv.Redis(t))
		if err := s.sweepPeriodic(t.Context()); err == nil {
			t.Error("the fault is not reported")
		}
		if n := digestRuns(t, db); n != 1 {
			t.Errorf("%d runs make digests, want 1", n)
		}
	})
}

// addDueSubscription adds a subscription whose slot has come.
func addDueSubscription(t *testing.T, db *dbmodel.DB) {
	t.Helper()
	s := &dbmodel.Subscription{Name: "Daily", Schedule: "0 8 * * *", Timezone: "UTC", Enabled: true}
	err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if err := dbmodel.AddSubscription(ctx, tx, s); err != nil {
			return err
		}
		past := s.NextSlotAt.AddDate(0, 0, -1)
		s.NextSlotAt = &past
		_, err := tx.NewUpdate().Model(s).Column("next_slot_at").WherePK().Exec(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// digestRuns counts the runs that make digests.
func digestRuns(t *testing.T, db *dbmodel.DB) (n int) {
	t.Helper()
	runs, err := dbmodel.PeriodicRuns(t.Context(), db, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if r.Task == dbmodel.PeriodicDigests {
			n++
		}
	}
	return n
}

func TestMissedSlotsAreMadeUpOnce(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		s := newScheduler(t, db, testenv.Redis(t))
		now, err := dbmodel.DatabaseNow(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.addCleanup(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if got := slots(t, db); len(got) > 0 {
			t.Errorf("a new database has missed nothing: %v", got)
		}
		later := now.Truncate(24 * time.Hour).Add(10*24*time.Hour + 12*time.Hour)
		for range 2 {
			if err := s.addCleanup(t.Context(), later); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]time.Time{later.Add(-9 * time.Hour)}, slots(t, db)); diff != "" {
			t.Errorf("slots (-want +got):\n%s", diff)
		}
	})
}

func TestLostRunIsEnqueuedAgain(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		server := testenv.Redis(t)
		s := newScheduler(t, db, server)
		id, err := dbmodel.AddSlot(t.Context(), db, dbmodel.PeriodicCleanup, time.Now().Truncate(time.Hour))
		if err != nil || id == 0 {
			t.Fatalf("add a slot: %d, %v", id, err)
		}
		queueable := func(lostAfter time.Duration) (ids []int64) {
			t.Helper()
			err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				runs, err := dbmodel.QueueableRuns(ctx, tx, lostAfter, 10)
				for _, r := range runs {
					ids = append(ids, r.ID)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		if got := queueable(time.Minute); got != nil {
			t.Errorf("a run whose task is young is enqueued again: %v", got)
		}
		if got := fmt.Sprint(queueable(-time.Minute)); got != fmt.Sprint([]int64{id}) {
			t.Errorf("a run whose task is lost: %v", got)
		}
		run, err := dbmodel.ClaimRun(t.Context(), db, id)
		if err != nil {
			t.Fatal(err)
		}
		if got := queueable(-time.Minute); got != nil {
			t.Errorf("a run that goes on is enqueued again: %v", got)
		}
		if err := dbmodel.ReleaseRun(t.Context(), db, run, 0, "gave up"); err != nil {
			t.Fatal(err)
		}
		if err := s.sweepPeriodic(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, _, err := s.queue.Size(t.Context(), queue.Periodic); err != nil || n != 1 {
			t.Errorf("%d tasks (%v) after the run was given back, want 1", n, err)
		}
	})
}
