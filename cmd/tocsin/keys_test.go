package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv"
)

const newSecretKey = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY="

// TestLostKey does what docs/keys.md says where the secret key is lost.
func TestLostKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+dir)
	d.network.answer = func(path string, _ int) int {
		if path == "/slack/1" {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	}
	d.web = start(t, d.env, "serve")
	d.ready()
	d.watch(0)
	d.call(http.MethodPut, "/api/v1/products/1/security-gate", object{"passed": false}, nil)
	testenv.Eventually(t, 20*time.Second, func() error {
		var list struct{ Items []struct{ Attempts int } }
		d.call(http.MethodGet, "/api/v1/deliveries", nil, &list)
		if len(list.Items) != 1 || list.Items[0].Attempts == 0 {
			return fmt.Errorf("%+v", list)
		}
		return nil
	}, "the webhook was not tried")
	d.web.Kill()

	d.env = append(d.env, "TOCSIN_SECRET_KEY="+newSecretKey)
	if code, output := wait(start(t, d.env, "serve")); code != 1 || !strings.Contains(output, "docs/keys.md") {
		t.Errorf("with another key: exit %d:\n%s", code, output)
	}
	if _, err := open(t, "sqlite://"+filepath.Join(dir, "tocsin.db")).ExecContext(t.Context(), "DELETE FROM secrets"); err != nil {
		t.Fatal(err)
	}
	d.web = start(t, d.env, "serve")
	d.ready()
	if s := d.idle(time.Minute); s.FailedDeliveries == 0 {
		t.Errorf("nothing failed: %+v", s)
	}
	if _, answer, _ := d.try(http.MethodGet, "/api/v1/deliveries?state=failed", nil); !strings.Contains(string(answer), "the key that sealed it is lost") {
		t.Errorf("failed: %s", answer)
	}
	if code, output := wait(start(t, d.env, "check")); code != 1 || strings.Count(output, "set it anew") != targets || !strings.Contains(output, `(slack) of `) {
		t.Errorf("check: exit %d:\n%s", code, output)
	}
	d.call(http.MethodPut, "/api/v1/products/1", object{"notification_slack_webhook": d.network.URL + "/slack/anew"}, nil)
	d.call(http.MethodPost, "/api/v1/deliveries/resend", object{"state": "failed"}, nil)
	d.idle(20 * time.Second)
	if got := d.network.all(); len(got) != 1 || !strings.HasSuffix(got[0].Target, "/slack/anew") {
		t.Errorf("delivered: %v", got)
	}
}

// TestKeyFileIsMissing: a key that opens nothing is not put in the place of one that is missing.
func TestKeyFileIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+dir)
	d.env = append(d.env, "TOCSIN_SECRET_KEY=")
	d.web = start(t, d.env, "serve")
	d.ready()
	d.web.terminate()
	file, away := filepath.Join(dir, "secret.key"), filepath.Join(t.TempDir(), "secret.key")
	if err := os.Rename(file, away); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "serve"} {
		if code, output := wait(start(t, d.env, command)); code != 1 || !strings.Contains(output, "secret key is missing") || !strings.Contains(output, "docs/keys.md") {
			t.Errorf("%s without the key: exit %d:\n%s", command, code, output)
		}
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a new key was made: %v", err)
	}
	if err := os.Rename(away, file); err != nil {
		t.Fatal(err)
	}
	d.web = start(t, d.env, "serve")
	d.ready()
}

// TestKeyRotation replaces the secret key under load as the manual says: new and old key at once, role by role, then the new
// one alone. Nothing is lost, and webhooks that were set at any point in between receive theirs.
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
		testenv.Eventually(t, 20*time.Second, func() error { // a role that was just started has not looked yet
			got, output := wait(start(t, env, "check"))
			if got != code || !strings.Contains(output, says) {
				return fmt.Errorf("exit %d, want %d with %q:\n%s", got, code, says, output)
			}
			return nil
		}, "check")
	}
	// set gives a target a new webhook through whatever web runs now; later deliveries go there.
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
		case matching / 8:
			check(oldAlone, 0, "opens what the database holds")
			check(newAlone, 1, "docs/keys.md")
			check(both, 0, "TOCSIN_SECRET_KEY_OLD opens what the database holds")
			check(oldAlone, 0, "opens what the database holds") // nothing was changed by looking
			if code, output := wait(start(t, newAlone, "worker")); code != 1 || !strings.Contains(output, "TOCSIN_SECRET_KEY_OLD, to the key that was used before") || strings.Contains(output, "goroutine") {
				t.Errorf("a worker with another key: exit %d:\n%s", code, output)
			}
			d.env = both
			begin("worker")
			check(both, 0, "TOCSIN_SECRET_KEY_OLD is not needed any more")
		case matching / 4:
			set(1) // through a web that has the old key alone
		case matching * 3 / 8:
			begin("scheduler")
		case matching / 2:
			begin("web")
			set(2)
		case matching * 5 / 8:
			d.env = newAlone
			begin("worker")
			begin("web")
		case matching * 3 / 4:
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
