package web_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/web"
)

func TestMonitorIsForAdministrators(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.user("alex", false)
	e.user("boss", true)
	for _, path := range []string{"/monitor/", "/monitor/api/queues", "/monitor/static/js/none.js"} {
		e.want(401, "GET", path, nil, "Authorization", "")
		e.want(403, "GET", path, nil, e.as("alex")...)
		e.want(403, "GET", path, nil, "Authorization", "Bearer "+e.token("boss", dbmodel.ScopeIngest))
		e.want(200, "GET", path, nil, e.as("boss")...)
	}
	e.want(401, "DELETE", "/monitor/api/queues/events", nil, "Authorization", "")
	stranger := e.send("GET", "/monitor/queues/events", nil, "Authorization", "", "Accept", "text/html")
	if to := stranger.header.Get("Location"); stranger.status != 303 || to != "/login?next=%2Fmonitor%2Fqueues%2Fevents" {
		t.Errorf("a stranger's browser is answered %d, to %s", stranger.status, to)
	}
	if s := e.visitor("alex").ask("GET", "/monitor/", nil); s.status != 403 || !strings.Contains(s.text(), "administrators only") {
		t.Errorf("a member's browser is answered %d: %s", s.status, s.text())
	}
	e.want(200, "GET", "/monitor", nil) // redirected to the page
}

// The page, its scripts and what it asks for work below /monitor/ and under the policy.
func TestMonitorPage(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	page := e.want(200, "GET", "/monitor/", nil)
	policy := page.header.Get("Content-Security-Policy")
	_, script, _ := strings.Cut(policy, "script-src ")
	script, _, _ = strings.Cut(script, ";")
	if strings.Contains(script, "unsafe") || strings.Count(script, "'sha256-") != 2 || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("policy: %s", policy)
	}
	if !strings.Contains(page.text, `window.FLAG_ROOT_PATH="\/monitor"`) || !strings.Contains(page.text, `FLAG_READ_ONLY="true"`) {
		t.Errorf("the page does not know where it is: %.2000s", page.text)
	}
	sources := regexp.MustCompile(`<script src="([^"]+)"`).FindAllStringSubmatch(page.text, -1)
	if len(sources) != 2 {
		t.Fatalf("scripts: %v", sources)
	}
	for _, s := range sources {
		r := e.want(200, "GET", s[1], nil)
		if !strings.HasPrefix(r.header.Get("Content-Type"), "application/javascript") || len(r.text) < 1000 {
			t.Errorf("%s is a %s of %d bytes", s[1], r.header.Get("Content-Type"), len(r.text))
		}
	}
}

// Who comes with a browser is answered with pages, also where the session is over, and where a proxy takes a part of the address
// away.
func TestMonitorInBrowser(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.SQLiteDB(t), func(c *web.Config) { c.BaseURL = "https://tocsin.example/sub" })
	e.user("alex", false)
	e.user("boss", true)
	html := []string{"Accept", "text/html,*/*"}
	if r := e.send("GET", "/monitor/queues?x=1", nil, append(html, "Authorization", "")...); r.status != 303 || r.header.Get("Location") != "/sub/login?next=%2Fmonitor%2Fqueues%3Fx%3D1" {
		t.Errorf("a stranger is answered %d %s", r.status, r.header.Get("Location"))
	}
	if r := e.send("GET", "/monitor/", nil, append(html, e.as("alex")...)...); r.status != 403 || !strings.Contains(r.text, "<h1>You may not do this") {
		t.Errorf("a member is answered %d %s", r.status, r.text)
	}
	page := e.send("GET", "/monitor/", nil, append(html, e.as("boss")...)...)
	if page.status != 200 || !strings.Contains(page.text, `window.FLAG_ROOT_PATH="\/sub\/monitor"`) || strings.Count(page.header.Get("Content-Security-Policy"), "'sha256-") != 2 {
		t.Errorf("answered %d, policy %s: %.2000s", page.status, page.header.Get("Content-Security-Policy"), page.text)
	}
	for _, s := range regexp.MustCompile(`<script src="/sub([^"]+)"`).FindAllStringSubmatch(page.text, 2) {
		if r := e.want(200, "GET", s[1], nil); !strings.HasPrefix(r.header.Get("Content-Type"), "application/javascript") {
			t.Errorf("%s is a %s", s[1], r.header.Get("Content-Type"))
		}
	}
	e.want(200, "GET", "/monitor/api/queues", nil)
}

func TestMonitorShowsIdsAndChangesNothing(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	client := redis.NewClient(&redis.Options{Addr: e.redis.Addr()})
	t.Cleanup(func() { client.Close() })
	payload := `{"id":12,"target_id":7,"message":"s3cr3t-of-the-webhook","observation_id":"verysecret"}`
	if _, err := asynq.NewClientFromRedisClient(client).EnqueueContext(t.Context(), asynq.NewTask("observation:evaluate", []byte(payload), asynq.Queue(queue.Events))); err != nil {
		t.Fatal(err)
	}
	list := e.want(200, "GET", "/monitor/api/queues/events/pending_tasks", nil) // want looks for secrets
	if !strings.Contains(list.text, `{\"id\":12,\"target_id\":7}`) {
		t.Errorf("%s", list.text)
	}
	for _, change := range []string{"DELETE /monitor/api/queues/events", "POST /monitor/api/queues/events:pause", "DELETE /monitor/api/queues/events/pending_tasks:delete_all"} {
		method, path, _ := strings.Cut(change, " ")
		if r := e.send(method, path, nil); r.status != http.StatusMethodNotAllowed {
			t.Errorf("%s is answered %d", change, r.status)
		}
	}
	if n, _, err := e.queue.Size(t.Context(), queue.Events); err != nil || n != 1 {
		t.Errorf("%d tasks (%v), want 1", n, err)
	}
	e.redis.Close()
	if r := e.send("GET", "/monitor/api/queues", nil); r.status != http.StatusInternalServerError {
		t.Errorf("without Redis: %d", r.status)
	}
}
