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

// mostInStatus is how many events or deliveries are counted at the most.
const mostInStatus = 100_000

type statusAnswer struct {
	Outbox            int             `json:"outbox" doc:"Events that wait for their evaluation; 100000 stands for more, here and of the next three"`
	FailedEvents      int             `json:"failed_events"`
	PendingDeliveries int             `json:"pending_deliveries"`
	FailedDeliveries  int             `json:"failed_deliveries"`
	Queues            map[string]*int `json:"queues" doc:"Tasks in Redis; null: Redis does not answer"`
	PausedQueues      []string        `json:"paused_queues" doc:"Queues that somebody has paused: nothing of them is evaluated until they are resumed" nullable:"false"`
	aliveAnswer
}

// aliveAnswer says whether the installation works: what runs, and how long what is due waits.
type aliveAnswer struct {
	Processes             processesAnswer `json:"processes" doc:"Processes that are alive, by role; one that runs all roles counts for each"`
	OldestEventSeconds    float64         `json:"oldest_event_seconds" doc:"How long the oldest event that is due waits; 0: none does"`
	OldestDeliverySeconds float64         `json:"oldest_delivery_seconds" doc:"How long the oldest delivery that is due waits; 0: none does. Where more than 2,000 targets wait, at least that long"`
}

type processesAnswer struct {
	Web       processAnswer `json:"web"`
	Worker    processAnswer `json:"worker"`
	Scheduler processAnswer `json:"scheduler"`
}

type processAnswer struct {
	Alive int        `json:"alive"`
	Since *time.Time `json:"since" doc:"When the first of them started; null: there is none"`
}

type statusOutput struct{ Body statusAnswer }

func (s *server) apiGetStatus(ctx context.Context, _ *struct{}) (*statusOutput, error) {
	c, err := dbmodel.CountUpTo(ctx, s.db.Reader, mostInStatus) // one statement: one snapshot
	if err != nil {
		return nil, fmt.Errorf("count what is left to do: %w", err)
	}
	alive, err := s.loadAlive(ctx)
	if err != nil {
		return nil, err
	}
	return &statusOutput{
		statusAnswer{
			c.Outbox, c.FailedEvents, c.PendingDeliveries, c.FailedDeliveries,
			queueSizes(ctx, s.queue), pausedQueues(ctx, s.queue),
			alive,
		},
	}, nil
}

// loadAlive asks the database what runs, and how long what is due waits.
func (s *server) loadAlive(ctx context.Context) (a aliveAnswer, err error) {
	processes, err := dbmodel.LiveProcesses(ctx, s.db.Reader)
	if err != nil {
		return a, fmt.Errorf("list what runs: %w", err)
	}
	oldest, err := dbmodel.OldestWork(ctx, s.db.Reader)
	if err != nil {
		return a, fmt.Errorf("find what waits longest: %w", err)
	}
	alive := dbmodel.AliveByRole(processes)
	of := func(role string) (p processAnswer) {
		if p.Alive = alive[role].Processes; p.Alive > 0 {
			since := alive[role].Since.UTC()
			p.Since = &since
		}
		return p
	}
	return aliveAnswer{
		processesAnswer{of("web"), of("worker"), of("scheduler")}, oldest.Event.Seconds(), oldest.Delivery.Seconds(),
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
func queueSizes(ctx context.Context, q *queue.Queue) map[string]*int {
	type size struct {
		queue string
		tasks *int
	}
	found := make(chan size, len(queue.All))
	out := make(map[string]*int, len(queue.All))
	for _, queue := range queue.All {
		out[queue] = nil
		go func() {
			n, _, err := q.Size(ctx, queue)
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
