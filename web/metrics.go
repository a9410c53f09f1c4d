package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const metricsPattern = "GET /metrics"

// newRequestMetrics registers what is counted of requests.
func newRequestMetrics(r *prometheus.Registry) *prometheus.HistogramVec {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "tocsin_http_request_duration_seconds", Help: "Time from a request to the end of its answer.",
		Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60},
	}, []string{"route", "status"})
	r.MustRegister(requests)
	return requests
}

// observe counts a request.
func (s *server) observe(route string, status int, took time.Duration) {
	s.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}

// metricsHandler serves all that is registered in r.
func metricsHandler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}
