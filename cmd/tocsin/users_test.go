package main

import (
	"bytes"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/web/login"
)

// console runs commands in an environment.
type console struct {
	t   *testing.T
	env []string
}

// run runs a command with a standard input and returns what it printed; the test fails where it exits with another code.
func (c *console) run(code int, in string, args ...string) (stdout, stderr string) {
	c.t.Helper()
	var out, errs bytes.Buffer
	t := &terminal{in: strings.NewReader(in), out: &out, err: &errs, environ: c.env}
	if got := run(c.t.Context(), args, t); got != code {
		c.t.Fatalf("tocsin %v: exit %d instead of %d\n%s%s", args, got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

// TestUserCommands beside a serve on SQLite, and on PostgreSQL.
func TestUserCommands(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		d := newDeployment(t, "TOCSIN_DATA_DIR="+dir)
		d.web = start(t, d.env, "serve")
		d.ready()
		testUsers(t, d.env, testenv.OpenDB(t, "sqlite://"+filepath.Join(dir, "tocsin.db")))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		url := testenv.PostgresURL(t, testenv.MigrateSchema)
		testUsers(t, []string{"DATABASE_URL=" + url}, testenv.OpenDB(t, url))
	})
}

func testUsers(t *testing.T, env []string, db *dbmodel.DB) {
	t.Helper()
	c := &console{t, env}
	fits := func(name, password string) {
		t.Helper()
		u, err := dbmodel.UserByName(t.Context(), db, name)
		if err != nil || !login.CheckPassword(u.PasswordHash, password) {
			t.Errorf("%q is not the password of %s: %v", password, name, err)
		}
	}
	if out, _ := c.run(0, "correct horse\nbattery\n", "user", "add", "alex", "--full-name", "Alex Doe", "--email", "alex@example.com"); out != "" {
		t.Errorf("a given password makes it print %q", out)
	}
	fits("alex", "correct horse")
	out, _ := c.run(0, "", "user", "add", "boss", "--admin")
	if strings.Count(out, "\n") != 1 || len(out) < 20 {
		t.Errorf("the generated password is printed as %q", out)
	}
	fits("boss", strings.TrimSpace(out))
	c.run(0, "another horse", "user", "passwd", "alex")
	fits("alex", "another horse")
	out, _ = c.run(0, "\n", "user", "passwd", "alex")
	fits("alex", strings.TrimSpace(out))
	out, _ = c.run(0, "", "user", "list")
	for _, want := range []string{"alex@example.com", "Alex Doe", "boss", dbmodel.Automation} {
		if !strings.Contains(out, want) {
			t.Errorf("the list lacks %s:\n%s", want, out)
		}
	}
	for _, bad := range []struct {
		code int
		in   string
		args string
	}{
		{1, "", "user add alex"},
		{1, "short\n", "user add new"},
		{1, "short\n", "user passwd alex"},
		{1, "", "user passwd nobody"},
		{1, "", "user passwd automation"},
		{2, "", "user add automation"},
		{2, "", "user add a/b"},
		{2, "", "user add al\u200bex"},
		{2, "", "user add new --email x"},
		{2, "", "user add"},
		{1, "", "token create --user nobody"},
		{1, "", "token create --user alex --expires 2020-01-31"},
		{1, "", "token create --user alex --expires=-1h"},
		{2, "", "token create --user alex --expires soon"},
		{2, "", "token create --user alex --scope admin"},
		{2, "", "token create"},
		{1, "", "token revoke 77"},
		{2, "", "token revoke x"},
	} {
		if out, errs := c.run(bad.code, bad.in, strings.Fields(bad.args)...); strings.Contains(out, "tocsin_") || errs == "" {
			t.Errorf("%s: %q, %q", bad.args, out, errs)
		}
	}
	if _, errs := c.run(2, "", "user", "add", "al\u0435x"); !strings.Contains(errs, "U+0435 at position 3") {
		t.Errorf("a look-alike: %q", errs)
	}
	if _, err := dbmodel.UserByName(t.Context(), db, "new"); err == nil {
		t.Error("a refused password leaves a user")
	}
}

// TestUserNeedsSchema: what is missing is said with what to do.
func TestUserNeedsSchema(t *testing.T) {
	t.Parallel()
	c := &console{t, []string{"TOCSIN_DATA_DIR=" + t.TempDir()}}
	if _, errs := c.run(1, "", "user", "list"); !strings.Contains(errs, "tocsin migrate up") {
		t.Error(errs)
	}
	c.run(0, "", "migrate", "up")
	c.run(0, "", "user", "list")
}

// TestTokenCommands: what "token create" prints opens the HTTP side of a running serve, until the token is revoked.
func TestTokenCommands(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	c := &console{t, d.env}
	ask := func(token, method, path string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, d.url+"/api/v1"+path, strings.NewReader(`{"name":"p"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := d.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	create := func(args ...string) string {
		t.Helper()
		out, _ := c.run(0, "", append([]string{"token", "create", "--user", "alex"}, args...)...)
		token, found := strings.CutSuffix(out, "\n")
		if !found || !strings.HasPrefix(token, "tocsin_") || strings.ContainsAny(token, " \n") {
			t.Fatalf("printed %q", out)
		}
		return token
	}
	c.run(0, "", "user", "add", "alex")
	user, ingest, short := create(), create("--scope", "ingest", "--expires", "720h"), create("--expires", "300ms")
	for _, want := range []struct {
		token, method, path string
		status              int
	}{
		{user, "GET", "/notifications", 200},
		{user, "PUT", "/products/1", 404},
		{ingest, "GET", "/notifications", 403},
		{ingest, "PUT", "/products/1", 200},
		{user, "GET", "/products/1", 404},
	} {
		if got := ask(want.token, want.method, want.path); got != want.status {
			t.Errorf("%s %s: %d instead of %d", want.method, want.path, got, want.status)
		}
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		if ask(short, "GET", "/notifications") != 401 {
			return errReported
		}
		return nil
	}, "the token does not expire")
	list, _ := c.run(0, "", "token", "list")
	if strings.Contains(list, user) || !strings.Contains(list, "ingest") || !strings.Contains(list, "(expired)") || strings.Count(list, "alex") != 3 {
		t.Errorf("tokens:\n%s", list)
	}
	c.run(0, "", "token", "revoke", "1")
	if got := ask(user, "GET", "/notifications"); got != 401 {
		t.Errorf("revoked: %d", got)
	}
	if got := ask(ingest, "GET", "/products/1"); got != 200 {
		t.Errorf("the other one: %d", got)
	}
}
