package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// matching is the number of events that each must be delivered once, to one of the targets; see feed.
const (
	matching = 1600
	targets  = 8
	perCall  = 20
)

// watch sets up products with a webhook each; threshold 0 makes every delivery a message of its own.
func (d *deployment) watch(threshold int) {
	d.t.Helper()
	d.call(http.MethodPatch, "/api/v1/settings", object{"digest_threshold": threshold}, nil)
	for i := 1; i <= targets; i++ {
		d.call(http.MethodPut, fmt.Sprintf("/api/v1/products/%d", i), object{
			"name": fmt.Sprint("Product ", i), "observation_notification_min_severity": "Low",
			"notification_slack_webhook": fmt.Sprintf("%s/slack/%d", d.network.URL, i),
		}, nil)
	}
}

// feed reports the matching observations, some at a time, and repeats a call that was not accepted. between is called
// after each accepted call.
func (d *deployment) feed(between func(accepted int)) {
	d.t.Helper()
	for first := 1; first <= matching; first += perCall {
		list := make([]object, perCall)
		for i := range list {
			id := first + i
			list[i] = object{
				"id": id, "product_id": id%targets + 1, "title": fmt.Sprint("CVE-", id), "severity": "High", "status": "Open",
				"priority": nil, "parser_type": "SCA",
			}
		}
		testenv.Eventually(d.t, time.Minute, func() error {
			status, answer, err := d.try(http.MethodPost, "/api/v1/observations", object{"observations": list})
			if err == nil && status != http.StatusAccepted {
				err = fmt.Errorf("%d %s", status, answer)
			}
			return err
		}, "observations are not accepted")
		if between != nil {
			between(first + perCall - 1)
		}
	}
}

// complete checks that each event was notified and delivered once, and returns how many messages came twice.
func (d *deployment) complete(db *dbmodel.DB) (copies int) {
	d.t.Helper()
	ctx := context.Background()
	var notifications, observations, sent int
	err := db.QueryRowContext(ctx, "SELECT count(*), count(DISTINCT observation_id) FROM notifications WHERE type = 'observation'").Scan(&notifications, &observations)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE d.state = 'sent' AND n.type = 'observation'").Scan(&sent); err != nil {
		d.t.Fatal(err)
	}
	if notifications != matching || observations != matching || sent != matching {
		d.t.Errorf("%d notifications of %d observations, %d sent; want %d of each", notifications, observations, sent, matching)
	}
	seen := map[receivedMessage]bool{}
	for _, m := range d.network.all() {
		if seen[m] {
			copies++
		}
		seen[m] = true
	}
	return copies
}

