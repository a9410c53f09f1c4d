package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// Window is how many tasks of one queue lie in Redis at the most; beyond it events wait in the database, and the sweep
	// feeds them. A Redis that is full refuses to give tasks out, too.
	Window = 10_000
	// DrainWindow is the same for drains.
	DrainWindow = 1_000
	// askTime bounds how long Redis may be asked for the size of a queue.
	askTime = 2 * time.Second
)

// Where asynq keeps its queues: the set of their names, the list of the tasks of one that wait, oldest last, and since
// when each does, in nanoseconds since 1970.
const (
	asynqQueues  = "asynq:queues"
	pendingSince = "pending_since"
)

func pendingKey(queue string) string         { return "asynq:{" + queue + "}:pending" }
func taskKey(queue string, id string) string { return "asynq:{" + queue + "}:t:" + id }

// PausedKey is what asynq keeps in Redis as long as a queue is paused.
func PausedKey(queue string) string { return "asynq:{" + queue + "}:paused" }

// knownSize is what this process knows of the tasks that wait in a queue.
type knownSize struct {
	tasks   int           // as Redis said, and those that were enqueued since
	latency time.Duration // how long the oldest has waited, as Redis said
	at      time.Time     // when Redis said so
	asking  bool          // somebody asks Redis
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
	s := q.known(queue)
	if time.Since(s.at) > time.Second && !s.asking {
		s.asking = true
		go q.refresh(queue) //nolint:errcheck // the next caller learns it from resting
	}
	return s.tasks < most
}

// Size returns how many tasks wait in a queue, and how long the oldest does. It takes askTime at the most.
func (q *Queue) Size(queue string) (tasks int, latency time.Duration, err error) {
	if q.resting() {
		return 0, 0, errResting
	}
	if err := q.refresh(queue); err != nil {
		return 0, 0, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.known(queue)
	return s.tasks, s.latency, nil
}

// known returns what is known of a queue; the caller holds the mutex.
func (q *Queue) known(queue string) *knownSize {
	s, found := q.sizes[queue]
	if !found {
		s = new(knownSize)
		q.sizes[queue] = s
	}
	return s
}

// refresh asks Redis for the size of a queue, and notes it.
func (q *Queue) refresh(queue string) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	tasks, latency, err := q.ask(ctx, queue)
	q.Note(err)
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.known(queue)
	s.asking = false
	if err != nil {
		return fmt.Errorf("ask for the size of queue %s: %w", queue, err)
	}
	s.tasks, s.latency, s.at = tasks, latency, time.Now()
	return nil
}

// ask asks Redis how many tasks wait in a queue, and how long the oldest does. asynq's Inspector answers that, too, but
// runs two scripts for each queue, one of which measures the memory of samples of its tasks; this is asked all the
// time.
//
// An asynq client lists a queue only with its first task. So ask lists a queue that Redis has lost from the list: else
// asynqmon would never show it again.
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
	// It is the difference between the clocks of two processes: with one ahead of ours it is negative.
	return int(waiting.Val()), max(time.Since(time.Unix(0, since)), 0), err
}
