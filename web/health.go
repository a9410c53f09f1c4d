package web

import (
	"net/http"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

// Health returns the handler of /healthz, /readyz and /metrics of a process without web. A worker is not ready without Redis: it
// gets no tasks.
func Health(db *dbmodel.DB, queue *queue.Queue, needsRedis bool) http.Handler {
	s := &server{db: db, queue: queue, needsRedis: needsRedis}
	mux := http.NewServeMux()
	mux.HandleFunc(healthPattern, s.showHealth)
	mux.HandleFunc(readyPattern, s.showReady)
	mux.Handle(metricsPattern, newMetrics(db, queue).handler())
	return mux
}
