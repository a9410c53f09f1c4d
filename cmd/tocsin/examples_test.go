package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/client"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/program"
)

// api is the Go client of a deployment.
func (d *deployment) api() *client.Client {
	return &client.Client{Base: d.url, Token: d.token, HTTP: d.client}
}

// buildExample builds a program of examples/webtier, which is a module of its own.
func buildExample(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "example")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg)
	cmd.Dir = "../../examples/webtier"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestExampleWebTier: what the web tier does in one transaction with its own row, in a background task and in a request
// that panics becomes notifications, and what it does not commit does not.
func TestExampleWebTier(t *testing.T) {
	t.Parallel()
	binary := buildExample(t, ".")
	url, redis := testenv.PostgresURL(t, testenv.MigrateSchema), testenv.Redis(t).URL()
	d := newRoles(t, url, redis)
	ctx, api := t.Context(), d.api()
	if _, err := api.PutProduct(ctx, 1, client.ProductFields{Name: new("Payments"), NotificationSlackWebhook: new(d.network.URL + "/slack")}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.PatchSettings(ctx, client.SettingsFields{ExceptionSlackWebhook: new(d.network.URL + "/operations")}); err != nil {
		t.Fatal(err)
	}
	port := program.FreePort(t)
	log := new(lockedBuffer)
	p, err := program.Launch(binary, log, []string{"DATABASE_URL=" + url, "REDIS_URL=" + redis, "LISTEN=127.0.0.1:" + port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	call := func(method, path string) (status int, err error) {
		r, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:"+port+path, http.NoBody)
		if err != nil {
			return 0, err
		}
		response, err := d.client.Do(r)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	testenv.Eventually(t, 30*time.Second, func() error { _, err := call("GET", "/"); return err }, "the web tier does not answer")
	for _, want := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/products/1/gate?passed=false", 200},
		{"POST", "/products/9/gate?passed=false", 404},
		{"POST", "/products/1/import", 202},
		{"GET", "/broken", 500},
	} {
		if status, err := call(want.method, want.path); err != nil || status != want.status {
			t.Errorf("%s %s: %d %v\n%s", want.method, want.path, status, err, log)
		}
	}
	seen := map[string]bool{}
	testenv.Eventually(t, 30*time.Second, func() error {
		for _, m := range d.network.take() {
			seen[strings.TrimPrefix(m.Target, d.network.URL)+" "+m.Headline] = true
		}
		if len(seen) < 3 {
			return fmt.Errorf("%v", seen)
		}
		return nil
	}, "messages are missing")
	for _, want := range []string{"/slack Security gate failed: Payments", "/operations Background task import_report failed: ImportError"} {
		found := false
		for got := range seen {
			found = found || strings.HasPrefix(got, want)
		}
		if !found {
			t.Errorf("no %q among %v\n%s", want, seen, log)
		}
	}
	testenv.Eventually(t, 30*time.Second, func() error {
		for n, err := range api.Notifications(ctx, client.ListNotificationsParams{Type: new(client.NotificationTypeException)}) {
			if err != nil || n.Function == "GET /broken" && n.Message == "no such branch" {
				return err
			}
		}
		return fmt.Errorf("no exception of GET /broken")
	}, "the panic is not notified")
}

// TestExampleScanner: the Go and the Python example report the same observations of a report of Trivy.
func TestExampleScanner(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	api := d.api()
	if _, err := api.PutProduct(t.Context(), 1, client.ProductFields{Name: new("Payments")}); err != nil {
		t.Fatal(err)
	}
	report, err := os.ReadFile("../../examples/webtier/trivy/report.json")
	if err != nil {
		t.Fatal(err)
	}
	observations := func() (list []client.Observation) {
		for o, err := range api.Observations(t.Context(), client.ListObservationsParams{}) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, o)
		}
		return list
	}
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "TOCSIN_URL="+d.url, "TOCSIN_TOKEN="+d.token, "PYTHONDONTWRITEBYTECODE=1")
		cmd.Stdin = bytes.NewReader(report)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := run(buildExample(t, "./trivy"), "1"); got != "{Changed:2 Received:2 Unchanged:0}" {
		t.Errorf("Go: %s", got)
	}
	first := observations()
	if len(first) != 2 || first[0].Origin.Image != "payments:1.4" || first[0].Priority != nil {
		t.Errorf("%+v", first)
	}
	var accepted client.Accepted
	if got := run(testenv.Python(t), "../../examples/python/trivy.py", "1"); json.Unmarshal([]byte(got), &accepted) != nil || accepted != (client.Accepted{Received: 2, Unchanged: 2}) {
		t.Errorf("Python: %s", got)
	}
	if diff := cmp.Diff(first, observations()); diff != "" {
		t.Error(diff)
	}
}

// TestExamplePython: the file for Python reports, reads lists to their end, names faults and tries again.
func TestExamplePython(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	script := `
import os, sys
sys.path.insert(0, "../../examples/python")
sys.dont_write_bytecode = True
from tocsin import Refused, Tocsin

tocsin = Tocsin(os.environ["TOCSIN_URL"] + "/", os.environ["TOCSIN_TOKEN"])
for n in range(1, 4):
    assert tocsin.put_product(n, name=f"Product {n}", observation_notification_min_priority=7)["name"] == f"Product {n}"
assert tocsin.put_product(1, observation_notification_min_priority=None)["observation_notification_min_priority"] is None

def observations():
    for n in range(1, 2501):
        yield {"id": n, "product_id": 1, "title": f"CVE-{n}", "severity": "High", "status": "Open", "priority": None, "parser_type": "SCA"}

assert tocsin.report(observations()) == {"received": 2500, "changed": 2500, "unchanged": 0}
assert tocsin.report(list(observations()), baseline=True)["unchanged"] == 2500
assert [o["id"] for o in tocsin.list("/observations", severity=["High", "Low"], limit=250)] == list(range(1, 2501))
assert tocsin.security_gate(1, False) == {"changed": True}
try:
    raise ValueError("no such branch")
except ValueError as error:
    tocsin.exception(error, function="GET /broken")
    tocsin.task_exception("import", error, arguments={"file": "report.json"}, product_id=1)
try:
    tocsin.report([{"id": 1}])
    assert False
except Refused as refused:
    assert refused.status == 422 and refused.problem["line"] == 1 and "title" in str(refused), refused

class Moody(Tocsin):
    refusals = 2
    def _once(self, *request):
        if self.refusals:
            self.refusals -= 1
            raise Refused("test", 503, {"retry_after": "0"})
        return super()._once(*request)

assert Moody(os.environ["TOCSIN_URL"], os.environ["TOCSIN_TOKEN"]).report(observations)["unchanged"] == 2500
print("done")
`
	cmd := exec.CommandContext(t.Context(), testenv.Python(t), "-c", script)
	cmd.Env = append(os.Environ(), "TOCSIN_URL="+d.url, "TOCSIN_TOKEN="+d.token)
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "done\n" {
		t.Fatalf("%v\n%s", err, out)
	}
}
