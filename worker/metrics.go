package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/metrics"
	"github.com/seed91453169/tocsin/rule"
)

// Results of evaluations.
const (
	resultNotified   = "notified"
	resultNothing    = "nothing"
	resultSuppressed = "held_back" // an exception, within the rate limit
	resultSetAside   = "failed"
)

// Results of deliveries.
const (
	resultSent    = "sent"
	resultRetried = "retried"
	resultFailed  = "failed"
)

// Buckets in seconds.
var (
	durationBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60}
	delayBuckets    = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400}
)

// counted has the metrics of a worker, which count each observation and each delivery as one.
type counted struct {
	accepted        func(accept.Accepted)
	evaluations     *prometheus.CounterVec
	evaluationTimes *prometheus.HistogramVec
	notifications   *prometheus.CounterVec
	suppressed      *prometheus.CounterVec
	deliveries      *prometheus.CounterVec
	deliveryTimes   *prometheus.HistogramVec
	delay           *prometheus.HistogramVec
}

// newCounted registers the metrics of a worker in r, at 0 for each value that their labels can have.
func newCounted(r *prometheus.Registry) *counted {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	c := &counted{
		accepted: metrics.CountAccepted(r),
		evaluations: counter("tocsin_events_evaluated_total", "Events that were evaluated; failed: that were set aside.",
			"kind", "result"),
		evaluationTimes: histogram("tocsin_evaluation_duration_seconds", "Time of one evaluation, of one event or of many.",
			durationBuckets, "kind"),
		notifications: counter("tocsin_notifications_total", "Notifications that were stored.", "type", "event"),
		suppressed: counter("tocsin_exceptions_held_back_total",
			"Exceptions that equal one that was notified a short time before.", "type"),
		deliveries: counter("tocsin_deliveries_total",
			"Deliveries that were sent, that will be tried again, and that failed for good.", "channel", "result", "reason"),
		deliveryTimes: histogram("tocsin_delivery_duration_seconds", "Time of one send.", durationBuckets, "channel"),
		delay: histogram("tocsin_notification_delay_seconds",
			"Time from the acceptance of an event until a receiver has its notification.", delayBuckets, "channel"),
	}
	r.MustRegister(c.evaluations, c.evaluationTimes, c.notifications, c.suppressed, c.deliveries, c.deliveryTimes, c.delay)
	for _, kind := range metrics.Kinds {
		for _, result := range []string{resultNotified, resultNothing, resultSetAside} {
			c.evaluations.WithLabelValues(string(kind), result)
		}
		c.evaluationTimes.WithLabelValues(string(kind))
	}
	for _, kind := range []rule.Type{rule.TypeException, rule.TypeTask} {
		c.evaluations.WithLabelValues(string(kind), resultSuppressed)
		c.suppressed.WithLabelValues(string(kind))
	}
	for _, typ := range rule.Types {
		for _, event := range eventsOf(typ) {
			c.notifications.WithLabelValues(string(typ), string(event))
		}
	}
	for _, ch := range rule.Channels {
		c.deliveries.WithLabelValues(string(ch), resultSent, string(channel.NoFailure))
		for _, reason := range channel.Categories {
			c.deliveries.WithLabelValues(string(ch), resultRetried, string(reason))
			c.deliveries.WithLabelValues(string(ch), resultFailed, string(reason))
		}
		c.deliveryTimes.WithLabelValues(string(ch))
		c.delay.WithLabelValues(string(ch))
	}
	return c
}

// eventsOf lists the values of the label event for a type; exceptions and tasks have an empty one.
func eventsOf(t rule.Type) []rule.Event {
	if events := t.Events(); events != nil {
		return events
	}
	return []rule.Event{rule.NoEvent}
}

// evaluationTook notes how long one try to evaluate an event took.
func (c *counted) evaluationTook(e *dbmodel.Event, took time.Duration) {
	if kind := e.Type(); kind != "" {
		c.evaluationTimes.WithLabelValues(string(kind)).Observe(took.Seconds())
	}
}

// evaluated counts an event that was evaluated.
func (c *counted) evaluated(e *dbmodel.Event, p prepared, decided decision) {
	kind := e.Type()
	if kind == "" {
		return
	}
	all := max(len(e.Payload.IDs), 1)
	others := resultNothing // of those without a notification
	if p.suppressed {
		others = resultSuppressed
		c.suppressed.WithLabelValues(string(kind)).Inc()
	}
	c.evaluations.WithLabelValues(string(kind), resultNotified).Add(float64(decided.notified))
	c.evaluations.WithLabelValues(string(kind), others).Add(float64(max(all-decided.notified, 0)))
	for i := range decided.notifications {
		n := &decided.notifications[i]
		c.notifications.WithLabelValues(string(n.Type), string(n.Event)).Inc()
	}
}

// setAside counts an event that was set aside.
func (c *counted) setAside(e *dbmodel.Event) {
	if kind := e.Type(); kind != "" {
		c.evaluations.WithLabelValues(string(kind), resultSetAside).Inc()
	}
}

// sent counts deliveries that were sent; ago returns how long before SentAt the receiver took one of them.
func (c *counted) sent(ch rule.Channel, list []dbmodel.SentDelivery, ago func(id int64) time.Duration) {
	c.attempts(ch, resultSent, nil, len(list))
	delay := c.delay.WithLabelValues(string(ch))
	for _, d := range list {
		if !d.AcceptedAt.IsZero() {
			delay.Observe(max(d.SentAt.Sub(d.AcceptedAt)-ago(d.ID), 0).Seconds())
		}
	}
}

// attempts counts one attempt of each of n deliveries, by its result; failure is nil where they were sent.
func (c *counted) attempts(ch rule.Channel, result string, failure *channel.Error, n int) {
	c.deliveries.WithLabelValues(string(ch), result, string(failure.Category())).Add(float64(n))
}
