package queue

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed91453169/tocsin/dbmodel"
)

// Types of tasks beside those of TypeOf.
const (
	TypeEventAccept     = "event:accept" // its payload is the event itself: Redis holds the only copy
	TypeTargetDrain     = "target:drain"
	TypePeriodicCleanup = "periodic:cleanup"
	TypePeriodicDigests = "periodic:digests"
	TypeSecObserveSync  = "secobserve:sync"
	TypeDeletionRemove  = "deletion:remove"
)

// Queues. Each has a server of its own, except that one server takes from Drains and, when that is empty, from
// BulkDrains. So imports, slow receivers, periodic tasks and the removal of what is deleted keep no evaluation of a
// single event waiting.
const (
	Events     = "events"      // evaluations of single events
	Bulk       = "bulk"        // evaluations of imports
	Drains     = "drains"      // of targets that a single event has a delivery for
	BulkDrains = "bulk-drains" // of targets that an import has deliveries for, or that the sweep found
	Periodic   = "periodic"    // periodic tasks, and the removal of what is deleted
)

// All lists all queues.
var All = []string{Events, Bulk, Drains, BulkDrains, Periodic}

// EventTask is the payload of a task that evaluates an event.
type EventTask struct {
	ID        int64 `json:"id"`                   // of the row of the event
	ProductID int64 `json:"product_id,omitempty"` // of a gate
	Alone     bool  `json:"alone,omitempty"`      // the worker must do nothing else meanwhile
}

// DrainTask is the payload of TypeTargetDrain.
type DrainTask struct {
	TargetID int64 `json:"target_id"`
}

// TypeOf is the type of the tasks that evaluate events of a kind.
func TypeOf(kind dbmodel.EventKind) string { return string(kind) + ":evaluate" }

// evaluation is the task for an event.
func evaluation(e dbmodel.QueueableEvent) *asynq.Task {
	return newTask(TypeOf(e.Kind), EventTask{ID: e.ID, ProductID: e.ProductID, Alone: e.Alone}, Of(e.Bulk), TaskTime)
}

// TaskTime bounds an evaluation or a drain, and the acceptance of an event: it is far above what these may take.
const TaskTime = 2 * time.Minute

// newTask makes a task. A row of the database says what comes after a failed run, so asynq retries nothing.
func newTask(taskType string, payload any, queue string, timeout time.Duration) *asynq.Task {
	b, err := json.Marshal(payload)
	if err != nil {
		panic(fmt.Sprintf("queue: payload of %s: %v", taskType, err)) // numbers and booleans only
	}
	return asynq.NewTask(taskType, b, asynq.Queue(queue), asynq.MaxRetry(0), asynq.Timeout(timeout))
}
