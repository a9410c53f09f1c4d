package worker

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestStopsAreNoFailuresOfARun stops the workers of a run more often than it may fail: the next one ends it.
func TestStopsAreNoFailuresOfARun(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.scheduler.Shutdown()
		id, err := dbmodel.AddSlot(t.Context(), db, dbmodel.PeriodicCleanup, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		payload, err := json.Marshal(queue.PeriodicTask{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		run := func(done string, failure error) {
			t.Helper()
			task := periodicTask{do: func(context.Context, *dbmodel.PeriodicRun) (string, error) { return done, failure }}
			if err := e.worker.periodic(t.Context(), asynq.NewTask(queue.TypePeriodicCleanup, payload), task); err != nil {
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
