package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// PeriodicTime bounds a run of a periodic task.
const PeriodicTime = time.Hour

// PeriodicTask is the payload of a task of Periodic: where the row of its run is.
type PeriodicTask struct {
	ID int64 `json:"id"`
}

// EnqueueCleanups enqueues tasks for runs of the clean-up.
func (q *Queue) EnqueueCleanups(ctx context.Context, runs []int64) {
	list := make([]*asynq.Task, len(runs))
	for i, id := range runs {
		b, err := json.Marshal(PeriodicTask{ID: id})
		if err != nil {
			panic(fmt.Sprintf("queue: payload of %s: %v", TypePeriodicCleanup, err)) // a number
		}
		list[i] = asynq.NewTask(TypePeriodicCleanup, b, asynq.Queue(Periodic), asynq.MaxRetry(0), asynq.Timeout(PeriodicTime+2*time.Minute))
	}
	q.enqueue(ctx, list, Periodic)
}
