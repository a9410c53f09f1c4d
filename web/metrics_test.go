package web_test

import (
	"net/http"
	"strings"
	"testing"
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
