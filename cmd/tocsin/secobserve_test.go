package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// newSecObserve starts a SecObserve with a product whose observations go to a webhook.
func newSecObserve(t testing.TB, webhook string) (server *fakesecobserve.Server, product int64) {
	t.Helper()
	m := fakesecobserve.NewModel(time.Now())
	admin := m.AddUser(fakesecobserve.User{Username: "root", FullName: "Root", Superuser: true})
	product = m.AddProduct(fakesecobserve.Product{Name: "One", Notification: fakesecobserve.Notification{MinSeverity: "High", Slack: webhook}})
	m.AddObservation(fakesecobserve.Observation{Product: product, Title: "old", Severity: "Critical", Status: "Open", ParserType: "SCA"})
	return fakesecobserve.New(t, m, admin), product
}

// run runs a command and returns its exit code and output.
func (d *deployment) run(env []string, args ...string) (code int, output string) {
	return wait(start(d.t, append(append([]string{}, d.env...), env...), args...))
}

// passes lists the states and messages of the passes, newest first.
func (d *deployment) passes() (list []string) {
	d.t.Helper()
	var runs struct {
		Items []struct{ Task, Status, Message string }
	}
	d.call(http.MethodGet, "/api/v1/periodic-tasks", nil, &runs)
	for _, r := range runs.Items {
		if r.Task == "secobserve:sync" {
			list = append(list, r.Status+": "+r.Message)
		}
	}
	return list
}

// observations waits until a product has so many observations.
func (d *deployment) observations(product int64, want int) {
	d.t.Helper()
	testenv.Eventually(d.t, 30*time.Second, func() error {
		var list struct{ Items []struct{ ID int64 } }
		d.call(http.MethodGet, fmt.Sprintf("/api/v1/observations?product_id=%d", product), nil, &list)
		if len(list.Items) != want {
			return fmt.Errorf("%d observations, want %d; passes: %v", len(list.Items), want, d.passes())
		}
		return nil
	}, "the observations are not there")
}

func TestServeFollowsSecObserve(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+t.TempDir())
	server, product := newSecObserve(t, d.network.URL+"/slack")
	m := server.Model
	d.env = append(d.env, "TOCSIN_SECOBSERVE_URL="+server.URL, "TOCSIN_SECOBSERVE_TOKEN="+fakesecobserve.Token, "TOCSIN_SECOBSERVE_INTERVAL=1s")
	d.web = start(t, d.env, "serve")
	d.ready()
	d.observations(product, 1)
	m.AddObservation(fakesecobserve.Observation{Product: product, Title: "new one", Severity: "High", Status: "Open", ParserType: "SCA"})
	testenv.Eventually(t, 30*time.Second, func() error {
		for _, got := range d.network.all() {
			if strings.Contains(got.Headline, "new one") {
				return nil
			}
		}
		return fmt.Errorf("%v, passes: %v", d.network.all(), d.passes())
	}, "a change in SecObserve reaches nobody")
	for _, got := range d.network.all() {
		if strings.Contains(got.Headline, "old") {
			t.Errorf("the first pass notifies: %v", got)
		}
	}

	code, output := d.run(nil, "secobserve", "check")
	if code != 0 || !strings.Contains(output, "superuser") || !strings.Contains(output, `product 2 "One"`) {
		t.Errorf("check: exit %d\n%s", code, output)
	}
	if code, output := d.run([]string{"TOCSIN_SECOBSERVE_TOKEN=wrong"}, "secobserve", "check"); code != 1 || !strings.Contains(output, "TOCSIN_SECOBSERVE_TOKEN") {
		t.Errorf("check with a wrong token: exit %d\n%s", code, output)
	}
	if code, output := d.run([]string{"TOCSIN_SECOBSERVE_URL="}, "secobserve", "sync"); code != 2 {
		t.Errorf("sync without an address: exit %d\n%s", code, output)
	}
	more := m.AddProduct(fakesecobserve.Product{Name: "Two"})
	if code, output := d.run(nil, "secobserve", "sync"); code != 0 || !strings.Contains(output, "2 products") {
		t.Errorf("sync: exit %d\n%s", code, output)
	}
	d.call(http.MethodGet, fmt.Sprintf("/api/v1/products/%d", more), nil, nil)
	if passes := d.passes(); !strings.HasPrefix(passes[0], "succeeded") && !strings.HasPrefix(passes[0], "running") {
		t.Errorf("passes: %v", passes)
	}
}

// TestSecObserveCheckSealsNothing: which key a database is sealed with is decided by the first start of a role.
func TestSecObserveCheckSealsNothing(t *testing.T) {
	t.Parallel()
	server, _ := newSecObserve(t, "https://hooks.example/x")
	for name, url := range map[string]string{
		"postgres": testenv.PostgresURL(t, testenv.MigrateSchema), "sqlite": "sqlite://" + filepath.Join(t.TempDir(), "tocsin.db"),
	} {
		d := newDeployment(t, "DATABASE_URL="+url, "TOCSIN_SECOBSERVE_URL="+server.URL, "TOCSIN_SECOBSERVE_TOKEN="+fakesecobserve.Token)
		if code, output := d.run(nil, "migrate", "up"); code != 0 {
			t.Fatalf("%s: migrate up: exit %d\n%s", name, code, output)
		}
		if code, output := d.run(nil, "secobserve", "check"); code != 0 {
			t.Errorf("%s: exit %d\n%s", name, code, output)
		}
		if sealed, err := dbmodel.IsSealed(t.Context(), open(t, url)); err != nil || sealed {
			t.Errorf("%s: the database is sealed: %v, %v", name, sealed, err)
		}
	}
}

