package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestMetrics(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, http.MethodGet, "/api/v1/status", nil)
		answer := e.want(200, http.MethodGet, "/metrics", nil)
		for _, line := range []string{
			"tocsin_outbox_events 0", `tocsin_deliveries{state="pending"} 0`, "tocsin_failed_events 0", "go_goroutines ",
			`tocsin_http_request_duration_seconds_count{route="GET /api/v1/status",status="200"} 1`,
		} {
			if !strings.Contains(answer.text, "\n"+line) {
				t.Errorf("no line %q in\n%s", line, answer.text)
			}
		}
	})
}

// TestMetricsAreAskedOnce: who scrapes all the time has the database asked no more than others.
func TestMetricsAreAskedOnce(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		const none, one = "\ntocsin_outbox_events 0\n", "\ntocsin_outbox_events 1\n"
		began := time.Now()
		if answer := e.want(200, http.MethodGet, "/metrics", nil); !strings.Contains(answer.text, none) {
			t.Fatalf("got\n%s", answer.text)
		}
		e.want(202, http.MethodPost, "/api/v1/exceptions", `{"class":"KeyError"}`)
		for range 20 {
			answer := e.want(200, http.MethodGet, "/metrics", nil)
			if !strings.Contains(answer.text, none) && time.Since(began) < time.Second {
				t.Fatalf("asked again at once:\n%s", answer.text)
			}
		}
		testenv.Eventually(t, 20*time.Second, func() error {
			if answer := e.want(200, http.MethodGet, "/metrics", nil); !strings.Contains(answer.text, one) {
				return fmt.Errorf("got\n%s", answer.text)
			}
			return nil
		}, "the new event does not show")
	})
}
