package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestSecondServeIsRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	serve := func() *deployment {
		d := newDeployment(t, "TOCSIN_DATA_DIR="+folder)
		d.web = start(t, d.env, "serve")
		return d
	}
	first := serve()
	first.ready()
	code, output := wait(serve().web)
	if code != 1 || strings.Count(output, "\n") != 1 || !strings.Contains(output, filepath.Join(folder, "tocsin.db")) || !strings.Contains(output, "TOCSIN_DATA_DIR") {
		t.Errorf("exit %d:\n%s", code, output)
	}
	first.web.Kill()
	serve().ready()
}

// TestLookingChangesNothing asks about databases that were never used.
func TestLookingChangesNothing(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	env := []string{"TOCSIN_DATA_DIR=" + folder, "TOCSIN_SECOBSERVE_URL=https://secobserve.invalid", "TOCSIN_SECOBSERVE_TOKEN=x"}
	for command, want := range map[string]int{
		"check": 0, "migrate status": 0, "migrate down": 1, "user list": 1, "secobserve check": 1, "secobserve sync": 1,
	} {
		code, output := wait(start(t, env, strings.Fields(command)...))
		if code != want || !strings.Contains(output, "there is no database yet") || strings.Contains(output, "FAIL") {
			t.Errorf("%s: exit %d\n%s", command, code, output)
		}
		if _, err := os.Stat(folder); !os.IsNotExist(err) {
			t.Fatalf("%s made the folder (%v)", command, err)
		}
	}
	url := testenv.PostgresURL(t, nil)
	code, output := wait(start(t, []string{"DATABASE_URL=" + url}, "migrate", "status"))
	if code != 0 || strings.Contains(output, "applied") || !strings.Contains(output, "pending") {
		t.Errorf("migrate status: exit %d\n%s", code, output)
	}
	var tables int
	if err := open(t, url).QueryRowContext(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables); err != nil || tables > 0 {
		t.Errorf("migrate status made %d tables (%v)", tables, err)
	}
}

// TestPausedQueueIsSaid pauses a queue in /monitor/, and deletes what waits there.
func TestPausedQueueIsSaid(t *testing.T) {
	t.Parallel()
	rd := testenv.Redis(t)
	d := newDeployment(t, "DATABASE_URL="+testenv.PostgresURL(t, testenv.MigrateSchema), "REDIS_URL="+rd.URL(), "TOCSIN_MONITOR_WRITE=true")
	d.web, d.worker, d.scheduler = start(t, d.env, "web"), start(t, d.env, "worker"), start(t, d.env, "scheduler")
	d.ready()
	d.watch(0)
	said := func(want ...string) {
		t.Helper()
		var s struct {
			Paused []string `json:"paused_queues"`
		}
		d.call(http.MethodGet, "/api/v1/status", nil, &s)
		if fmt.Sprint(s.Paused) != fmt.Sprint(want) {
			t.Errorf("status: %v, want %v", s.Paused, want)
		}
		line := fmt.Sprintf("tocsin_queue_paused{queue=%q} %d\n", queue.Events, len(want))
		testenv.Eventually(t, 5*time.Second, func() error { // an answer holds for a second
			_, metrics, err := d.try(http.MethodGet, "/metrics", nil)
			if err == nil && !strings.Contains(string(metrics), line) {
				err = fmt.Errorf("no line %q", line)
			}
			return err
		}, "the metrics say it")
		code, output := wait(start(t, d.env, "check"))
		if code != min(len(want), 1) || strings.Contains(output, "FAIL  Queue events: ") != (len(want) > 0) {
			t.Errorf("check: exit %d\n%s", code, output)
		}
	}
	logged := func(times int) {
		t.Helper()
		testenv.Eventually(t, 10*time.Second, func() error {
			if n := strings.Count(d.scheduler.log.String(), "queues were paused or resumed"); n != times {
				return fmt.Errorf("%d times", n)
			}
			return nil
		}, "the scheduler logs the pause and its end")
	}
	d.call(http.MethodPost, "/monitor/api/queues/events:pause", json.RawMessage("{}"), nil)
	said(queue.Events)
	logged(1)
	for id := 1; id <= 3; id++ {
		d.call(http.MethodPost, "/api/v1/observations", object{"observations": []object{{
			"id": id, "product_id": 2, "title": fmt.Sprint("CVE-", id), "severity": "High", "status": "Open", "priority": nil, "parser_type": "SCA",
		}}}, nil)
	}
	d.call(http.MethodDelete, "/monitor/api/queues/events/pending_tasks:delete_all", nil, nil)
	d.call(http.MethodPost, "/monitor/api/queues/events:resume", json.RawMessage("{}"), nil)
	d.idle(30 * time.Second)
	delivered := map[string]int{}
	for _, m := range d.network.all() {
		delivered[m.Headline]++
	}
	delete(delivered, "") // the request of check
	if len(delivered) != 3 || delivered["High: CVE-1 in Product 2"]+delivered["High: CVE-2 in Product 2"]+delivered["High: CVE-3 in Product 2"] != 3 {
		t.Errorf("delivered: %v", delivered)
	}
	said()
	logged(2)
}

