package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
	return &statusOutput{statusAnswer{c.Outbox, c.FailedEvents, c.PendingDeliveries, c.FailedDeliveries, queueSizes(s.queue), pausedQueues(ctx, s.queue)}}, nil
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

// health is the answer of the probes.
type health struct {
	Status   string `json:"status"` // ok, degraded, unavailable
	Database string `json:"database,omitempty"`
	Redis    string `json:"redis,omitempty"`
	Message  string `json:"message,omitempty"`
}

const (
	isOK          = "ok"
	isDegraded    = "degraded"
	isUnavailable = "unavailable"
	isOtherSchema = "other schema"
)

// showHealth says that the process lives.
func (s *server) showHealth(w http.ResponseWriter, _ *http.Request) {
	showJSON(w, http.StatusOK, health{Status: isOK})
}

// showReady says whether the process can do its work: the database answers, its schema is this program's, and, where it needs that, Redis answers. Without Redis
// web still accepts events.
func (s *server) showReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*redisTime)
	defer cancel()
	redis := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, redisTime)
		defer cancel()
		redis <- s.queue.Ping(ctx)
	}()
	h, code := health{Status: isOK, Database: isOK, Redis: isOK}, http.StatusOK
	errDatabase := dbmodel.CheckSchema(ctx, s.db)
	if err := <-redis; err != nil {
		h.Status, h.Redis = isDegraded, isUnavailable
		if s.needsRedis {
			h.Status, code = isUnavailable, http.StatusServiceUnavailable
		}
	}
	if errDatabase != nil {
		h.Status, h.Database, code = isUnavailable, isUnavailable, http.StatusServiceUnavailable
		if schema := dbmodel.SchemaError(""); errors.As(errDatabase, &schema) {
			h.Database, h.Message = isOtherSchema, schema.Error()
		}
	}
	showJSON(w, code, h)
}

func showJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}
