package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// metricsOf reads all counters of r, and how many values its histograms have, by name and the values of the labels.
func metricsOf(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "tocsin_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				out[name] = m.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				out[name] = float64(m.GetHistogram().GetSampleCount())
				out[name+" sum"] = m.GetHistogram().GetSampleSum()
			default: // gauges are of no interest here
			}
		}
	}
	return out
}

// TestMetrics counts each observation, exception and delivery as one, from 0 on.
func TestMetrics(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		r, log := prometheus.NewRegistry(), new(lines)
		e := newEnv(t, db, func(w *Worker) {
			w.counted, w.Log = newCounted(r), zerolog.New(log)
		})
		e.acceptor.Count = e.worker.counted.accepted
		before := metricsOf(t, r)
		for _, name := range []string{
			"events_accepted_total task", "events_evaluated_total security_gate nothing", "evaluation_duration_seconds exception",
			"notifications_total dropped observation", "notifications_total  exception", "deliveries_total webhook gone failed",
			"notification_delay_seconds email", "exceptions_held_back_total task",
		} {
			if value, found := before[name]; value != 0 || !found {
				t.Errorf("%s is %v at the start, there: %v", name, value, found)
			}
		}
		e.receiver.answer = func(path string, try int) (int, map[string]string) {
			if path == "/gone" {
				return 404, nil
			}
			if path == "/busy" && try == 1 {
				return 503, nil
			}
			return 200, nil
		}
		e.product(1, "/good")
		e.product(2, "/busy")
		e.product(3, "/gone")
		e.accept(observation(1, 1, rule.High), observation(2, 1, rule.Low), observation(3, 1, rule.Critical), observation(4, 1, rule.Medium))
		e.accept(observation(5, 2, rule.High))
		e.accept(observation(6, 3, rule.High))
		for range 3 {
			e.report(accept.NewException(accept.ExceptionInfo{Class: "KeyError"}))
		}
		failed := true
		e.report(accept.NewSecurityGate(1, &failed))
		e.idle(20 * time.Second)
		want := map[string]float64{
			"events_accepted_total observation": 6, "events_accepted_total exception": 3, "events_accepted_total security_gate": 1,
			"events_accepted_total task": 1, "events_evaluated_total observation notified": 4, "events_evaluated_total observation nothing": 2,
			"events_evaluated_total exception notified": 1, "events_evaluated_total exception held_back": 2,
			"events_evaluated_total security_gate notified": 1, "events_evaluated_total task notified": 1,
			"notifications_total new observation": 4, "notifications_total  exception": 1, "notifications_total passed security_gate": 1,
			"exceptions_held_back_total exception": 2, "deliveries_total slack none sent": 4, "deliveries_total slack server_error retried": 1,
			"deliveries_total slack refused failed": 1, "delivery_duration_seconds slack": 6, "notification_delay_seconds slack": 4,
		}
		testenv.Eventually(t, 5*time.Second, func() error { // what is sent is counted when that is recorded
			got := metricsOf(t, r)
			for name, n := range want {
				if got[name] != n {
					return fmt.Errorf("%s is %v, want %v; all: %v", name, got[name], n, got)
				}
			}
			if sum := got["notification_delay_seconds slack sum"]; sum < 1 || sum > 300 {
				return fmt.Errorf("a delay of %v s in all, with one receiver that was busy", sum)
			}
			return nil
		}, "the metrics")
		for _, line := range []string{
			`"target_name":"Slack webhook of Product 2","channel":"slack","category":"server_error","reason":"the webhook answered 503`,
			`"target_name":"Slack webhook of Product 3","channel":"slack","category":"refused","reason":"the webhook answered 404`,
			`"attempt":1,`, `"message":"a delivery failed for good"`, `"message":"a delivery is tried again"`,
		} {
			if log.with(line) == 0 {
				t.Errorf("no %s in the log:\n%s", line, &log.b)
			}
		}
	})
}
