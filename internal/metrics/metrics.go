// Package metrics has the part of the metrics for Prometheus that the roles of a process share: registry and counter
// of accepted events. The metrics of a role stand in its own package.
package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

// Kinds are the values of the label kind: the types of notifications that events are about. An event about observations
// is about their titles, too, which have no kind of their own.
var Kinds = slices.DeleteFunc(slices.Clone(rule.Types), func(t rule.Type) bool {
	return t == rule.TypeObservationTitle
})

// NewRegistry returns a registry with the metrics of Go and of the process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// CountAccepted returns a function that counts accepted events in r, each observation as one. All callers with one
// registry share the counter.
func CountAccepted(r *prometheus.Registry) func(accept.Accepted) {
	accepted := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tocsin_events_accepted_total",
		Help: "Events that were accepted: observations that are new or changed, gates, exceptions, failed tasks.",
	}, []string{"kind"})
	if err := r.Register(accepted); err != nil {
		already, ok := err.(prometheus.AlreadyRegisteredError) //nolint:errorlint // Register returns it as it is
		if !ok {
			panic(err) // two metrics with one name
		}
		accepted = already.ExistingCollector.(*prometheus.CounterVec)
	}
	for _, kind := range Kinds {
		accepted.WithLabelValues(string(kind))
	}
	return func(done accept.Accepted) {
		if done.Evaluations > 0 {
			accepted.WithLabelValues(string(done.Type)).Add(float64(done.Evaluations))
		}
	}
}
