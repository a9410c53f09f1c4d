package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

// Health returns the handler of /healthz, /readyz and /metrics of a process without web, with what is registered in r.
// A worker is not ready without Redis: it gets no tasks. What only the database knows is a metric of others: there are
// many workers.
func Health(db *dbmodel.DB, queue *queue.Queue, r *prometheus.Registry, isWorker bool) http.Handler {
	s := &server{db: db, queue: queue, needsRedis: isWorker}
	if !isWorker {
		r.MustRegister(&workCollector{db: db, queue: queue})
	}
	mux := http.NewServeMux()
	mux.HandleFunc(healthPattern, s.showHealth)
	mux.HandleFunc(readyPattern, s.showReady)
	mux.Handle(metricsPattern, metricsHandler(r))
	return mux
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
	isWrong       = "wrong policy"
)

// showHealth says that the process lives.
func (s *server) showHealth(w http.ResponseWriter, _ *http.Request) {
	showJSON(w, http.StatusOK, health{Status: isOK})
}

// showReady says whether the process can do its work: the database answers, its schema is this program's, and Redis
// answers where the process needs it. Without Redis web still accepts events.
func (s *server) showReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*redisTime)
	defer cancel()
	type answer struct {
		err   error
		wrong string // maxmemory-policy
	}
	redis := make(chan answer, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, redisTime)
		defer cancel()
		err := s.queue.Ping(ctx)
		wrong, _ := s.queue.WrongPolicy(ctx) // one that is not reported may be right
		redis <- answer{err, wrong}
	}()
	h, code := health{Status: isOK, Database: isOK, Redis: isOK}, http.StatusOK
	errDatabase := dbmodel.CheckSchema(ctx, cmp.Or(s.intake, s.db))
	switch found := <-redis; {
	case found.err != nil:
		h.Status, h.Redis = isDegraded, isUnavailable
		if s.needsRedis {
			h.Status, code = isUnavailable, http.StatusServiceUnavailable
		}
	case found.wrong != "":
		h.Status, h.Redis, h.Message = isDegraded, isWrong, queue.PolicyFault(found.wrong)
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
