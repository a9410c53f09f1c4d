package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed91453169/tocsin/dbmodel"
)

// PeriodicTime bounds a run of a periodic task; asynq, which would count it as lost, waits a little longer.
const PeriodicTime = time.Hour

// PeriodicTask is the payload of a task of Periodic: where the row of its run is.
type PeriodicTask struct {
	ID int64 `json:"id"`
}

// typeOfPeriodic are the types of the tasks that run periodic tasks.
var typeOfPeriodic = map[string]string{
	dbmodel.PeriodicCleanup:    TypePeriodicCleanup,
	dbmodel.PeriodicDigests:    TypePeriodicDigests,
	dbmodel.PeriodicSecObserve: TypeSecObserveSync,
}

// EnqueuePeriodic enqueues tasks for runs of periodic tasks.
func (q *Queue) EnqueuePeriodic(ctx context.Context, runs []dbmodel.QueueableRun) {
	var list []*asynq.Task
	for _, r := range runs {
		if t, known := typeOfPeriodic[r.Task]; known { // else it is for another version of Tocsin
			list = append(list, newTask(t, PeriodicTask{ID: r.ID}, Periodic, PeriodicTime+2*time.Minute))
		}
	}
	q.enqueue(ctx, list, Periodic)
}

// RemoveDeleted has a worker remove what is deleted, unless one does so already.
func (q *Queue) RemoveDeleted(ctx context.Context, db *dbmodel.DB) error {
	mine, err := dbmodel.ClaimRemoval(ctx, db)
	if err != nil {
		return fmt.Errorf("claim the removal of what is deleted: %w", err)
	}
	if mine {
		q.enqueue(ctx, []*asynq.Task{newTask(TypeDeletionRemove, nil, Periodic, PeriodicTime)}, Periodic)
	}
	return nil
}
