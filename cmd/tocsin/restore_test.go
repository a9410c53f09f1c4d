package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestRestorePostgres restores what pg_dump wrote while events came in, next to an empty Redis, as docs/backup.md says.
func TestRestorePostgres(t *testing.T) {
	t.Parallel()
	before, after := testenv.PostgresURL(t, testenv.MigrateSchema), testenv.PostgresURL(t, nil)
	d := newRoles(t, before, testenv.Redis(t).URL())
	dump := filepath.Join(t.TempDir(), "tocsin.dump")
	d.restores(after,
		func() error { return postgresProgram("pg_dump", "--format=custom", "--file="+dump, before) },
		func() error {
			for _, p := range []*process{d.web, d.worker, d.scheduler} {
				p.Kill()
			}
			if err := postgresProgram("pg_restore", "--no-owner", "--exit-on-error", "--dbname="+after, dump); err != nil {
				return err
			}
			d.env = append(d.env, "DATABASE_URL="+after, "REDIS_URL="+testenv.Redis(t).URL())
			if code, output := wait(start(t, d.env, "check")); code != 0 {
				return fmt.Errorf("check: exit %d:\n%s", code, output)
			}
			d.web, d.worker, d.scheduler = start(t, d.env, "web"), start(t, d.env, "worker"), start(t, d.env, "scheduler")
			return nil
		})
}

// TestRestoreSQLite is the same for "serve", whose Redis is always empty when it starts.
func TestRestoreSQLite(t *testing.T) {
	t.Parallel()
	before, after := t.TempDir(), t.TempDir()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+before)
	d.web = start(t, d.env, "serve")
	d.ready()
	d.restores("sqlite://"+filepath.Join(after, "tocsin.db"),
		func() error {
			db, err := sql.Open("sqlite", filepath.Join(before, "tocsin.db"))
			if err != nil {
				return err
			}
			_, err = db.ExecContext(context.Background(), "VACUUM INTO ?", filepath.Join(after, "tocsin.db"))
			return errors.Join(err, db.Close())
		},
		func() error {
			d.web.Kill()
			d.env = append(d.env, "TOCSIN_DATA_DIR="+after)
			d.web = start(t, d.env, "serve")
			return nil
		})
}

// postgresProgram runs a program that comes with PostgreSQL.
func postgresProgram(name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil { // Debian keeps some out of PATH
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if len(found) == 0 {
			return err
		}
		path = found[len(found)-1]
	}
	output, err := exec.CommandContext(context.Background(), path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, output)
	}
	return nil
}

// restores backs up while events flow and a receiver fails, and goes on with what is restored at the database URL: all that
// it holds is delivered, and sessions and tokens still work. Events reported again afterwards complete it.
func (d *deployment) restores(after string, backup, restore func() error) {
	t := d.t
	d.watch(0)
	d.call(http.MethodPatch, "/api/v1/settings", object{"exception_slack_webhook": d.network.URL + "/slack/exceptions"}, nil)
	_, output := wait(start(t, d.env, "user", "add", "alex", "--admin"))
	password := regexp.MustCompile(`\S+\s*$`).FindString(output)
	_, output = wait(start(t, d.env, "token", "create", "--user", "alex"))
	token := regexp.MustCompile(`tocsin_\S+`).FindString(output)
	cookie := d.logIn("alex", strings.TrimSpace(password))
	exceptions := func() (n int) {
		for _, m := range d.network.all() {
			if strings.HasSuffix(m.Target, "/slack/exceptions") {
				n++
			}
		}
		return n
	}
	report := func() {
		d.call(http.MethodPost, "/api/v1/exceptions", object{"class": "KeyError", "message": "no such key"}, nil)
	}
	report()
	report()
	d.idle(20 * time.Second)
	if n := exceptions(); n != 1 {
		t.Errorf("an exception is notified %d times before", n)
	}

	var restored atomic.Bool
	d.network.answer = func(path string, _ int) int {
		if path == "/slack/8" && !restored.Load() {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	}
	done := make(chan error, 1)
	const backedUp = matching * 3 / 8
	d.feed(func(accepted int) {
		if accepted == backedUp {
			go func() { done <- backup() }()
		}
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	restored.Store(true)
	d.ready()

	if s := d.idle(2 * time.Minute); s.FailedDeliveries+s.FailedEvents > 0 {
		t.Errorf("failed: %+v", s)
	}
	delivered := map[string]bool{}
	for _, m := range d.network.all() {
		delivered[m.Headline] = true
	}
	db := open(t, after)
	rows, err := db.QueryContext(t.Context(), "SELECT o.title, count(n.id), count(d.sent_at) FROM observations o LEFT JOIN notifications n ON n.observation_id = o.id LEFT JOIN deliveries d ON d.notification_id = n.id GROUP BY o.id, o.title")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	kept := 0
	for rows.Next() {
		var title string
		var notifications, sent int
		if err := rows.Scan(&title, &notifications, &sent); err != nil {
			t.Fatal(err)
		}
		kept++
		if notifications != 1 || sent != 1 {
			t.Errorf("%s: %d notifications, %d sent", title, notifications, sent)
		}
	}
	if err := rows.Err(); err != nil || kept < backedUp {
		t.Errorf("%d observations were restored, %d were accepted before: %v", kept, backedUp, err)
	}
	for credential, name := range map[string]string{"Bearer " + token: "Authorization", cookie: "Cookie"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/api/v1/settings", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(name, credential)
		res, err := d.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s is answered %d", name, res.StatusCode)
		}
	}

	report() // its claim was in Redis
	d.feed(nil)
	d.idle(2 * time.Minute)
	t.Logf("%d of %d observations were in the backup; %d messages came twice", kept, matching, d.complete(db))
	if n := exceptions(); n != 2 {
		t.Errorf("an exception is notified %d times, and should be once more than before", n)
	}
}

// logIn returns the cookie of a session.
func (d *deployment) logIn(name, password string) string {
	d.t.Helper()
	form := url.Values{"username": {name}, "password": {password}}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, d.url+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := d.client.Transport.RoundTrip(r)
	if err != nil {
		d.t.Fatal(err)
	}
	_ = res.Body.Close()
	for _, cookie := range res.Cookies() {
		if strings.HasSuffix(cookie.Name, "tocsin_session") {
			return cookie.Name + "=" + cookie.Value
		}
	}
	d.t.Fatalf("logging in is answered %d", res.StatusCode)
	return ""
}