// checked runs check and returns the line about one thing.
func (d *deployment) checked(thing string, env ...string) (code int, line string) {
	d.t.Helper()
	code, output := wait(start(d.t, append(slices.Clip(d.env), env...), "check"))
	for line := range strings.Lines(output) {
		if strings.Contains(line, thing+":") {
			return code, strings.TrimSpace(line)
		}
	}
	d.t.Fatalf("check says nothing about %q:\n%s", thing, output)
	return 0, ""
}

func TestCheckWarnsOfAnEmptySender(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	if code, line := d.checked("Email"); code != 0 || !strings.HasPrefix(line, "ok ") {
		t.Errorf("without email contacts: exit %d, %s", code, line)
	}
	if code, line := d.checked("Mail", "SMTP_URL="); code != 0 || !strings.HasPrefix(line, "ok ") {
		t.Errorf("without email contacts and a mail server: exit %d, %s", code, line)
	}
	group := "/api/v1/product-groups/1"
	d.call(http.MethodPut, group, object{"name": "Shop", "notification_email_to": "shop@example.com"}, nil)
	if code, line := d.checked("Email"); code != 0 || !strings.HasPrefix(line, "warn ") || !strings.Contains(line, "email_from") {
		t.Errorf("of a group: exit %d, %s", code, line)
	}
	if code, line := d.checked("Mail", "SMTP_URL="); code != 0 || !strings.HasPrefix(line, "warn ") || !strings.Contains(line, "SMTP_URL") {
		t.Errorf("without a mail server: exit %d, %s", code, line)
	}
	d.call(http.MethodPut, group, object{"notification_email_to": ""}, nil)
	d.call(http.MethodPatch, "/api/v1/settings", object{"exception_email_to": "ops@example.com"}, nil)
	if code, line := d.checked("Email"); code != 0 || !strings.HasPrefix(line, "warn ") {
		t.Errorf("of the settings: exit %d, %s", code, line)
	}
	d.call(http.MethodPatch, "/api/v1/settings", object{"email_from": "tocsin@example.com"}, nil)
	_, output := wait(start(t, d.env, "check"))
	if strings.Contains(output, "email_from") {
		t.Errorf("with a sender:\n%s", output)
	}
}

// TestWebhookThatHangsFailsAlone: the bound of the first webhook leaves the others theirs.
func TestWebhookThatHangsFailsAlone(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	hangs := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hangs) })
	for i, url := range []string{server.URL + "/hangs", d.network.URL + "/slack/one", d.network.URL + "/slack/two"} {
		d.call(http.MethodPut, fmt.Sprintf("/api/v1/products/%d", i+1), object{"name": fmt.Sprint("P", i+1), "notification_slack_webhook": url}, nil)
	}
	code, output := wait(start(t, d.env, "check"))
	if code != 1 || strings.Count(output, "did not answer in time") != 1 || strings.Count(output, "can be reached") != 2 {
		t.Errorf("exit %d:\n%s", code, output)
	}
}

// redisWith starts a Redis with a setting, and returns its address, too.
func redisWith(t *testing.T, name, value string) (rd *testenv.RedisServer, address string) {
	t.Helper()
	rd = testenv.Redis(t)
	client := testenv.RedisClient(t, rd.URL())
	if err := client.ConfigSet(t.Context(), name, value).Err(); err != nil {
		t.Fatal(err)
	}
	return rd, client.Options().Addr
}

// TestCheckSaysWhyRedisRefuses: a Redis that refuses the login answers, and so does one that is full.
func TestCheckSaysWhyRedisRefuses(t *testing.T) {
	t.Parallel()
	rd, address := redisWith(t, "requirepass", "right-password")
	d := newDeployment(t, "DATABASE_URL="+testenv.PostgresURL(t, testenv.MigrateSchema))
	for name, login := range map[string]string{"none": "", "wrong": "default:wrong-password@"} {
		code, line := d.checked("Redis", "REDIS_URL=redis://"+login+address)
		if code != 1 || !strings.Contains(line, "refuses the login") || strings.Contains(line, "wrong-password") {
			t.Errorf("%s: exit %d, %s", name, code, line)
		}
	}
	if code, line := d.checked("Redis", "REDIS_URL=redis://default:right-password@"+address); code != 0 {
		t.Errorf("right: exit %d, %s", code, line)
	}
	rd.Kill()
	code, line := d.checked("Redis", "REDIS_URL=redis://default:right-password@"+address)
	if code != 1 || !strings.Contains(line, "does not answer") || strings.Contains(line, "paused") {
		t.Errorf("none runs: exit %d, %s", code, line)
	}
}

