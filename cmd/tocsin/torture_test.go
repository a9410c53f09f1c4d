package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed91453169/tocsin/internal/testenv"
)

var (
	tortureSeed    = flag.Uint64("torture.seed", 0, "what TestTorture does; 0: always the same, in a long run a random one")
	tortureMinutes = flag.Float64("torture.minutes", 0, "about how long TestTorture tells events; 0: a few seconds")
)

const (
	pace       = 40 * time.Millisecond // between two calls of a producer
	shortCalls = 1_800
	stallTime  = 3 * time.Second // after which a fault ends because nothing is accepted
	giveUpTime = 2 * time.Minute // after which a run in which nothing moves is over
)

// torture is one run.
type torture struct {
	t      *testing.T
	plan   *plan
	began  time.Time
	env    []string
	logs   string
	client *http.Client

	binary, next, clocked string // programs: this one, the next version, and this one with a clock that can be wrong
	pg                    *testenv.PostgresServer
	rd                    *testenv.RedisServer
	pgProxy, rdProxy      *proxy
	slots                 map[string][]*slot
	far                   *far

	accepted   atomic.Int64 // calls
	besides    sync.WaitGroup
	losses     []time.Time // of what Redis knew
	clocks     atomic.Int64
	slowestEnd atomic.Int64 // after SIGTERM
	load       *load

	mu    sync.Mutex
	spans []span
}

// span is a time in which a process died, stood still or lost its database.
type span struct{ begin, end time.Time }

// TestTorture tells events while everything around fails, and counts afterwards: exactly the notifications that the rules
// give, each delivery sent or failed with a reason, copies only where one is allowed, order kept. The long form is `make
// torture`.
func TestTorture(t *testing.T) {
	t.Parallel()
	seed, calls := *tortureSeed, shortCalls
	long := *tortureMinutes > 0
	if long {
		calls = int(*tortureMinutes * float64(time.Minute/pace) * producers)
	}
	for seed == 0 && long {
		seed = rand.Uint64N(1_000_000)
	}
	tt := newTorture(t, newPlan(seed, calls, long), long)
	defer func() {
		if !t.Failed() {
			_ = os.RemoveAll(tt.logs) // hundreds of files
			return
		}
		t.Logf("the logs of the processes are in %s; do the same again with\n\tTORTURE_SEED=%d TORTURE_MINUTES=%g make torture", tt.logs, seed, *tortureMinutes)
	}()
	t.Logf("seed %d: %d calls by %d producers, %d things done meanwhile", seed, tt.plan.calls, producers, len(tt.plan.acts))
	tt.startRoles()
	tt.setUp()
	tt.run()
	tt.settle()
	tt.check()
}

func newTorture(t *testing.T, p *plan, long bool) *torture {
	t.Helper()
	var options []testenv.RedisOption
	if p.aof {
		options = append(options, testenv.WithAOF())
	}
	tt := &torture{
		t: t, plan: p, pg: testenv.Postgres(t), rd: testenv.Redis(t, options...), slots: map[string][]*slot{}, logs: t.ArtifactDir(),
		client: &http.Client{Timeout: 10 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * producers}},
		load:   new(load),
	}
	t.Cleanup(tt.client.CloseIdleConnections)
	var err error
	if tt.binary, err = binary(); err != nil {
		t.Fatal(err)
	}
	tt.next = tt.binary
	if long {
		tt.next, tt.clocked = buildNext(t), buildClocked(t)
	}
	tt.far = newFar(t, p)
	c, err := pgx.ParseConfig(tt.pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	network, address := pgconn.NetworkAddress(c.Host, c.Port)
	tt.pgProxy = newProxy(t, network, address)
	u, err := url.Parse(tt.rd.URL())
	if err != nil {
		t.Fatal(err)
	}
	tt.rdProxy = newProxy(t, "tcp", u.Host)
	tt.env = []string{
		"DATABASE_URL=postgres://postgres@127.0.0.1:" + tt.pgProxy.port() + "/postgres?sslmode=disable",
		"REDIS_URL=redis://127.0.0.1:" + tt.rdProxy.port() + "/0",
		"TOCSIN_ADMIN_TOKEN=" + adminToken, "TOCSIN_SECRET_KEY=" + secretKey, "TOCSIN_BASE_URL=http://tocsin.example.com",
		"TOCSIN_WEBHOOK_ALLOWED_NETWORKS=127.0.0.0/8", "SMTP_URL=smtp://" + tt.far.smtp + "?tls=none",
		"TOCSIN_SLACK_RATE=0", "TOCSIN_MS_TEAMS_RATE=50", "TOCSIN_LOG_LEVEL=info", "TOCSIN_SHUTDOWN_TIMEOUT=" + shutdownTimeout.String(),
	}
	return tt
}

