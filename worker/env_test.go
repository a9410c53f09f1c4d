package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/msteams"
	"github.com/seed91453169/tocsin/channel/slack"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/scheduler"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// receiver is the far network: it notes what came to each path, and answers as the test wants.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    map[string][]string // headlines by path
	tries  map[string]int
	taken  []string // the bodies that were answered with 200
	answer func(path string, try int) (status int, header map[string]string)
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{got: map[string][]string{}, tries: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		var m struct {
			Text string `json:"text"`
		}
		_ = json.Unmarshal(body, &m)
		r.mu.Lock()
		r.tries[q.URL.Path]++
		status, header := 200, map[string]string(nil)
		answer, try := r.answer, r.tries[q.URL.Path]
		r.mu.Unlock()
		if answer != nil {
			status, header = answer(q.URL.Path, try)
		}
		if status == 0 { // hang until the caller is gone
			<-q.Context().Done()
			return
		}
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		if status == 200 {
			r.mu.Lock()
			r.got[q.URL.Path] = append(r.got[q.URL.Path], m.Text)
			r.taken = append(r.taken, string(body))
			r.mu.Unlock()
			_, _ = io.WriteString(w, "ok")
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) headlines(path string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got[path]...)
}

// bodies is all that was taken.
func (r *receiver) bodies() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.taken)
}

func contains(part string) func(string) bool {
	return func(s string) bool { return strings.Contains(s, part) }
}

func (r *receiver) tried(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries[path]
}

// everything is seen by an administrator.
var everything = dbmodel.Viewer{Admin: true}

// env is the whole way of an event but for HTTP.
type env struct {
	t        testing.TB
	db       *dbmodel.DB
	vault    *dbmodel.Vault
	redis    *testenv.RedisServer
	queue    *queue.Queue
	acceptor *accept.Acceptor
	worker   *Worker
	// scheduler sweeps until its Shutdown.
	scheduler *scheduler.Scheduler
	receiver  *receiver
}

// newEnv starts a worker, changed by tune before, and a scheduler.
func newEnv(t testing.TB, db *dbmodel.DB, tune func(*Worker)) *env {
	t.Helper()
	e := &env{t: t, db: db, redis: testenv.Redis(t), receiver: newReceiver(t)}
	var err error
	if e.vault, err = dbmodel.OpenVault(t.Context(), db, make([]byte, dbmodel.KeySize), nil); err != nil {
		t.Fatal(err)
	}
	client := e.newRedis()
	t.Cleanup(func() { client.Close() })
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	e.queue = queue.New(client, log)
	e.acceptor = accept.New(db, e.queue)
	webhooks := channel.NewHTTPClient([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	t.Cleanup(webhooks.CloseIdleConnections)
	e.worker = New(Config{
		DB: db, Vault: e.vault, Queue: e.queue, NewRedis: e.newRedis, BaseURL: "http://tocsin.example", Concurrency: 4,
		Senders:         map[rule.Channel]channel.Sender{rule.Slack: slack.New(webhooks), rule.MSTeams: msteams.New(webhooks)},
		ShutdownTimeout: 10 * time.Second, Log: log,
	})
	if tune != nil {
		tune(e.worker)
	}
	if err := e.worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.worker.Shutdown() })
	e.scheduler = scheduler.New(db, e.queue, log)
	e.scheduler.Start()
	t.Cleanup(e.scheduler.Shutdown)
	return e
}

func (e *env) newRedis() redis.UniversalClient {
	o, err := redis.ParseURL(e.redis.URL())
	if err != nil {
		e.t.Fatal(err)
	}
	o.ContextTimeoutEnabled = true
	return redis.NewClient(o)
}

// product makes a product whose observations from High on are notified to a Slack webhook with the given path.
func (e *env) product(id int64, path string) {
	e.t.Helper()
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		p := &dbmodel.Product{ID: id, Name: fmt.Sprintf("Product %d", id)}
		p.MinSeverity = rule.High
		return dbmodel.SaveProduct(ctx, tx, p)
	})
	if err != nil {
		e.t.Fatal(err)
	}
	if path != "" {
		e.contact(rule.Holder{Kind: rule.HolderProduct, ID: id}, rule.Slack, e.receiver.URL+path)
	}
}

// contact sets the contacts of a holder by one channel.
func (e *env) contact(holder rule.Holder, c rule.Channel, addresses ...string) {
	e.t.Helper()
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		contacts, err := dbmodel.NewContacts(ctx, tx, e.vault, c, addresses)
		if err != nil {
			return err
		}
		return dbmodel.SetContacts(ctx, tx, holder, c, contacts)
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) settings(change func(*dbmodel.Settings)) {
	e.t.Helper()
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		s, err := dbmodel.SettingsForUpdate(ctx, tx)
		if err != nil {
			return err
		}
		change(s)
		return dbmodel.SaveSettings(ctx, tx, s)
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

func observation(id, product int64, severity rule.Severity) dbmodel.Observation {
	return dbmodel.Observation{ID: id, ProductID: product, Title: fmt.Sprintf("CVE-%d", id), Severity: severity, Status: rule.Open, ParserType: "SCA"}
}

func (e *env) accept(list ...dbmodel.Observation) {
	e.t.Helper()
	task, err := accept.NewObservations(list)
	e.report(task, err)
}

// report accepts an event.
func (e *env) report(task *accept.Event, err error) {
	e.t.Helper()
	if err == nil {
		_, err = e.acceptor.Accept(e.t.Context(), task)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// idle waits until nothing is left to do.
func (e *env) idle(timeout time.Duration) {
	e.t.Helper()
	testenv.Eventually(e.t, timeout, func() error {
		c, err := dbmodel.Count(e.t.Context(), e.db)
		if err == nil && c.Outbox+c.PendingDeliveries > 0 {
			err = fmt.Errorf("left: %+v", c)
		}
		return err
	}, "not idle")
}

// hurried is idle that waits for no event that failed: it is due again at the next sweep.
func (e *env) hurried(timeout time.Duration) {
	e.t.Helper()
	testenv.Eventually(e.t, timeout, func() error {
		if err := e.due("claim = 0"); err != nil {
			return err
		}
		c, err := dbmodel.Count(e.t.Context(), e.db)
		if err == nil && c.Outbox+c.PendingDeliveries > 0 {
			err = fmt.Errorf("left: %+v", c)
		}
		return err
	}, "not idle")
}

// due ends the waiting of the events that fulfil a condition.
func (e *env) due(condition string) error {
	now := "clock_timestamp()"
	if e.db.Reader != e.db.DB {
		now = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
	}
	_, err := e.db.ExecContext(e.t.Context(), "UPDATE outbox SET run_after = "+now+" WHERE run_after > "+now+" AND "+condition)
	return err
}

func (e *env) notifications() []dbmodel.Notification {
	e.t.Helper()
	list, err := dbmodel.Notifications(e.t.Context(), e.db, everything, dbmodel.NotificationFilter{OldestFirst: true}, 100_000)
	if err != nil {
		e.t.Fatal(err)
	}
	return list
}

func (e *env) deliveries(state dbmodel.State) []dbmodel.Delivery {
	e.t.Helper()
	list, err := dbmodel.Deliveries(e.t.Context(), e.db, everything, dbmodel.DeliveryFilter{State: state}, 100_000)
	if err != nil {
		e.t.Fatal(err)
	}
	return list
}
