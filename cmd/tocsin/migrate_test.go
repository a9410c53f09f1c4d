package main

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// down runs "migrate down" and checks its exit code and what it prints.
func down(t *testing.T, d *deployment, yes bool, code int, words ...string) {
	t.Helper()
	args := []string{"migrate", "down"}
	if yes {
		args = append(args, "--yes")
	}
	got, output := wait(start(t, d.env, args...))
	if got != code {
		t.Errorf("%v: exit %d", args, got)
	}
	for _, w := range words {
		if !strings.Contains(strings.Join(strings.Fields(output), " "), w) {
			t.Errorf("%v does not say %q:\n%s", args, w, output)
		}
	}
}

func TestMigrateDown(t *testing.T) {
	t.Parallel()
	d := newRoles(t, testenv.PostgresURL(t, testenv.MigrateSchema), testenv.Redis(t).URL())
	d.call(http.MethodPut, "/api/v1/products/1", map[string]any{"name": "P"}, nil)
	down(t, d, false, 1, "table products 1 rows", "nothing is changed", "--yes")
	down(t, d, true, 1, "table products 1 rows", "web on ", "worker on ", "scheduler on ", "stop them first")
	for _, p := range []*process{d.web, d.worker, d.scheduler} {
		if code, _ := p.terminate(); code != 0 {
			t.Errorf("exit %d", code)
		}
	}
	down(t, d, false, 1, "table products 1 rows", "nothing is changed")
	if code, output := wait(start(t, d.env, "check")); code != 0 || !strings.Contains(output, "warn  Processes") {
		t.Errorf("check: exit %d\n%s", code, output)
	}
	down(t, d, true, 0, "table products 1 rows", "taken back")
	down(t, d, true, 0, "Nothing to do")
}

func TestMigrateDownBesideServe(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	down(t, d, true, 1, "serve on ", "stop them first")
	d.ready()
	if code, _ := d.web.terminate(); code != 0 {
		t.Errorf("exit %d", code)
	}
	down(t, d, true, 0, "taken back")
}

// TestCheckNamesMissingRoles ends the worker and the scheduler.
func TestCheckNamesMissingRoles(t *testing.T) {
	t.Parallel()
	database := testenv.PostgresURL(t, testenv.MigrateSchema)
	d := newRoles(t, database, testenv.Redis(t).URL(), "TOCSIN_DATA_DIR="+filepath.Join(t.TempDir(), "data"))
	if code, output := wait(start(t, d.env, "check")); code != 0 || !strings.Contains(output, "ok    Processes: 1 scheduler, 1 web, 1 worker") {
		t.Errorf("all roles run: exit %d\n%s", code, output)
	}
	if _, line := d.checked("Processes"); !regexp.MustCompile(`; scheduler since 2.* UTC, web since 2.* UTC, worker since 2.* UTC$`).MatchString(line) {
		t.Error(line)
	}
	for _, p := range []*process{d.worker, d.scheduler} {
		p.terminate()
	}
	code, output := wait(start(t, d.env, "check"))
	if code != 1 || !strings.Contains(output, "FAIL  Processes: no worker and no scheduler runs") {
		t.Errorf("without worker and scheduler: exit %d\n%s", code, output)
	}
	if !strings.Contains(output, "ok    Events") {
		t.Errorf("no event waits:\n%s", output)
	}
	d.call(http.MethodPut, "/api/v1/products/1", object{"name": "Shop"}, nil)
	d.call(http.MethodPut, "/api/v1/products/1/security-gate", object{"passed": false}, nil)
	if _, err := open(t, database).ExecContext(t.Context(),
		"UPDATE outbox SET created_at = created_at - interval '2 minutes'"); err != nil {
		t.Fatal(err)
	}
	if _, line := d.checked("Events"); !strings.HasPrefix(line, "FAIL") || !strings.Contains(line, "the oldest for ") {
		t.Error(line)
	}
	if _, line := d.checked("Deliveries"); !strings.HasPrefix(line, "ok") {
		t.Error(line)
	}
}

// TestProcessesMigrateOneFileAtOnce: several processes make and migrate one SQLite file, and none of them fails.
func TestProcessesMigrateOneFileAtOnce(t *testing.T) {
	t.Parallel()
	for range 5 {
		env := []string{"DATABASE_URL=sqlite://" + filepath.Join(t.TempDir(), "tocsin.db")}
		var all []*process
		for range 4 {
			all = append(all, start(t, env, "migrate", "up"))
		}
		for _, p := range all {
			if code, output := wait(p); code != 0 {
				t.Errorf("exit %d\n%s", code, output)
			}
		}
	}
}
