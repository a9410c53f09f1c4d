package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

// lookBack are the spans before now in which dueSlot looks for a slot, the shortest first: it need not step through
// every minute of a long stop.
var lookBack = []time.Duration{time.Hour, 24 * time.Hour, 32 * 24 * time.Hour, 366 * 24 * time.Hour}

// sweepPeriodic adds the runs that are due, and enqueues those whose task, or whose process, was lost. A periodic task
// for which that fails keeps no other one waiting.
func (s *Scheduler) sweepPeriodic(ctx context.Context) error {
	now, err := dbmodel.DatabaseNow(ctx, s.db)
	if err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	return errors.Join(s.addCleanup(ctx, now), s.addSecObserve(ctx, now), s.addDigests(ctx, now), s.enqueueLost(ctx))
}

// enqueueLost enqueues runs whose task, or whose process, was lost.
func (s *Scheduler) enqueueLost(ctx context.Context) error {
	_, latency, err := s.queue.Size(ctx, queue.Periodic)
	if err != nil {
		return nil //nolint:nilerr // see sweepQueue
	}
	var runs []dbmodel.QueueableRun
	err = s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		runs, err = dbmodel.QueueableRuns(ctx, tx, latency+lostMargin, atOnce)
		return err
	})
	if err != nil {
		return fmt.Errorf("find periodic tasks to run: %w", err)
	}
	s.queue.EnqueuePeriodic(ctx, runs)
	return nil
}

// addCleanup adds the run of the clean-up whose slot has come at now, the database's time. Where several slots were
// missed, it adds a run for the last of them only.
func (s *Scheduler) addCleanup(ctx context.Context, now time.Time) error {
	settings, err := dbmodel.LoadSettings(ctx, s.db)
	if err != nil {
		return fmt.Errorf("load settings: %w", err)
	}
	schedule, err := cron.ParseStandard(settings.CleanupCron)
	if err != nil {
		return fmt.Errorf("read the setting cleanup_cron: %w", err)
	}
	return s.addRun(ctx, dbmodel.PeriodicCleanup, func(ctx context.Context, db bun.IDB) (time.Time, error) {
		last, err := dbmodel.LastSlot(ctx, db, dbmodel.PeriodicCleanup, now)
		if err != nil {
			return time.Time{}, fmt.Errorf("load the last slot of the clean-up: %w", err)
		}
		return dueSlot(schedule, last, now), nil
	})
}

// addSecObserve adds a pass over SecObserve where one is due at now, the database's time. None begins while another
// one is under way.
func (s *Scheduler) addSecObserve(ctx context.Context, now time.Time) error {
	if s.secObserveInterval <= 0 {
		return nil
	}
	return s.addRun(ctx, dbmodel.PeriodicSecObserve, func(ctx context.Context, db bun.IDB) (time.Time, error) {
		last, err := dbmodel.LastSlot(ctx, db, dbmodel.PeriodicSecObserve, now)
		// The pass begins a tenth of the interval early, so that it has read what changed before the interval is over.
		if err != nil || now.Sub(last) < s.secObserveInterval-s.secObserveInterval/10 {
			return time.Time{}, err
		}
		return unlessWaiting(ctx, db, dbmodel.PeriodicSecObserve, now)
	})
}

// addDigests adds a run that makes digests where the slot of a subscription has come or a pause is over at now, the
// database's time. None begins while another one is under way.
func (s *Scheduler) addDigests(ctx context.Context, now time.Time) error {
	return s.addRun(ctx, dbmodel.PeriodicDigests, func(ctx context.Context, db bun.IDB) (time.Time, error) {
		if due, err := dbmodel.HasDueDigests(ctx, db); err != nil || !due {
			return time.Time{}, err
		}
		return unlessWaiting(ctx, db, dbmodel.PeriodicDigests, now)
	})
}

// unlessWaiting returns slot, or the zero time where a run of the task is under way or still to begin.
func unlessWaiting(ctx context.Context, db bun.IDB, task string, slot time.Time) (time.Time, error) {
	waiting, err := dbmodel.HasWaitingRun(ctx, db, task)
	if err != nil || waiting {
		return time.Time{}, err
	}
	return slot, nil
}

// addRun stores and enqueues the run of a periodic task for the slot that due returns; the zero time: none is due. Any
// number of schedulers may call it at once, and due may go by a time that was read before another scheduler added a
// run: addRun calls due again under a lock, so a slot gets one row, and no slot is added that is older than the newest
// one.
func (s *Scheduler) addRun(
	ctx context.Context, task string, due func(ctx context.Context, db bun.IDB) (time.Time, error),
) error {
	if slot, err := due(ctx, s.db); err != nil || slot.IsZero() {
		return err
	}
	var id int64
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := dbmodel.LockSlots(ctx, tx, task); err != nil {
			return err
		}
		slot, err := due(ctx, tx)
		if err != nil || slot.IsZero() {
			return err
		}
		id, err = dbmodel.AddSlot(ctx, tx, task, slot)
		return err
	})
	if err != nil {
		return fmt.Errorf("store a run of the periodic task %s: %w", task, err)
	}
	if id != 0 {
		s.queue.EnqueuePeriodic(ctx, []dbmodel.QueueableRun{{ID: id, Task: task}})
	}
	return nil
}

// dueSlot returns the latest slot that is later than previous and not later than now; the zero time where there is
// none.
func dueSlot(schedule cron.Schedule, previous, now time.Time) time.Time {
	previous, now = previous.UTC(), now.UTC()
	for _, span := range lookBack {
		from := now.Add(-span)
		if from.Before(previous) {
			break
		}
		if slot := latestSlot(schedule, from, now); !slot.IsZero() {
			return slot
		}
	}
	return latestSlot(schedule, previous, now)
}

// latestSlot returns the latest slot that is later than after and not later than until, stepping through all of them;
// the zero time where there is none.
func latestSlot(schedule cron.Schedule, after, until time.Time) (slot time.Time) {
	for next := schedule.Next(after); !next.IsZero() && !next.After(until); next = schedule.Next(next) {
		slot = next
	}
	return slot
}
