package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// cleanupTask returns a worker without a scheduler, and a run of the clean-up with its task.
func cleanupTask(t *testing.T, db *dbmodel.DB) (e *env, id int64, task *asynq.Task) {
	t.Helper()
	e = newEnv(t, db, nil)
	e.scheduler.Shutdown()
	id, err := dbmodel.AddSlot(t.Context(), db, dbmodel.PeriodicCleanup, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(queue.PeriodicTask{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return e, id, asynq.NewTask(queue.TypePeriodicCleanup, payload)
}

// TestStopsAreNoFailuresOfARun stops the workers of a run more often than it may fail: the next one ends it.
func TestStopsAreNoFailuresOfARun(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e, _, task := cleanupTask(t, db)
		run := func(done string, failure error) {
			t.Helper()
			cleanup := periodicTask{do: func(context.Context, *dbmodel.PeriodicRun) (string, error) { return done, failure }}
			if err := e.worker.periodic(t.Context(), task, cleanup); err != nil {
				t.Fatal(err)
			}
		}
		for range dbmodel.PeriodicAttempts + 1 {
			run("a part", errStopping)
		}
		run("the rest", nil)
		runs, err := dbmodel.PeriodicRuns(t.Context(), db, 0, 1)
		if err != nil || len(runs) != 1 || runs[0].Status != dbmodel.RunSucceeded || runs[0].Message != "the rest" {
			t.Errorf("%+v %v", runs, err)
		}
	})
}

// TestRunWithoutAnEndSaysWhy: a run that failed while the database was away, and whose last process was lost, is not
// reported as one whose process was lost each time.
func TestRunWithoutAnEndSaysWhy(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e, id, task := cleanupTask(t, db)
		due := func() {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), "UPDATE periodic_tasks SET run_after = slot"); err != nil {
				t.Fatal(err)
			}
		}
		run := func() {
			t.Helper()
			cleanup := periodicTask{failure: "the clean-up failed", do: func(context.Context, *dbmodel.PeriodicRun) (string, error) {
				return "", dbmodel.ErrUnavailable
			}}
			if err := e.worker.periodic(t.Context(), task, cleanup); err == nil {
				t.Fatal("the task does not fail")
			}
			due()
		}
		for range dbmodel.PeriodicAttempts - 1 {
			run()
		}
		if _, err := dbmodel.ClaimRun(t.Context(), db, id); err != nil { // by a process that is lost
			t.Fatal(err)
		}
		due()
		run()
		const want = "none of 5 tries came to an end: each lost its process or the database"
		runs, err := dbmodel.PeriodicRuns(t.Context(), db, 0, 1)
		if err != nil || len(runs) != 1 || runs[0].Status != dbmodel.RunFailed || runs[0].Message != want {
			t.Errorf("%+v %v", runs, err)
		}
	})
}

// TestFailedPassIsReportedOnce: a pass over SecObserve reports its failures itself, and the worker those of which the
// pass knows nothing.
func TestFailedPassIsReportedOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pass     func(context.Context, *dbmodel.PeriodicRun) (string, error)
		reported int
	}{
		"the worker knows no SecObserve": {nil, 1},
		"the database is away": {func(context.Context, *dbmodel.PeriodicRun) (string, error) {
			return "", fmt.Errorf("load users: %w", dbmodel.ErrUnavailable)
		}, 1},
		"a panic": {func(context.Context, *dbmodel.PeriodicRun) (string, error) { panic("a fault") }, 1},
		"any other failure": {func(context.Context, *dbmodel.PeriodicRun) (string, error) {
			return "", errors.New("the token is refused")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, testenv.SQLiteDB(t), func(w *Worker) { w.SecObserve = c.pass })
			e.scheduler.Shutdown()
			id, err := dbmodel.AddSlot(t.Context(), e.db, dbmodel.PeriodicSecObserve, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			_, err = e.db.ExecContext(t.Context(), "UPDATE periodic_tasks SET attempts = ?", dbmodel.PeriodicAttempts-1)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := json.Marshal(queue.PeriodicTask{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			sync := e.worker.periodicTasks()[queue.TypeSecObserveSync]
			if err := sync(t.Context(), asynq.NewTask(queue.TypeSecObserveSync, payload)); err == nil {
				t.Error("the task does not fail")
			}
			events, err := dbmodel.Count(t.Context(), e.db)
			if err != nil || events.Outbox != c.reported {
				t.Errorf("%d failures are reported (%v), want %d", events.Outbox, err, c.reported)
			}
		})
	}
}
