package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestFailover kills a master of Redis while events come in, and starts it again when another server has taken its place.
func TestFailover(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		newGroup func(testing.TB) *testenv.RedisGroup
		again    bool // Sentinel would take long to make a replica of the old master
	}{"sentinel": {testenv.RedisSentinel, false}, "cluster": {testenv.RedisCluster, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := c.newGroup(t)
			url := testenv.PostgresURL(t, testenv.MigrateSchema)
			d := newRoles(t, url, g.URL())
			d.watch(0)
			d.readiness("ok")
			killed := map[string]*testenv.RedisServer{}
			fail := func(name string) {
				killed[name] = g.Master(queue.PausedKey(name))
				killed[name].Kill()
				d.readiness("degraded")
			}
			recovered := func(name string) {
				t.Helper()
				testenv.Eventually(t, time.Minute, func() error {
					if g.Master(queue.PausedKey(name)) == killed[name] {
						return errors.New("it is still the dead one")
					}
					return nil
				}, "no other master")
				d.readiness("ok")
				killed[name].Start()
			}
			d.feed(func(accepted int) {
				switch {
				case accepted == matching/4:
					fail(queue.Bulk)
				case accepted == matching*3/4: // half of them were accepted meanwhile
					recovered(queue.Bulk)
				case accepted == matching && c.again:
					fail(queue.Drains)
				}
			})
			if c.again {
				recovered(queue.Drains)
			}
			began := time.Now()
			s := d.idle(60 * time.Second)
			t.Logf("idle %s after the last failover; %d messages", time.Since(began).Round(time.Millisecond), len(d.network.all()))
			if s.FailedDeliveries+s.FailedEvents > 0 {
				t.Errorf("failed: %+v", s)
			}
			if copies := d.complete(open(t, url)); copies > 0 {
				t.Errorf("%d messages came twice", copies)
			}
			d.exceptionIsNotifiedOnce()
			for _, path := range []string{"/monitor/", "/monitor/api/queues", "/monitor/api/servers", "/monitor/api/redis_info", "/monitor/api/queue_stats"} {
				if status, page, err := d.try(http.MethodGet, path, nil); err != nil || status != 200 {
					t.Errorf("%s: %d %.200s (%v)", path, status, page, err)
				}
			}
			if code, output := wait(start(t, d.env, "check")); code != 0 {
				t.Errorf("check: exit %d\n%s", code, output)
			}
			evict(t, g.Master(queue.PausedKey(queue.Periodic)))
			if code, output := wait(start(t, d.env, "check")); code != 1 || !strings.Contains(output, "maxmemory-policy is allkeys-lru") {
				t.Errorf("check of a Redis that throws tasks away: exit %d\n%s", code, output)
			}
		})
	}
}

// readiness waits until web says how ready it is.
func (d *deployment) readiness(want string) {
	d.t.Helper()
	testenv.Eventually(d.t, 30*time.Second, func() error {
		_, answer, err := d.try(http.MethodGet, "/readyz", nil)
		if err == nil && !strings.Contains(string(answer), fmt.Sprintf(`"status":%q`, want)) {
			err = fmt.Errorf("%s", answer)
		}
		return err
	}, "not "+want)
}

// exceptionIsNotifiedOnce reports an exception twice.
func (d *deployment) exceptionIsNotifiedOnce() {
	d.t.Helper()
	for range 2 {
		d.call(http.MethodPost, "/api/v1/exceptions", object{"class": "KeyError", "message": "once"}, nil)
		d.idle(30 * time.Second)
	}
	var list struct{ Items []object }
	d.call(http.MethodGet, "/api/v1/notifications?type=exception", nil, &list)
	if len(list.Items) != 1 {
		d.t.Errorf("notified %d times, want 1", len(list.Items))
	}
}

// evict has one server throw away what does not fit into its memory.
func evict(t *testing.T, server *testenv.RedisServer) {
	t.Helper()
	client := testenv.RedisClient(t, server.URL())
	if err := client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
}
