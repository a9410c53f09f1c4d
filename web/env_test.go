package web_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/msteams"
	"github.com/seed91453169/tocsin/channel/slack"
	"github.com/seed91453169/tocsin/channel/webhook"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web"
)

// secrets are parts of webhooks.
var secrets = []string{"verysecret", "s3cr3t-of-the-webhook"}

const adminToken = "the-token-of-the-tests-0123456789"

// env is a web process over a database of its own.
type env struct {
	t        testing.TB
	db       *dbmodel.DB
	vault    *dbmodel.Vault
	redis    *miniredis.Miniredis
	queue    *queue.Queue
	stopping chan struct{} // to be closed by a test that shuts the process down
	log      *syncBuffer
	server   *httptest.Server
	client   *http.Client
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// both runs a test over PostgreSQL and over SQLite.
func both(t *testing.T, test func(t *testing.T, e *env)) {
	t.Helper()
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) { test(t, newEnv(t, db)) })
}

func newSQLiteEnv(t testing.TB) *env {
	t.Helper()
	return newEnv(t, testenv.SQLiteDB(t))
}

// newEnv starts a web process; options change how.
func newEnv(t testing.TB, db *dbmodel.DB, options ...func(*web.Config)) *env {
	t.Helper()
	vault, err := dbmodel.OpenVault(t.Context(), db, bytes.Repeat([]byte("k"), dbmodel.KeySize), nil)
	if err != nil {
		t.Fatal(err)
	}
	mr := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: mr.Addr(), MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	e := &env{t: t, db: db, vault: vault, redis: mr, stopping: make(chan struct{}), log: new(syncBuffer)}
	log := zerolog.New(e.log)
	webhooks := channel.NewHTTPClient([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	t.Cleanup(webhooks.CloseIdleConnections)
	queue := queue.New(client, log)
	e.queue = queue
	config := web.Config{
		DB: db, Vault: vault, Queue: queue, Acceptor: accept.New(db, queue), AdminToken: adminToken,
		WebhookAllowedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		BaseURL:                "https://tocsin.example", Version: "test", Log: log,
		Redis: client, Senders: map[rule.Channel]channel.Sender{rule.Slack: slack.New(webhooks), rule.MSTeams: msteams.New(webhooks), rule.Webhook: webhook.New(webhooks)}, Stopping: e.stopping,
	}
	for _, option := range options {
		option(&config)
	}
	handler := web.New(config)
	e.server = httptest.NewUnstartedServer(nil)
	e.server.Config = web.NewServer(handler, log)
	e.server.Start()
	t.Cleanup(func() {
		e.server.Close()
		e.server.Config.Handler = nil // megabytes, which the testing package would keep until the last test has ended
	})
	e.client = e.server.Client()
	e.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.Response.StatusCode == http.StatusTemporaryRedirect {
			return nil // the mux adds a slash
		}
		return http.ErrUseLastResponse // tests want to see where it leads
	}
	return e
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	text   string
	json   map[string]any
}

// send makes a request; body is a text, bytes to read, or something to be written as JSON.
func (e *env) send(method, path string, body any, header ...string) *reply {
	e.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case io.Reader:
		reader = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			e.t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(e.t.Context(), method, e.server.URL+path, reader)
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
		} else {
			req.Header.Set(header[i], header[i+1])
		}
	}
	res, err := e.client.Do(req)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := readAnswer(res)
	if err != nil {
		e.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	for _, secret := range secrets { // whatever a test is about: no answer repeats one
		if strings.Contains(string(text), secret) || strings.Contains(fmt.Sprint(res.Header), secret) {
			e.t.Errorf("%s %s %.200v: the answer repeats a secret: %s", method, path, body, text)
		}
	}
	r := &reply{status: res.StatusCode, header: res.Header, text: string(text)}
	if strings.Contains(res.Header.Get("Content-Type"), "json") && method != http.MethodHead {
		if err := json.Unmarshal(text, &r.json); err != nil {
			e.t.Fatalf("%s %s: the answer is no JSON: %v\n%s", method, path, err, text)
		}
	}
	return r
}

// readAnswer reads all of an answer; of a stream only what comes up to the first event.
func readAnswer(res *http.Response) ([]byte, error) {
	if res.Header.Get("Content-Type") != "text/event-stream" {
		return io.ReadAll(res.Body)
	}
	event, err := newEvents(res).next()
	return []byte(event), err
}

// want is send that fails the test on another status.
func (e *env) want(status int, method, path string, body any, header ...string) *reply {
	e.t.Helper()
	r := e.send(method, path, body, header...)
	if r.status != status {
		e.t.Fatalf("%s %s answered %d instead of %d: %s\n%s", method, path, r.status, status, r.text, e.log)
	}
	if status >= 400 {
		r.checkProblem(e.t)
	}
	return r
}

func (r *reply) checkProblem(t testing.TB) {
	t.Helper()
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("a fault has the type %q", got)
	}
	if r.json["type"] == "" || r.json["title"] == "" || r.json["detail"] == "" || r.json["status"] != float64(r.status) {
		t.Errorf("not a whole problem: %s", r.text)
	}
}

// faults are the locations that a problem names, with their messages.
func (r *reply) faults() map[string]string {
	out := map[string]string{}
	list, _ := r.json["errors"].([]any)
	for _, f := range list {
		m, _ := f.(map[string]any)
		out[fmt.Sprint(m["location"])] = fmt.Sprint(m["message"])
	}
	return out
}

// lines makes a body of n observations, one a line; ids from first.
func lines(first, n int, product int64) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(observation(int64(first+i), product, nil) + "\n")
	}
	return b.String()
}

// observation is the JSON of an observation; more overwrites its fields, nil takes one away.
func observation(id, product int64, more map[string]any) string {
	o := map[string]any{
		"id": id, "product_id": product, "title": fmt.Sprintf("CVE-2026-%d", id), "severity": "High", "status": "Open", "priority": nil, "parser_type": "SCA",
	}
	for k, v := range more {
		if v == absent {
			delete(o, k)
			continue
		}
		o[k] = v
	}
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(b)
}

const absent = "(absent)"

func (e *env) product(id int64) {
	e.t.Helper()
	e.want(200, "PUT", fmt.Sprintf("/api/v1/products/%d", id), map[string]any{"name": fmt.Sprintf("product %d", id)})
}

const testTime = 20 * time.Second