// TestWrongPolicyIsSaid: a Redis that may drop tasks is an error at the start, and /readyz is degraded.
func TestWrongPolicyIsSaid(t *testing.T) {
	t.Parallel()
	rd, _ := redisWith(t, "maxmemory-policy", "allkeys-lru")
	d := newDeployment(t, "DATABASE_URL="+testenv.PostgresURL(t, testenv.MigrateSchema), "REDIS_URL="+rd.URL())
	d.web = start(t, d.env, "web")
	d.ready() // degraded, too
	const fault = "maxmemory-policy is allkeys-lru: set it to noeviction"
	if _, answer, err := d.try(http.MethodGet, "/readyz", nil); err != nil || !strings.Contains(string(answer), `"degraded"`) ||
		!strings.Contains(string(answer), fault) {
		t.Errorf("/readyz: %s %v", answer, err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		for line := range strings.Lines(d.web.log.String()) {
			if strings.Contains(line, fault) && strings.Contains(line, `"level":"error"`) {
				return nil
			}
		}
		return fmt.Errorf("no error line in\n%s", d.web.log)
	}, "the log says it")
}

// TestCheckNamesTheKeyFile: the key of another folder lies where check looks while TOCSIN_SECRET_KEY is unset.
func TestCheckNamesTheKeyFile(t *testing.T) {
	t.Parallel()
	d := newServe(t)
	d.watch(0)
	folder := t.TempDir()
	file := filepath.Join(folder, "secret.key")
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString([]byte("another key of thirty-two bytes."))), 0o600); err != nil {
		t.Fatal(err)
	}
	var database string
	for _, e := range d.env {
		if dir, found := strings.CutPrefix(e, "TOCSIN_DATA_DIR="); found {
			database = filepath.Join(dir, "tocsin.db")
		}
	}
	code, line := d.checked("Secret key", "TOCSIN_SECRET_KEY=", "DATABASE_URL=sqlite://"+database, "TOCSIN_DATA_DIR="+folder)
	if code != 1 || !strings.Contains(line, "TOCSIN_SECRET_KEY is not set") || !strings.Contains(line, file) {
		t.Errorf("exit %d, %s", code, line)
	}
}

// TestCheckNamesMissingRights takes rights from the user of Redis.
func TestCheckNamesMissingRights(t *testing.T) {
	t.Parallel()
	rd := testenv.Redis(t)
	client := testenv.RedisClient(t, rd.URL())
	address := strings.Replace(rd.URL(), "redis://", "redis://limited:pw@", 1)
	d := newDeployment(t, "DATABASE_URL="+testenv.PostgresURL(t, testenv.MigrateSchema), "REDIS_URL="+address)
	for _, c := range []struct {
		rights string
		code   int
		words  string
	}{
		{"~* &* +@all", 0, "ok    Rights in Redis: all that is used"},
		{"~asynq:* ~tocsin:* &tocsin:wake &asynq:cancel +@all", 0, "ok    Rights in Redis: all that is used"},
		{"~* resetchannels +@all", 1, "subscribe tocsin:wake"},
		{"~asynq:* &* +@all", 1, "set tocsin:"},
		{"~* &* +@all -zadd", 1, "FAIL  Rights in Redis"},
		{"~* &* +@all -evalsha -eval", 1, "evalsha"},
		{"~* &* +@all -exists", 1, "ok    Redis: answers"},
		{"~* &* +@all -exists", 1, "FAIL  Rights in Redis: the user of REDIS_URL lacks: exists"},
	} {
		args := []any{"ACL", "SETUSER", "limited", "reset", "on", ">pw"}
		for right := range strings.FieldsSeq(c.rights) {
			args = append(args, right)
		}
		if err := client.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
		code, output := wait(start(t, d.env, "check"))
		if code != c.code || !strings.Contains(output, c.words) {
			t.Errorf("%s: exit %d\n%s", c.rights, code, output)
		}
		if c.code == 0 {
			testenv.Eventually(t, 10*time.Second, func() error {
				if keys := client.Keys(t.Context(), "*check*").Val(); len(keys) > 0 {
					return fmt.Errorf("%v", keys)
				}
				return nil
			}, "check leaves keys")
		}
	}
}