func open(t testing.TB, url string) *dbmodel.DB {
	t.Helper()
	db, err := database.Open(url, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestRedisAndPostgresFail(t *testing.T) {
	t.Parallel()
	pg, rd := testenv.Postgres(t), testenv.Redis(t)
	d := newRoles(t, pg.URL(), rd.URL())
	d.watch(10)
	d.feed(func(accepted int) {
		switch accepted {
		case matching / 4:
			client := testenv.RedisClient(t, rd.URL())
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		case matching * 3 / 8:
			rd.Kill()
		case matching * 5 / 8: // a quarter was accepted without Redis
			rd.Start()
		case matching * 3 / 4:
			pg.Restart(testenv.Fast)
		case matching * 7 / 8:
			pg.Restart(testenv.Immediate)
		}
	})
	began := time.Now()
	s := d.idle(30 * time.Second)
	t.Logf("idle %s after the last event; %d messages", time.Since(began).Round(time.Millisecond), len(d.network.all()))
	if s.FailedDeliveries+s.FailedEvents > 0 {
		t.Errorf("failed: %+v", s)
	}
	d.complete(open(t, pg.URL()))
}

func TestWorkerIsKilledEightTimes(t *testing.T) {
	t.Parallel()
	url := testenv.PostgresURL(t, testenv.MigrateSchema)
	d := newRoles(t, url, testenv.Redis(t).URL())
	d.watch(0)
	d.network.answer = func(string, int) int {
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // a receiver takes its time, so that the worker is busy when it is killed
		return 200
	}
	kills := 0
	d.feed(func(accepted int) {
		if accepted%(matching/8) == 0 {
			d.worker.Kill()
			kills++
			d.worker = start(t, d.env, "worker")
		}
	})
	began := time.Now()
	s := d.idle(90 * time.Second)
	copies := d.complete(open(t, url))
	t.Logf("killed %d times; idle %s after the last kill; %d copies", kills, time.Since(began).Round(time.Millisecond), copies)
	if s.FailedDeliveries+s.FailedEvents > 0 {
		t.Errorf("failed: %+v", s)
	}
	if copies > kills*targets {
		t.Errorf("%d copies, more than were in flight", copies)
	}
}

func TestTerminateUnderLoad(t *testing.T) {
	t.Parallel()
	url := testenv.PostgresURL(t, testenv.MigrateSchema)
	d := newRoles(t, url, testenv.Redis(t).URL())
	d.watch(0)
	d.network.answer = func(string, int) int {
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // a receiver takes its time, so that the worker is busy when it must end
		return 200
	}
	d.feed(func(accepted int) {
		switch accepted {
		case matching / 4, matching * 3 / 4:
			if code, took := d.worker.terminate(); code != 0 || took > 20*time.Second {
				t.Errorf("the worker ends with %d after %s", code, took)
			}
			d.worker = start(t, d.env, "worker")
		case matching / 2:
			for _, p := range []**process{&d.web, &d.scheduler} {
				role := (*p).Args[0]
				if code, took := (*p).terminate(); code != 0 || took > 20*time.Second {
					t.Errorf("%s ends with %d after %s", role, code, took)
				}
				*p = start(t, d.env, role)
			}
		}
	})
	d.idle(60 * time.Second)
	if copies := d.complete(open(t, url)); copies > 0 {
		t.Errorf("%d messages came twice", copies)
	}
}

func TestTerminateWhileRedisStandsStill(t *testing.T) {
	t.Parallel()
	rd := testenv.Redis(t)
	d := newRoles(t, testenv.PostgresURL(t, testenv.MigrateSchema), rd.URL(), "TOCSIN_SHUTDOWN_TIMEOUT=2s")
	d.watch(0)
	d.feed(nil)
	rd.Pause()
	defer rd.Resume()
	var all sync.WaitGroup
	for _, p := range []*process{d.web, d.worker, d.scheduler} {
		all.Go(func() {
			if code, took := p.terminate(); code != 0 || took > 6*time.Second {
				t.Errorf("%s ends with %d after %s", p.Args[0], code, took)
			}
		})
	}
	all.Wait()
}

func TestTerminateServe(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	d.watch(0)
	d.feed(nil)
	if code, took := d.web.terminate(); code != 0 || took > 20*time.Second {
		t.Errorf("serve ends with %d after %s", code, took)
	}
	d.web = start(t, d.env, "serve")
	d.ready()
	d.idle(60 * time.Second)
	seen := map[receivedMessage]int{}
	for _, m := range d.network.all() {
		seen[m]++
	}
	if len(seen) != matching || len(d.network.all()) != matching {
		t.Errorf("%d messages, %d different, want %d", len(d.network.all()), len(seen), matching)
	}
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"TOCSIN_SLACK_RATE=fast", "TOCSIN_ADMIN_TOKEN=short", "REDIS_URL=http://secret@x"}, "worker")
	code, output := wait(p)
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if code != 2 || len(lines) != 5 {
		t.Errorf("exit %d with %d lines, want 2 with 5:\n%s", code, len(lines), output)
	}
	for _, word := range []string{"DATABASE_URL", "REDIS_URL", "TOCSIN_SECRET_KEY", "TOCSIN_SLACK_RATE", "TOCSIN_ADMIN_TOKEN"} {
		if !strings.Contains(output, word) {
			t.Errorf("%s is not named:\n%s", word, output)
		}
	}
	if strings.Contains(output, "goroutine") || strings.Contains(output, "secret@") {
		t.Errorf("a stack trace or a secret:\n%s", output)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	d.watch(10)
	code, output := wait(start(t, d.env, "check"))
	if code != 0 || strings.Contains(output, "FAIL") || strings.Count(output, "Webhook") != targets {
		t.Errorf("exit %d:\n%s", code, output)
	}
	d.network.Close()
	code, output = wait(start(t, d.env, "check"))
	if code != 1 || strings.Count(output, "FAIL") != targets {
		t.Errorf("with a dead network: exit %d:\n%s", code, output)
	}
}

func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	rd := testenv.Redis(t)
	rd.Kill()
	url := testenv.PostgresURL(t, testenv.MigrateSchema)
	d := newRoles(t, url, rd.URL())
	d.watch(0)
	d.feed(nil)
	rd.Start()
	d.idle(60 * time.Second)
	if copies := d.complete(open(t, url)); copies > 0 {
		t.Errorf("%d messages came twice", copies)
	}
}
