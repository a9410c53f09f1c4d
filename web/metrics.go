package web

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

const metricsPattern = "GET /metrics"

// metricsTime bounds the questions that a scrape asks.
const metricsTime = 5 * time.Second

// metrics are what Prometheus reads: how much is left to do, as the database and Redis know it, and how requests fare.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

func newMetrics(db *dbmodel.DB, queue *queue.Queue) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "tocsin_http_request_duration_seconds", Help: "Time from a request to the end of its answer.",
		Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60},
	}, []string{"route", "status"})}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.requests,
		&workCollector{db: db, queue: queue})
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// observe counts a request.
func (m *metrics) observe(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}

// workPause is how long an answer of workCollector holds.
const workPause = time.Second

// workCollector asks database and Redis when it is scraped, once for all who do so at the same time: anybody may, and counting
// takes a while where much has failed. What does not answer is left out.
type workCollector struct {
	db    *dbmodel.DB
	queue *queue.Queue

	mu   sync.Mutex
	last []prometheus.Metric
	at   time.Time
}

var (
	outboxDesc       = prometheus.NewDesc("tocsin_outbox_events", "Accepted events that wait for their evaluation.", nil, nil)
	failedEventsDesc = prometheus.NewDesc("tocsin_failed_events", "Events that are set aside because their evaluation failed for good.", nil, nil)
	deliveriesDesc   = prometheus.NewDesc("tocsin_deliveries", "Deliveries that wait or have failed for good.", []string{"state"}, nil)
	pausedDesc       = prometheus.NewDesc("tocsin_queue_paused", "1: somebody has paused the queue, and none of its tasks runs.", []string{"queue"}, nil)
	queueDesc        = prometheus.NewDesc("tocsin_queue_tasks", "Tasks that wait in Redis.", []string{"queue"}, nil)
)

// Describe implements prometheus.Collector.
func (*workCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{outboxDesc, failedEventsDesc, deliveriesDesc, queueDesc, pausedDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (w *workCollector) Collect(to chan<- prometheus.Metric) {
	w.mu.Lock()
	if time.Since(w.at) >= workPause {
		w.last = w.ask()
		w.at = time.Now()
	}
	list := w.last
	w.mu.Unlock()
	for _, m := range list {
		to <- m
	}
}

func (w *workCollector) ask() (list []prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), metricsTime)
	defer cancel()
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		list = append(list, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...))
	}
	if c, err := dbmodel.Count(ctx, w.db.Reader); err == nil {
		gauge(outboxDesc, c.Outbox)
		gauge(failedEventsDesc, c.FailedEvents)
		gauge(deliveriesDesc, c.PendingDeliveries, string(dbmodel.Pending))
		gauge(deliveriesDesc, c.FailedDeliveries, string(dbmodel.Failed))
	}
	for queue, n := range queueSizes(w.queue) {
		if n != nil {
			gauge(queueDesc, *n, queue)
		}
	}
	ctx, cancelRedis := context.WithTimeout(ctx, redisTime)
	defer cancelRedis()
	if paused, err := w.queue.Paused(ctx); err == nil {
		for _, queue := range queue.All {
			is := 0
			if slices.Contains(paused, queue) {
				is = 1
			}
			gauge(pausedDesc, is, queue)
		}
	}
	return list
}
