package worker

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// fill stores n notifications of the given age, delivered to targets.
func fill(t *testing.T, db *dbmodel.DB, n int, age time.Duration, targets ...int64) {
	t.Helper()
	err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		var last int64
		if err := tx.NewRaw("SELECT coalesce(max(id), 0) FROM notifications").Scan(ctx, &last); err != nil {
			return err
		}
		list := make([]dbmodel.NewNotification, n)
		for i := range list {
			list[i] = dbmodel.NewNotification{Notification: dbmodel.Notification{Type: rule.TypeTask, Name: "KeyError"}, Targets: targets}
		}
		if err := dbmodel.InsertNotifications(ctx, tx, list); err != nil {
			return err
		}
		now, err := dbmodel.DatabaseNow(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.NewRaw("UPDATE notifications SET created_at = ? WHERE id > ?", now.Add(-age), last).Exec(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// cleanUp adds a slot, has it run, and returns the run.
func (e *env) cleanUp() dbmodel.PeriodicRun {
	e.t.Helper()
	id, err := dbmodel.AddSlot(e.t.Context(), e.db, dbmodel.PeriodicCleanup, time.Now())
	if err != nil {
		e.t.Fatal(err)
	}
	e.queue.EnqueuePeriodic(e.t.Context(), []dbmodel.QueueableRun{{ID: id, Task: dbmodel.PeriodicCleanup}})
	return e.ended(id)
}

// ended waits until a run is over.
func (e *env) ended(id int64) (run dbmodel.PeriodicRun) {
	e.t.Helper()
	testenv.Eventually(e.t, 20*time.Second, func() error {
		list, err := dbmodel.PeriodicRuns(e.t.Context(), e.db, id+1, 1)
		if err != nil {
			return err
		}
		if run = list[0]; run.Status != dbmodel.RunSucceeded && run.Status != dbmodel.RunFailed {
			return fmt.Errorf("%+v", run)
		}
		return nil
	}, "the run does not end")
	return run
}

func TestCleanupSparesTheYoungAndThePending(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		var target int64
		err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			ids, err := dbmodel.EnsureTargets(ctx, tx, e.vault, rule.Slack, []string{e.receiver.URL + "/a"})
			if err != nil {
				return err
			}
			target = ids[0]
			_, err = tx.NewRaw("UPDATE targets SET next_at = ? WHERE id = ?", time.Now().Add(day), target).Exec(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		fill(t, db, 3, 200*day, target) // the oldest wait for a target that fails
		fill(t, db, 2*cleanupBatch+70, 91*day)
		fill(t, db, 5, 89*day)
		if _, err := db.NewRaw("INSERT INTO suppressions (key, count, since) VALUES ('old', 1, ?), ('young', 1, ?)",
			time.Now().Add(-91*day), time.Now().Add(-31*day)).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := db.NewRaw("INSERT INTO digests (id, content, notifications, created_at) VALUES "+
			"(1, '{}', '[]', ?0), (2, '{}', '[]', ?0), (3, '{}', '[]', ?1)",
			time.Now().Add(-91*day), time.Now().Add(-89*day)).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := db.NewRaw("UPDATE deliveries SET digest_id = 2").Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		digests := func(want ...int64) {
			t.Helper()
			var ids []int64
			err := db.NewRaw("SELECT id FROM digests ORDER BY id").Scan(t.Context(), &ids)
			if err != nil || !slices.Equal(ids, want) {
				t.Errorf("digests %v (%v), want %v", ids, err, want)
			}
		}

		e.settings(func(s *dbmodel.Settings) { s.NotificationRetentionDays = 0 })
		if run := e.cleanUp(); run.Status != dbmodel.RunSucceeded || run.Message != "deleted 0 notifications" {
			t.Errorf("kept for ever: %+v", run)
		}
		digests(1, 2, 3)
		e.settings(func(s *dbmodel.Settings) { s.NotificationRetentionDays = 90 })
		run := e.cleanUp()
		if run.Status != dbmodel.RunSucceeded || run.Message != "deleted 1,070 notifications" || run.StartedAt == nil || run.Duration == nil {
			t.Errorf("run: %+v", run)
		}
		digests(2, 3)
		if n := len(e.notifications()); n != 8 {
			t.Errorf("%d notifications are left, want 8", n)
		}
		if pending := e.deliveries(dbmodel.Pending); len(pending) != 3 {
			t.Errorf("%d deliveries wait, want 3", len(pending))
		}
		var counts []string
		if err := db.NewRaw("SELECT key FROM suppressions").Scan(t.Context(), &counts); err != nil || len(counts) != 1 || counts[0] != "young" {
			t.Errorf("suppressions: %v (%v)", counts, err)
		}
	})
}

// The task of a slot is lost, then the process that runs it; a run that kills every process is failed in the end.
func TestCleanupIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		lose := func(attempts int) int64 {
			t.Helper()
			id, err := dbmodel.AddSlot(t.Context(), db, dbmodel.PeriodicCleanup, time.Now())
			if err == nil {
				_, err = db.NewRaw("UPDATE periodic_tasks SET status = 'running', started_at = ?, attempts = ?, queued_at = NULL WHERE id = ?",
					time.Now(), attempts, id).Exec(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		if run := e.ended(lose(1)); run.Status != dbmodel.RunSucceeded || run.Attempts != 2 {
			t.Errorf("a run whose process was lost: %+v", run)
		}
		if run := e.ended(lose(dbmodel.PeriodicAttempts)); run.Status != dbmodel.RunFailed || run.Message == "" {
			t.Errorf("a run that kills its process: %+v", run)
		}
		e.idle(10 * time.Second)
		if reported := e.notifications(); len(reported) != 1 || reported[0].Type != rule.TypeTask || reported[0].Function != queue.TypePeriodicCleanup || !reported[0].Own {
			t.Errorf("notifications about it: %+v", reported)
		}
	})
}

func TestRunHistoryIsBounded(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		begin := time.Now().Add(-2000 * time.Hour)
		for i := range 1003 {
			id, err := dbmodel.AddSlot(t.Context(), db, dbmodel.PeriodicCleanup, begin.Add(time.Duration(i)*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if i < 1001 { // so many are only there
				if _, err := db.NewRaw("UPDATE periodic_tasks SET status = 'succeeded' WHERE id = ?", id).Exec(t.Context()); err != nil {
					t.Fatal(err)
				}
				continue
			}
			run, err := dbmodel.ClaimRun(t.Context(), db, id)
			if err != nil {
				t.Fatal(err)
			}
			if done, err := dbmodel.EndRun(t.Context(), db, run, dbmodel.RunSucceeded, "done"); err != nil || !done {
				t.Fatalf("end a run: %v, %v", done, err)
			}
			if done, _ := dbmodel.EndRun(t.Context(), db, run, dbmodel.RunFailed, "twice"); done {
				t.Error("a run ended twice")
			}
		}
		runs, err := dbmodel.PeriodicRuns(t.Context(), db, 0, 2000)
		if err != nil || len(runs) != 1000 || runs[0].Message != "done" {
			t.Errorf("%d runs (%v), want the last 1000", len(runs), err)
		}
	})
}
