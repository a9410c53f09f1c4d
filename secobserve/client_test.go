package secobserve

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A request that asks for patience is sent again after the time that SecObserve names, else after longer and longer
// ones, and no more than a few times.
func TestClientIsPatient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statuses   []int
		retryAfter string
		least      []time.Duration
		kind       Kind // empty: it succeeds
	}{
		"Retry-After":        {[]int{429, 200}, "7", []time.Duration{7 * time.Second}, ""},
		"Retry-After, long":  {[]int{429, 200}, "86400", []time.Duration{time.Minute}, ""},
		"no Retry-After":     {[]int{503, 502, 200}, "", []time.Duration{time.Second, 2 * time.Second}, ""},
		"a time that is odd": {[]int{429, 200}, "soon", []time.Duration{time.Second}, ""},
		"again and again":    {[]int{500, 500, 500, 500}, "", []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}, Unavailable},
		"not temporary":      {[]int{401}, "", nil, Unauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "APIToken secret" {
					t.Errorf("authorization: %q", r.Header.Get("Authorization"))
				}
				status := c.statuses[asked]
				asked++
				if status != http.StatusOK {
					w.Header().Set("Retry-After", c.retryAfter)
					w.WriteHeader(status)
					return
				}
				_, _ = w.Write([]byte(`{"version":"1.52.0","unknown":[{}]}`))
			}))
			defer server.Close()
			client := NewClient(server.URL+"/", "secret", server.Client())
			var waits []time.Duration
			client.pause = func(_ context.Context, d time.Duration) bool { waits = append(waits, d); return true }
			_, err := one[status](t.Context(), client, "status/version/")
			if c.kind == "" && err != nil || c.kind != "" && !IsKind(err, c.kind) {
				t.Errorf("error: %v", err)
			}
			if asked != len(c.statuses) || len(waits) != len(c.least) {
				t.Fatalf("%d requests, waits: %v", asked, waits)
			}
			for i, least := range c.least {
				if waits[i] < least || waits[i] > max(2*least, time.Minute) {
					t.Errorf("wait %d: %s, at least %s", i, waits[i], least)
				}
			}
		})
	}
}