// buildNext builds the program as its next version.
func buildNext(t testing.TB) string {
	t.Helper()
	return build(t, "-ldflags", "-X main.release=next")
}

func build(t testing.TB, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tocsin")
	out, err := exec.Command("go", append(append([]string{"build", "-o", path}, args...), ".")...).CombinedOutput() //nolint:noctx // it ends by itself
	if err != nil {
		t.Fatalf("go build %v: %v\n%s", args, err, out)
	}
	return path
}

// say tells what is done, and how far the run is.
func (tt *torture) say(format string, args ...any) {
	tt.t.Logf("%6.1f s %6d  %s", time.Since(tt.began).Seconds(), tt.accepted.Load(), fmt.Sprintf(format, args...))
}

// beside does something while the run goes on.
func (tt *torture) beside(do func()) { tt.besides.Go(do) }

// span notes the time until the returned function is called as one in which copies may come about.
func (tt *torture) span() (end func()) {
	begin := time.Now()
	return func() {
		tt.mu.Lock()
		defer tt.mu.Unlock()
		tt.spans = append(tt.spans, span{begin, time.Now()})
	}
}

func (tt *torture) setUp() {
	for _, g := range tt.plan.places.groups {
		tt.repeat(0, http.MethodPut, fmt.Sprintf("/api/v1/product-groups/%d", g.id), g.body("Group", tt.far.URL))
	}
	for _, p := range tt.plan.places.products {
		tt.repeat(0, http.MethodPut, fmt.Sprintf("/api/v1/products/%d", p.id), p.body("Product", tt.far.URL))
	}
	tt.repeat(0, http.MethodPatch, "/api/v1/settings", tt.plan.places.settings(tt.far.URL))
	if tt.t.Failed() {
		tt.t.FailNow() // without places nothing is notified
	}
	tt.began = time.Now()
}

// run lets the producers tell everything, and does what the plan says meanwhile.
func (tt *torture) run() {
	told := make(chan struct{})
	go func() {
		defer close(told)
		tt.tell()
	}()
	type open struct {
		act
		end func()
	}
	var running []open
	acts, seen, since := tt.plan.acts, int64(0), time.Now()
	for over, calm := false, false; !over; {
		select {
		case <-told:
			over = true
		case <-time.After(5 * time.Millisecond):
		}
		now := tt.accepted.Load()
		if now != seen {
			seen, since = now, time.Now()
		}
		running = slices.DeleteFunc(running, func(o open) bool {
			if int(now) < o.until && !over {
				return false
			}
			tt.say("· ends: %v", o.act)
			o.end()
			return true
		})
		for ; len(acts) > 0 && acts[0].at <= int(now); acts = acts[1:] {
			tt.say("%v", acts[0])
			if end := tt.begin(acts[0]); end != nil {
				running = append(running, open{acts[0], end})
			}
		}
		if !calm && int(now) >= tt.plan.calmFrom {
			calm = true
			tt.say("nothing more is done")
			tt.far.calm()
		}
		stalled := time.Since(since)
		if stalled > giveUpTime {
			tt.t.Fatal("nothing is accepted any more")
		}
		newest := len(running) - 1 // it is the likely cause
		for newest >= 0 && slices.Contains(manners, running[newest].kind) {
			newest--
		}
		if stalled > stallTime && newest >= 0 {
			tt.say("· ends, because nothing is accepted: %v", running[newest].act)
			running[newest].end()
			running, since = slices.Delete(running, newest, newest+1), time.Now()
		}
	}
	tt.besides.Wait()
}

// begin does what an act says, and returns what ends it; nil where that is over already.
func (tt *torture) begin(a act) (end func()) {
	if slices.Contains(manners, a.kind) {
		return tt.far.behave(receivers[a.n], a.kind)
	}
	k := faultKinds[a.kind]
	covered := func() {}
	if k.copies {
		covered = tt.span()
	}
	undo := k.begin(tt, a.n)
	if undo == nil {
		covered()
		return nil
	}
	return func() { undo(); covered() }
}

func (a act) String() string {
	if slices.Contains(manners, a.kind) {
		return receivers[a.n] + " " + a.kind
	}
	if faultKinds[a.kind].of > 0 {
		return fmt.Sprintf("%s (%d)", a.kind, a.n)
	}
	return a.kind
}
