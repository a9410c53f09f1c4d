package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
)

// A page whose handler panics, or whose database hangs, says so as a page, and in the log.
func TestPageFails(t *testing.T) {
	t.Parallel()
	for says, handler := range map[string]pageHandler{
		"Something went wrong here": func(http.ResponseWriter, *http.Request) error { panic("verysecret") },
		"The database does not answer": func(_ http.ResponseWriter, r *http.Request) error {
			deadline, ok := r.Context().Deadline()
			if !ok || time.Until(deadline) > pageTime {
				t.Error("a page may take any time")
			}
			ctx, cancel := context.WithDeadline(r.Context(), time.Now())
			defer cancel()
			return fmt.Errorf("look: %w", dbmodel.Translate(ctx.Err()))
		},
	} {
		log := new(strings.Builder)
		s := &server{log: zerolog.New(log), templates: newTemplates(""), crossOrigin: newCrossOrigin(""), metrics: newMetrics(nil, nil)}
		s.sessions = newSessions(s)
		answer := httptest.NewRecorder()
		s.begin(s.browser(handler)).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		text := answer.Body.String()
		if answer.Code < 500 || !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/html") || !strings.Contains(text, "<h1>"+says) || strings.Contains(text, "verysecret") {
			t.Errorf("answered %d %s: %s", answer.Code, answer.Header(), text)
		}
		if !strings.Contains(log.String(), `"level":"error"`) {
			t.Errorf("%s: the log says %s", says, log)
		}
	}
}
