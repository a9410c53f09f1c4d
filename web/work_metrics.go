package web

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// metricsTime bounds the questions that a scrape asks.
	metricsTime = 5 * time.Second
	// workPause is how long an answer of workCollector holds; where asking takes long it holds longer, so that asking
	// takes no more than a fifth of the time.
	workPause = time.Second
	askPart   = 5
	// mostCounted is how many events or deliveries a scrape counts at the most.
	mostCounted = 10_000
)

// workCollector asks database and Redis when it is scraped, once for all who do so at the same time: anybody may. What
// does not answer is left out.
type workCollector struct {
	db    *dbmodel.DB
	queue *queue.Queue

	mu    sync.Mutex
	last  []prometheus.Metric
	until time.Time // last holds
}

func gaugeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	outboxDesc = gaugeDesc("tocsin_outbox_events",
		"Accepted events that wait for their evaluation; 10000 stands for more.")
	failedEventsDesc = gaugeDesc("tocsin_failed_events",
		"Events that are set aside because their evaluation failed for good; 10000 stands for more.")
	deliveriesDesc = gaugeDesc("tocsin_deliveries",
		"Deliveries that wait or have failed for good; 10000 stands for more.", "state")
	oldestEventDesc = gaugeDesc("tocsin_oldest_event_age_seconds",
		"How long the oldest event that is due waits for its evaluation; 0: none does.")
	oldestDeliveryDesc = gaugeDesc("tocsin_oldest_delivery_age_seconds",
		"How long the oldest delivery that is due waits; 0: none does.")
	failingDesc = gaugeDesc("tocsin_failing_targets",
		"Targets that took nothing when they were tried last.", "channel")
	succeededDesc = gaugeDesc("tocsin_periodic_task_last_success_timestamp_seconds",
		"When a periodic task last succeeded; 0: never.", "task")
	failedRunDesc = gaugeDesc("tocsin_periodic_task_last_failure_timestamp_seconds",
		"When a periodic task last failed; 0: never.", "task")
	processesDesc = gaugeDesc("tocsin_processes",
		"Processes that are alive; one that runs all roles counts for each.", "role")
	pausedDesc = gaugeDesc("tocsin_queue_paused",
		"1: somebody has paused the queue, and none of its tasks runs.", "queue")
	queueDesc  = gaugeDesc("tocsin_queue_tasks", "Tasks that wait in Redis.", "queue")
	policyDesc = gaugeDesc("tocsin_redis_policy_wrong",
		"1: the maxmemory-policy of Redis lets it drop tasks when it is full.")
)

// Describe implements prometheus.Collector.
func (*workCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		outboxDesc, failedEventsDesc, deliveriesDesc, oldestEventDesc, oldestDeliveryDesc, failingDesc, succeededDesc,
		failedRunDesc,
		processesDesc, pausedDesc, queueDesc, policyDesc,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (w *workCollector) Collect(to chan<- prometheus.Metric) {
	w.mu.Lock()
	if began := time.Now(); !began.Before(w.until) {
		w.last = w.ask()
		w.until = began.Add(max(workPause, askPart*time.Since(began)))
	}
	list := w.last
	w.mu.Unlock()
	for _, m := range list {
		to <- m
	}
}

// gauges are the answers of one scrape.
type gauges []prometheus.Metric

func (g *gauges) add(d *prometheus.Desc, value float64, labels ...string) {
	*g = append(*g, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...))
}

func (w *workCollector) ask() (list gauges) {
	ctx, cancel := context.WithTimeout(context.Background(), metricsTime)
	defer cancel()
	w.askDatabase(ctx, &list)
	w.askRedis(ctx, &list)
	return list
}

// askDatabase asks for what only the database knows. Where it does not answer the rest is not asked for.
func (w *workCollector) askDatabase(ctx context.Context, list *gauges) {
	c, err := dbmodel.CountUpTo(ctx, w.db.Reader, mostCounted)
	if err != nil {
		return
	}
	list.add(outboxDesc, float64(c.Outbox))
	list.add(failedEventsDesc, float64(c.FailedEvents))
	list.add(deliveriesDesc, float64(c.PendingDeliveries), string(dbmodel.Pending))
	list.add(deliveriesDesc, float64(c.FailedDeliveries), string(dbmodel.Failed))
	if oldest, err := dbmodel.OldestWork(ctx, w.db.Reader); err == nil {
		list.add(oldestEventDesc, oldest.Event.Seconds())
		list.add(oldestDeliveryDesc, oldest.Delivery.Seconds())
	}
	if failing, err := dbmodel.FailingByChannel(ctx, w.db.Reader); err == nil {
		for _, c := range rule.Channels {
			list.add(failingDesc, float64(failing[c]), string(c))
		}
	}
	if processes, err := dbmodel.LiveProcesses(ctx, w.db.Reader); err == nil {
		alive := dbmodel.AliveByRole(processes)
		for _, role := range dbmodel.ProcessRoles {
			list.add(processesDesc, float64(alive[role].Processes), role)
		}
	}
	if runs, err := dbmodel.LastRunsByTask(ctx, w.db.Reader); err == nil {
		if _, ran := runs[dbmodel.PeriodicCleanup]; !ran {
			runs[dbmodel.PeriodicCleanup] = dbmodel.LastRuns{}
		}
		for task, last := range runs {
			list.add(succeededDesc, unix(last.Succeeded), task)
			list.add(failedRunDesc, unix(last.Failed), task)
		}
	}
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func (w *workCollector) askRedis(ctx context.Context, list *gauges) {
	for queue, n := range queueSizes(ctx, w.queue) {
		if n != nil {
			list.add(queueDesc, float64(*n), queue)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	is := func(condition bool) float64 {
		if condition {
			return 1
		}
		return 0
	}
	if paused, err := w.queue.Paused(ctx); err == nil {
		for _, queue := range queue.All {
			list.add(pausedDesc, is(slices.Contains(paused, queue)), queue)
		}
	}
	if wrong, err := w.queue.WrongPolicy(ctx); err == nil {
		list.add(policyDesc, is(wrong != ""))
	}
}