// TestSecObserveSaysWhatIsWrongWithTheKey: a key file that is damaged is not missing, and what was never sealed has no key.
func TestSecObserveSaysWhatIsWrongWithTheKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+dir, "TOCSIN_SECOBSERVE_URL=https://secobserve.invalid", "TOCSIN_SECOBSERVE_TOKEN=x")
	d.env = append(d.env, "TOCSIN_SECRET_KEY=")
	file := filepath.Join(dir, "secret.key")
	is := func(when, want string) {
		t.Helper()
		for _, command := range []string{"check", "sync"} {
			if code, output := d.run(nil, "secobserve", command); code != 1 || !strings.Contains(output, want) {
				t.Errorf("%s, %s: exit %d, want %q\n%s", when, command, code, want, output)
			}
		}
	}
	if code, output := d.run(nil, "migrate", "up"); code != 0 {
		t.Fatalf("migrate up: exit %d\n%s", code, output)
	}
	is("not sealed yet", "no secret key yet")
	d.web = start(t, d.env, "serve")
	d.ready()
	d.web.terminate()
	if err := os.WriteFile(file, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	is("damaged", file+" does not hold a key")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	is("missing", "the secret key is missing")
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	is("not readable", "read the secret key")
}

// The token and the webhooks of SecObserve show nowhere, whatever SecObserve answers.
func TestSecretsOfSecObserveDoNotShow(t *testing.T) {
	t.Parallel()
	s := secrets{"token": fakesecobserve.Token}
	server := testenv.Redis(t)
	d := newDeployment(t, "DATABASE_URL="+testenv.PostgresURL(t, testenv.MigrateSchema), "REDIS_URL="+server.URL(), "TOCSIN_LOG_LEVEL=trace",
		"TOCSIN_SECOBSERVE_INTERVAL=1s")
	so, product := newSecObserve(t, d.network.URL+"/slack/"+s.of("webhook")+"/x1y2")
	d.env = append(d.env, "TOCSIN_SECOBSERVE_URL="+so.URL, "TOCSIN_SECOBSERVE_TOKEN="+fakesecobserve.Token)
	so.Model.SetSettings(func(x *fakesecobserve.Settings) {
		x.ExceptionSlack = d.network.URL + "/slack/" + s.of("exception webhook") + "/x1y2"
	})
	broken := so.Model.AddProduct(fakesecobserve.Product{Name: "", Notification: fakesecobserve.Notification{Teams: "ftp://" + s.of("broken webhook")}})
	so.Model.EditProduct(broken, func(p *fakesecobserve.Product) { p.Name = "Broken" })
	d.web, d.worker, d.scheduler = start(t, d.env, "web"), start(t, d.env, "worker"), start(t, d.env, "scheduler")
	d.ready()
	d.observations(product, 1)
	for _, fault := range []fakesecobserve.Fault{
		fakesecobserve.HTML, fakesecobserve.Truncated, fakesecobserve.Unauthorized, fakesecobserve.OtherVersion, fakesecobserve.Cut,
	} {
		so.SetFault(func(int, *http.Request) fakesecobserve.Fault { return fault })
		passes := len(d.passes())
		testenv.Eventually(t, 30*time.Second, func() error {
			if now := d.passes(); len(now) < passes+2 {
				return fmt.Errorf("passes: %v", now)
			}
			return nil
		}, "no pass")
	}
	so.SetFault(nil)
	so.Model.AddObservation(fakesecobserve.Observation{Product: product, Title: "new", Severity: "High", Status: "Open", ParserType: "SCA"})
	d.observations(product, 2)

	client := testenv.RedisClient(t, server.URL())
	shown := map[string]string{"redis": dumpRedis(t, client)}
	d.readEverything(shown)
	for _, args := range [][]string{{"secobserve", "check"}, {"secobserve", "sync"}, {"check"}} {
		_, shown[strings.Join(args, " ")] = d.run(nil, args...)
	}
	for name, p := range map[string]*process{"web": d.web, "worker": d.worker, "scheduler": d.scheduler} {
		shown[name] = p.log.String()
	}
	for place, text := range shown {
		if found := s.in(text); len(found) > 0 {
			t.Errorf("%s shows %v", place, found)
		}
	}
}

// A pass in the foreground waits for the end of one that is under way.
func TestSyncWaitsForAnotherPass(t *testing.T) {
	t.Parallel()
	database := testenv.PostgresURL(t, testenv.MigrateSchema)
	d := newDeployment(t, "DATABASE_URL="+database)
	server, _ := newSecObserve(t, "")
	d.env = append(d.env, "TOCSIN_SECOBSERVE_URL="+server.URL, "TOCSIN_SECOBSERVE_TOKEN="+fakesecobserve.Token)
	db := open(t, database)
	run, err := dbmodel.BeginRun(t.Context(), db, dbmodel.PeriodicSecObserve)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, d.env, "secobserve", "sync")
	testenv.Eventually(t, 30*time.Second, func() error {
		if log := p.log.String(); !strings.Contains(log, "Another pass is under way") {
			return fmt.Errorf("printed: %s", log)
		}
		return nil
	}, "it does not wait")
	if n, _ := server.Requests(); n > 0 {
		t.Errorf("%d requests beside the other pass", n)
	}
	err = db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := dbmodel.EndRun(ctx, tx, run, dbmodel.RunSucceeded, "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, output := wait(p); code != 0 || !strings.Contains(output, "1 products, 1 observations read") {
		t.Errorf("exit %d\n%s", code, output)
	}
}
