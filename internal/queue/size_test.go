package queue_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestSizeIsThatOfAsynq compares what the queue reads of asynq's keys with what asynq itself says.
func TestSizeIsThatOfAsynq(t *testing.T) {
	t.Parallel()
	client := testenv.RedisClient(t, testenv.Redis(t).URL())
	q := queue.New(client, zerolog.Nop())

	if n, latency, err := q.Size(t.Context(), queue.Events); err != nil || n != 0 || latency != 0 {
		t.Errorf("an empty queue: %d tasks, latency %v, %v", n, latency, err)
	}
	inspector := asynq.NewInspectorFromRedisClient(client)
	listed, err := inspector.Queues()
	if diff := cmp.Diff([]string{queue.Events}, listed); diff != "" || err != nil {
		t.Errorf("asynq does not list the queue: %v %s", err, diff)
	}
	tasks := asynq.NewClientFromRedisClient(client)
	for range 3 {
		if _, err := tasks.Enqueue(asynq.NewTask("test", nil), asynq.Queue(queue.Events)); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, 5*time.Second, func() error {
		info, err := inspector.GetQueueInfo(queue.Events)
		if err == nil && info.Latency < 20*time.Millisecond {
			return fmt.Errorf("latency %v", info.Latency)
		}
		return err
	}, "no latency")
	before, err := inspector.GetQueueInfo(queue.Events)
	if err != nil {
		t.Fatal(err)
	}
	n, latency, err := q.Size(t.Context(), queue.Events)
	if err != nil {
		t.Fatal(err)
	}
	after, err := inspector.GetQueueInfo(queue.Events)
	if err != nil {
		t.Fatal(err)
	}
	if n != 3 || n != before.Pending || latency < before.Latency || latency > after.Latency {
		t.Errorf("%d tasks, latency %v; asynq says %d, %v to %v", n, latency, before.Pending, before.Latency, after.Latency)
	}
}
