package main

import (
	"bufio"
	"context"
	"net/http"
	"testing"
	"time"
)

// A process with an open stream ends at once, and the monitor works over the in-process Redis.
func TestServeEndsItsStreams(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	if status, page, err := d.try(http.MethodGet, "/monitor/api/queues", nil); err != nil || status != 200 {
		t.Errorf("the monitor answers %d %s (%v)", status, page, err)
	}
	for _, path := range []string{"/monitor/", "/monitor/api/servers", "/monitor/api/redis_info", "/monitor/api/queue_stats"} {
		if status, page, err := d.try(http.MethodGet, path, nil); err != nil || status != 200 {
			t.Errorf("%s: %d %.200s (%v)", path, status, page, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/api/v1/notifications/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	res, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() && lines.Text() != `data: {"count":0}` {
		continue
	}
	if code, took := d.web.terminate(); code != 0 || took > 5*time.Second {
		t.Errorf("exit %d after %s", code, took)
	}
}
