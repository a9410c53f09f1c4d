package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// Window is how many tasks of one queue lie in Redis at most. Beyond it events wait in the database until the sweep
	// enqueues them: a Redis that is full would not even give tasks out.
	Window = 10_000
	// DrainWindow is the same for drains. A few more may lie there, because a process learns only once a second how many
	// there are.
	DrainWindow = 1_000
	// askTime bounds how long Redis may be asked for the size of a queue.
	askTime = 2 * time.Second
)

const (
	// asynqQueues is the set in which asynq keeps the names of its queues.
	asynqQueues = "asynq:queues"
	// pendingSince is the field of a task that says since when it waits, in nanoseconds since 1970.
	pendingSince = "pending_since"
)

// pendingKey is the list in which asynq keeps the ids of the tasks that wait in a queue, the oldest last.
func pendingKey(queue string) string { return "asynq:{" + queue + "}:pending" }

// taskKey is the hash in which asynq keeps a task.
func taskKey(queue, id string) string { return "asynq:{" + queue + "}:t:" + id }

// PausedKey is the key that asynq keeps in Redis as long as a queue is paused.
func PausedKey(queue string) string { return "asynq:{" + queue + "}:paused" }

// knownSize is what this process knows of the tasks that wait in a queue.
type knownSize struct {
	tasks   int           // as Redis said, and the evaluations that this process has enqueued since
	latency time.Duration // how long the oldest has waited, as Redis said
	at      time.Time     // when Redis said so
	asking  bool          // a goroutine of Room asks Redis
}

// Room reports whether a task may be added to a queue: Redis answers, and its window is not full. It never waits; what
// it knows is about a second old.
func (q *Queue) Room(queue string) bool {
	if q.resting() {
		return false
	}
	most := Window
	if queue == Drains || queue == BulkDrains {
		most = DrainWindow
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.knownSizeOf(queue)
	if time.Since(s.at) > time.Second && !s.asking {
		s.asking = true
		go q.refresh(context.Background(), queue) //nolint:errcheck // the next caller learns it from resting
	}
	return s.tasks < most
}

// Size returns how many tasks wait in a queue, and how long the oldest does. It takes askTime at most.
func (q *Queue) Size(ctx context.Context, queue string) (tasks int, latency time.Duration, err error) {
	if q.resting() {
		return 0, 0, errResting
	}
	if err := q.refresh(ctx, queue); err != nil {
		return 0, 0, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.knownSizeOf(queue)
	return s.tasks, s.latency, nil
}

// knownSizeOf returns what is known of a queue; the caller holds the mutex.
func (q *Queue) knownSizeOf(queue string) *knownSize {
	s, found := q.sizes[queue]
	if !found {
		s = new(knownSize)
		q.sizes[queue] = s
	}
	return s
}

// refresh asks Redis for the size of a queue, and notes it.
func (q *Queue) refresh(ctx context.Context, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	tasks, latency, err := q.ask(ctx, queue)
	q.Note(err)
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.knownSizeOf(queue)
	s.asking = false
	if err != nil {
		return fmt.Errorf("ask for the size of queue %s: %w", queue, err)
	}
	s.tasks, s.latency, s.at = tasks, latency, time.Now()
	return nil
}

// ask asks Redis how many tasks wait in a queue, and how long the oldest does. asynq's Inspector answers that, too, but
// for each queue it runs two scripts, one of which measures the memory of samples of the queue's tasks: too much for a
// question that is asked all the time.
//
// An asynq client adds the name of a queue to asynqQueues only with its first task. So ask adds one that Redis has
// lost: else asynqmon would never show the queue again.
func (q *Queue) ask(ctx context.Context, queue string) (tasks int, latency time.Duration, err error) {
	var listed *redis.BoolCmd
	var waiting *redis.IntCmd
	var oldest *redis.StringCmd
	_, err = q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		listed = p.SIsMember(ctx, asynqQueues, queue)
		waiting, oldest = p.LLen(ctx, pendingKey(queue)), p.LIndex(ctx, pendingKey(queue), -1)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, 0, err
	}
	if !listed.Val() {
		if err := q.redis.SAdd(ctx, asynqQueues, queue).Err(); err != nil {
			return 0, 0, err
		}
	}
	if oldest.Val() == "" {
		return int(waiting.Val()), 0, nil
	}
	since, err := q.redis.HGet(ctx, taskKey(queue, oldest.Val()), pendingSince).Int64()
	if errors.Is(err, redis.Nil) {
		return int(waiting.Val()), 0, nil // a worker has taken it meanwhile
	}
	// The time comes from another process, whose clock may be ahead of ours.
	return int(waiting.Val()), max(time.Since(time.Unix(0, since)), 0), err
}
