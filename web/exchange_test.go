package web

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// TestPanic: a handler that panics answers 500, and what it threw, which may be anything, is not shown.
func TestPanic(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		panics func(w http.ResponseWriter)
		status int
		log    string
	}{
		{"before the answer", func(http.ResponseWriter) { panic("s3cr3t") }, 500, `"panic":"string"`},
		{"of the runtime", func(http.ResponseWriter) { _ = strings.Fields("s3cr3t")[3] }, 500, "index out of range [3] with length 1"},
		{"behind the answer", func(w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot); panic("s3cr3t") }, 418, `"panic":"string"`},
	} {
		var log bytes.Buffer
		s := &server{requests: newRequestMetrics(prometheus.NewRegistry()), log: zerolog.New(&log)}
		w := httptest.NewRecorder()
		s.begin(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.panics(w) })).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/s3cr3t", nil))
		if w.Code != c.status || strings.Contains(w.Body.String()+log.String(), "s3cr3t") {
			t.Errorf("%s: %d %s\n%s", c.name, w.Code, w.Body, log.String())
		}
		if !strings.Contains(log.String(), c.log) || !strings.Contains(log.String(), "exchange_test.go") || strings.Count(log.String(), "\n") != 2 {
			t.Errorf("%s: the log lacks %s, the stack or the request: %s", c.name, c.log, log.String())
		}
		if got := w.Header().Get("Content-Type"); c.status == 500 && got != "application/problem+json" {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}
