package web_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// webhooks is the far network of a test: it counts what came to each path and answers by status.
type webhooks struct {
	*httptest.Server
	status atomic.Int32
	mu     sync.Mutex
	got    map[string]int
}

func newWebhooks(t *testing.T) *webhooks {
	t.Helper()
	h := &webhooks{got: map[string]int{}}
	h.status.Store(http.StatusOK)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.got[r.URL.Path]++
		h.mu.Unlock()
		w.WriteHeader(int(h.status.Load()))
		_, _ = w.Write([]byte("ok"))
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *webhooks) count(path string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got[path]
}
