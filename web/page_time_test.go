package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
)

// A page whose handler panics, or whose database hangs, says so as a page, and in the log.
func TestPageFails(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	for _, c := range []struct {
		says    string
		ctx     context.Context
		handler pageHandler
	}{
		{"Something went wrong here", t.Context(), func(_ http.ResponseWriter, r *http.Request) error {
			if deadline, ok := r.Context().Deadline(); !ok || time.Until(deadline) > pageTime {
				t.Error("a page may take any time")
			}
			panic("verysecret")
		}},
		{"The database does not answer", over, func(_ http.ResponseWriter, r *http.Request) error {
			return fmt.Errorf("look: %w", dbmodel.Translate(r.Context().Err()))
		}},
	} {
		log := new(strings.Builder)
		s := &server{log: zerolog.New(log), templates: newTemplates(""), crossOrigin: newCrossOrigin(""), requests: newRequestMetrics(prometheus.NewRegistry())}
		s.sessions = newSessions(s)
		answer := httptest.NewRecorder()
		s.begin(s.browser(c.handler)).ServeHTTP(answer, httptest.NewRequestWithContext(c.ctx, http.MethodGet, "/", nil))
		text := answer.Body.String()
		if answer.Code < 500 || !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/html") || !strings.Contains(text, "<h1>"+c.says) || strings.Contains(text, "verysecret") {
			t.Errorf("answered %d %s: %s", answer.Code, answer.Header(), text)
		}
		if !strings.Contains(log.String(), `"level":"error"`) {
			t.Errorf("%s: the log says %s", c.says, log)
		}
	}
}

// A call waits for a database only so long, and says so; an import takes as long as it takes.
func TestCallTime(t *testing.T) {
	t.Parallel()
	calls := http.NewServeMux()
	s := &server{log: zerolog.Nop(), requests: newRequestMetrics(prometheus.NewRegistry())}
	s.api = newAPI(calls, Config{})
	handler := s.begin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchangeOf(r.Context()).caller = &caller{viewer: dbmodel.Viewer{Admin: true}}
		calls.ServeHTTP(w, r)
	}))
	for path, c := range map[string]call{"/list": {id: "list"}, "/import": {id: "import", lines: true}} {
		route(s, "GET "+path, administrators, func(ctx context.Context, _ *struct{}) (*struct{}, error) {
			if deadline, limited := ctx.Deadline(); limited == c.lines || limited && time.Until(deadline) > callTime {
				t.Errorf("%s: limited %t, until %s", path, limited, deadline)
			}
			return nil, dbmodel.Translate(context.DeadlineExceeded)
		}, c)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, apiRoot+path, nil))
		if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" {
			t.Errorf("%s is answered %d %s: %s", path, answer.Code, answer.Header(), answer.Body)
		}
	}
}
