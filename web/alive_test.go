package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// TestAlive: the status and the page of an administrator say what runs, since when, and how long what is due waits.
func TestAlive(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		status := func() map[string]any { return e.want(200, "GET", "/api/v1/status", nil).json }
		alive := func(role string) (int, any) {
			p := status()["processes"].(map[string]any)[role].(map[string]any)
			return int(p["alive"].(float64)), p["since"]
		}
		if n, since := alive("worker"); n != 0 || since != nil {
			t.Errorf("no worker runs: %d since %v", n, since)
		}
		boss := e.visitor("boss")
		boss.open("/deliveries").says("No worker runs", "No scheduler runs", "worker 0", "Nothing that is due waits")
		for _, p := range []dbmodel.Process{{ID: "a", Role: "worker"}, {ID: "b", Role: "worker"}, {ID: "c", Role: "serve"}} {
			if err := dbmodel.RenewProcess(t.Context(), e.db, &p); err != nil {
				t.Fatal(err)
			}
		}
		e.exec("UPDATE processes SET started_at = ? WHERE id = 'b'", time.Now().Add(-3*time.Hour))
		e.exec("UPDATE processes SET started_at = ? WHERE id = 'c'", time.Now().Add(-2*time.Minute))
		n, since := alive("worker")
		if at, err := time.Parse(time.RFC3339, since.(string)); n != 3 || err != nil || time.Since(at) < 3*time.Hour {
			t.Errorf("%d workers since %v", n, since)
		}
		if n, _ := alive("scheduler"); n != 1 {
			t.Errorf("%d schedulers", n)
		}

		e.observe(nil)
		e.notify(about("waits", rule.TypeTask, 1, e.targets(rule.Slack, slackURL)...))
		e.exec("UPDATE outbox SET created_at = ?", time.Now().Add(-2*time.Hour))
		e.exec("UPDATE notifications SET created_at = ?", time.Now().Add(-5*time.Minute))
		if s := status(); s["oldest_event_seconds"].(float64) < 7200 || s["oldest_delivery_seconds"].(float64) < 300 {
			t.Errorf("the oldest event waits for %v s, the oldest delivery for %v s", s["oldest_event_seconds"], s["oldest_delivery_seconds"])
		}
		p := boss.open("/deliveries")
		p.says("worker 3 (started 3 h ago ), scheduler 1 (started 2 min ago )", "The oldest event waits for 2 h. The oldest delivery waits for 5 min.")
		p.saysNot("No worker", "No scheduler")
		if text := e.visitor("owner").open("/deliveries").text(); strings.Contains(text, "worker 3") {
			t.Error("what runs is for administrators")
		}
	})
}
