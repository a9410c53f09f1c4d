package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed91453169/tocsin/dbmodel"
)

// PeriodicTime bounds a run of a periodic task. The time-out of its asynq task is a little longer, so that the worker
// ends the run and records that before asynq gives the task up.
const PeriodicTime = time.Hour

// PeriodicTask is the payload of a task that runs a periodic task.
type PeriodicTask struct {
	ID int64 `json:"id"` // of the row of the run
}

// typeOfPeriodic holds the type of task that runs each periodic task.
var typeOfPeriodic = map[string]string{
	dbmodel.PeriodicCleanup:    TypePeriodicCleanup,
	dbmodel.PeriodicDigests:    TypePeriodicDigests,
	dbmodel.PeriodicSecObserve: TypeSecObserveSync,
}

// EnqueuePeriodic enqueues tasks for runs of periodic tasks.
func (q *Queue) EnqueuePeriodic(ctx context.Context, runs []dbmodel.QueueableRun) {
	var list []*asynq.Task
	for _, r := range runs {
		if t, known := typeOfPeriodic[r.Task]; known { // else another version of Tocsin runs it
			list = append(list, newTask(t, PeriodicTask{ID: r.ID}, Periodic, PeriodicTime+2*time.Minute))
		}
	}
	q.enqueue(ctx, list, Periodic)
}

// RequestRemoval asks a worker to remove what was deleted, unless one is at it.
func (q *Queue) RequestRemoval(ctx context.Context, db *dbmodel.DB) error {
	mine, err := dbmodel.ClaimRemoval(ctx, db)
	if err != nil {
		return fmt.Errorf("claim the removal of what is deleted: %w", err)
	}
	if mine {
		q.enqueue(ctx, []*asynq.Task{newTask(TypeDeletionRemove, nil, Periodic, PeriodicTime)}, Periodic)
	}
	return nil
}
