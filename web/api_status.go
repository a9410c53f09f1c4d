package web

import (
	"context"
	"fmt"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

// redisTime is how long an answer waits for Redis.
const redisTime = time.Second

type statusAnswer struct {
	Outbox            int             `json:"outbox" doc:"Events that wait for their evaluation"`
	FailedEvents      int             `json:"failed_events"`
	PendingDeliveries int             `json:"pending_deliveries"`
	FailedDeliveries  int             `json:"failed_deliveries"`
	Queues            map[string]*int `json:"queues" doc:"Tasks in Redis; null: Redis does not answer"`
	PausedQueues      []string        `json:"paused_queues" doc:"Queues that somebody has paused: nothing of them is evaluated until they are resumed" nullable:"false"`
}

type statusOutput struct{ Body statusAnswer }

func (s *server) apiGetStatus(ctx context.Context, _ *struct{}) (*statusOutput, error) {
	c, err := dbmodel.Count(ctx, s.db.Reader) // one statement: one snapshot
	if err != nil {
		return nil, fmt.Errorf("count what is left to do: %w", err)
	}
	return &statusOutput{
		statusAnswer{
			c.Outbox, c.FailedEvents, c.PendingDeliveries, c.FailedDeliveries, queueSizes(s.queue), pausedQueues(ctx, s.queue),
		},
	}, nil
}

// pausedQueues lists the queues that are paused; none where Redis does not say so in time.
func pausedQueues(ctx context.Context, q *queue.Queue) []string {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	list, err := q.Paused(ctx)
	if err != nil {
		return []string{}
	}
	return list
}

// queueSizes returns how many tasks wait in each queue; nil where Redis does not say so in time.
func queueSizes(q *queue.Queue) map[string]*int {
	type size struct {
		queue string
		tasks *int
	}
	found := make(chan size, len(queue.All))
	out := make(map[string]*int, len(queue.All))
	for _, queue := range queue.All {
		out[queue] = nil
		go func() {
			n, _, err := q.Size(queue)
			if err != nil {
				found <- size{queue, nil}
				return
			}
			found <- size{queue, &n}
		}()
	}
	late := time.After(redisTime)
	for range queue.All {
		select {
		case f := <-found:
			out[f.queue] = f.tasks
		case <-late:
			return out
		}
	}
	return out
}
