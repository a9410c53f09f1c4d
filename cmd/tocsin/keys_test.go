package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv"
)

const newSecretKey = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY="

// TestKeyRotation replaces the secret key under load as the manual says: new and old key at once, role by role, then the new
// one alone. Nothing is lost, and webhooks that were set at any point in between are told.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	url := testenv.PostgresURL(t, testenv.MigrateSchema)
	d := newRoles(t, url, testenv.Redis(t).URL())
	d.watch(0)
	oldAlone := d.env
	both := append(slices.Clip(oldAlone), "TOCSIN_SECRET_KEY="+newSecretKey, "TOCSIN_SECRET_KEY_OLD="+secretKey)
	newAlone := append(slices.Clip(oldAlone), "TOCSIN_SECRET_KEY="+newSecretKey)
	check := func(env []string, code int, says string) {
		t.Helper()
		got, output := wait(start(t, env, "check"))
		if got != code || !strings.Contains(output, says) {
			t.Errorf("check: exit %d, want %d with %q:\n%s", got, code, says, output)
		}
	}
	// set gives a target a new webhook through whatever web runs now; what is told from then on goes there.
	set := func(target int) {
		t.Helper()
		d.call(http.MethodPut, fmt.Sprintf("/api/v1/products/%d", target), object{"notification_slack_webhook": fmt.Sprintf("%s/slack/new-%d", d.network.URL, target)}, nil)
	}
	// begin replaces a role by one with the environment of now; but for web, which has the port, both run for a while.
	begin := func(role string) {
		p := map[string]**process{"worker": &d.worker, "scheduler": &d.scheduler, "web": &d.web}[role]
		before := *p
		if role == "web" {
			before.terminate()
		}
		*p = start(t, d.env, role)
		d.ready()
		if role != "web" {
			before.terminate()
		}
	}
	d.feed(func(accepted int) {
		switch accepted {
		case 500:
			check(oldAlone, 0, "opens what the database holds")
			check(newAlone, 1, "docs/operations.md")
			check(both, 0, "TOCSIN_SECRET_KEY_OLD opens what the database holds")
			check(oldAlone, 0, "opens what the database holds") // nothing was changed by looking
			if code, output := wait(start(t, newAlone, "worker")); code != 1 || !strings.Contains(output, "TOCSIN_SECRET_KEY_OLD, to the key that was used before") || strings.Contains(output, "goroutine") {
				t.Errorf("a worker with another key: exit %d:\n%s", code, output)
			}
			d.env = both
			begin("worker")
			check(both, 0, "TOCSIN_SECRET_KEY_OLD is not needed any more")
		case 1000:
			set(1) // through a web that has the old key alone
		case 1500:
			begin("scheduler")
		case 2000:
			begin("web")
			set(2)
		case 2500:
			d.env = newAlone
			begin("worker")
			begin("web")
		case 3000:
			begin("scheduler")
			set(3)
		}
	})
	if s := d.idle(60 * time.Second); s.FailedDeliveries+s.FailedEvents > 0 {
		t.Errorf("failed: %+v", s)
	}
	if copies := d.complete(open(t, url)); copies > 0 {
		t.Errorf("%d messages came twice", copies)
	}
	at := map[string]int{}
	for _, m := range d.network.all() {
		at[strings.TrimPrefix(m.Target, d.network.URL)]++
	}
	for target := 1; target <= targets; target++ {
		sets := target <= 3
		if before, after := at[fmt.Sprintf("/slack/%d", target)], at[fmt.Sprintf("/slack/new-%d", target)]; before == 0 || sets != (after > 0) || before+after != matching/targets {
			t.Errorf("target %d: %d messages, and %d at the new webhook", target, before, after)
		}
	}
	check(newAlone, 0, "opens what the database holds")
	check(oldAlone, 1, "sealed with another key")
}
