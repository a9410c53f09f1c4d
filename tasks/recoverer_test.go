package tasks_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/seed91453169/tocsin/tasks"
)

// TestRecovererAbortsAfterAnUpgrade: an answer 101 is final, so no 500 can follow it.
func TestRecovererAbortsAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	reports := 0
	report := func(context.Context, *tasks.Task) error { reports++; return nil }
	handler := tasks.Recoverer(report)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusSwitchingProtocols)
		panic("broken")
	}))
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || reports != 1 { //nolint:errorlint,err113 // net/http compares it so, too
			t.Errorf("panic %v, reported %d times", p, reports)
		}
	}()
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
}
