// Package torture reports events to all roles while the servers, the processes and the receivers around them fail, and
// compares afterwards what was stored and what arrived with what the rules give: exactly the notifications of the
// rules, each delivery sent or failed with a reason, copies only where a process could not record an answer, order
// kept; each recipient gets each notification once, as it is or in one digest, whose net changes are right.
//
// A run follows a plan that a seed determines (plan.go): the calls of each producer (producer.go), the settings
// (installation.go), the subscriptions (subscriptions.go), their slots and the pauses (slots.go), the faults
// (faults.go) and the behavior of the receivers (receivers.go, mail.go). Distances in a plan are accepted calls, not
// seconds, so that a seed repeats a run however fast the machine is.
package torture

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/program"
)

const (
	pace       = 40 * time.Millisecond // between two calls of a producer
	shortCalls = 1_800
	stallTime  = 3 * time.Second // after which a fault ends because no call is accepted
	giveUpTime = 2 * time.Minute // after which a run without progress fails

	adminToken = "test-token-of-the-administrator"
	secretKey  = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" // #nosec G101 -- of a test
)

// run is one run of a plan.
type run struct {
	t     *testing.T
	plan  *plan
	began time.Time
	env   []string
	logs  string // the folder with the logs of the processes
	http  *http.Client

	binary, next, clocked string // the program, its next version, and one whose clock can be wrong
	pg                    *testenv.PostgresServer
	rd                    *testenv.RedisServer
	pgProxy, rdProxy      *proxy
	slots                 map[string][]*slot // by role
	network               *network

	accepted   atomic.Int64   // calls
	background sync.WaitGroup // faults that begin or end beside the run
	losses     []time.Time    // when Redis lost its data
	clocks     atomic.Int64   // wrong clocks so far
	slowestEnd atomic.Int64   // the longest time from SIGTERM to the end of a process
	load       *load

	mu    sync.Mutex
	spans []span
}

// span is a time in which a process died, stood still or lost its database, so that copies are possible.
type span struct{ begin, end time.Time }

// Run tests one run. A seed of 0 is a random one where minutes are given. The run lasts about so many minutes, or a few
// seconds with 0; some faults occur only in long runs. It keeps the logs of the processes where the test fails.
func Run(t *testing.T, seed uint64, minutes float64) {
	t.Helper()
	calls, long := shortCalls, minutes > 0
	if long {
		calls = int(minutes * float64(time.Minute/pace) * producers)
	}
	for seed == 0 && long {
		seed = rand.Uint64N(1_000_000) // #nosec G404 -- a seed
	}
	r := newRun(t, newPlan(seed, calls, long), long)
	defer func() {
		if !t.Failed() {
			_ = os.RemoveAll(r.logs) // hundreds of files
			return
		}
		t.Logf("the logs of the processes are in %s; repeat the run with\n\tTORTURE_SEED=%d TORTURE_MINUTES=%g make torture",
			r.logs, seed, minutes)
	}()
	t.Logf("seed %d: %d calls by %d producers, %d faults and spells of receivers",
		seed, r.plan.total, producers, len(r.plan.acts))
	r.startRoles()
	r.configure()
	r.follow()
	r.settle()
	r.check()
}

func newRun(t *testing.T, p *plan, long bool) *run {
	t.Helper()
	var options []testenv.RedisOption
	if p.aof {
		options = append(options, testenv.WithAOF())
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * producers}
	r := &run{
		t: t, plan: p, pg: testenv.Postgres(t), rd: testenv.Redis(t, options...),
		slots: map[string][]*slot{}, logs: t.ArtifactDir(),
		http: &http.Client{Timeout: 10 * time.Minute, Transport: transport},
		load: &load{exceptions: map[string]*occurrences{}},
	}
	t.Cleanup(r.http.CloseIdleConnections)
	var err error
	if r.binary, err = program.Binary(); err != nil {
		t.Fatal(err)
	}
	r.next = r.binary
	if long {
		r.next, r.clocked = program.Build(t, "-ldflags", "-X main.release=next"), buildClocked(t)
	}
	r.network = newNetwork(t, p)
	r.startProxies()
	r.env = []string{
		"DATABASE_URL=postgres://postgres@127.0.0.1:" + r.pgProxy.port() + "/postgres?sslmode=disable",
		"REDIS_URL=redis://127.0.0.1:" + r.rdProxy.port() + "/0",
		"TOCSIN_ADMIN_TOKEN=" + adminToken, "TOCSIN_SECRET_KEY=" + secretKey, "TOCSIN_BASE_URL=http://tocsin.example.com",
		"TOCSIN_WEBHOOK_ALLOWED_NETWORKS=127.0.0.0/8", "SMTP_URL=smtp://" + r.network.smtp + "?tls=none",
		"TOCSIN_SLACK_RATE=0", "TOCSIN_MS_TEAMS_RATE=50", "TOCSIN_LOG_LEVEL=info",
		"TOCSIN_SHUTDOWN_TIMEOUT=" + shutdownTimeout.String(),
	}
	return r
}

// startProxies puts a proxy before each server.
func (r *run) startProxies() {
	c, err := pgx.ParseConfig(r.pg.URL())
	if err != nil {
		r.t.Fatal(err)
	}
	network, address := pgconn.NetworkAddress(c.Host, c.Port)
	r.pgProxy = newProxy(r.t, network, address)
	u, err := url.Parse(r.rd.URL())
	if err != nil {
		r.t.Fatal(err)
	}
	r.rdProxy = newProxy(r.t, "tcp", u.Host)
}

// logf logs a step with the time and the number of accepted calls.
func (r *run) logf(format string, args ...any) {
	r.t.Logf("%6.1f s %6d  %s", time.Since(r.began).Seconds(), r.accepted.Load(), fmt.Sprintf(format, args...))
}

// openSpan begins a time in which copies are possible; the returned function ends it.
func (r *run) openSpan() (end func()) {
	begin := time.Now()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.spans = append(r.spans, span{begin, time.Now()})
	}
}

// configure stores the settings of the plan.
func (r *run) configure() {
	in := &r.plan.installation
	for _, g := range in.groups {
		r.repeat(0, http.MethodPut, fmt.Sprintf("/api/v1/product-groups/%d", g.id), g.body("Group", r.network.URL))
	}
	for _, p := range in.products {
		r.repeat(0, http.MethodPut, fmt.Sprintf("/api/v1/products/%d", p.id), p.body("Product", r.network.URL))
	}
	r.repeat(0, http.MethodPatch, "/api/v1/settings", in.settings(r.network.URL))
	r.subscribe()
	r.logSlots()
	if r.t.Failed() {
		r.t.FailNow() // without settings no event is notified
	}
	r.began = time.Now()
}

// openAct is an act that has begun and has not ended.
type openAct struct {
	act
	end func()
}

// follow lets the producers make all their calls and performs the acts of the plan meanwhile.
func (r *run) follow() {
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		r.produce()
	}()
	var running []openAct
	acts, seen, since := r.plan.acts, int64(0), time.Now()
	for over, calm := false, false; !over; {
		select {
		case <-reported:
			over = true
		case <-time.After(5 * time.Millisecond):
		}
		now := r.accepted.Load()
		if now != seen {
			seen, since = now, time.Now()
		}
		running = r.endActs(running, func(a act) bool { return over || int(now) >= a.until })
		for ; len(acts) > 0 && acts[0].at <= int(now); acts = acts[1:] {
			r.logf("%v", acts[0])
			if end := r.begin(acts[0]); end != nil {
				running = append(running, openAct{acts[0], end})
			}
		}
		if !calm && int(now) >= r.plan.calmFrom {
			calm = true
			r.logf("no more faults")
			r.network.calm()
		}
		stalled := time.Since(since)
		if stalled > giveUpTime {
			r.t.Fatal("no call is accepted any more")
		}
		if newest := newestFault(running); stalled > stallTime && newest >= 0 {
			r.logf("· ends because no call is accepted: %v", running[newest].act)
			running[newest].end()
			running, since = slices.Delete(running, newest, newest+1), time.Now()
		}
	}
	r.background.Wait()
}

// endActs ends the acts that are due and returns the others.
func (r *run) endActs(running []openAct, due func(act) bool) []openAct {
	return slices.DeleteFunc(running, func(o openAct) bool {
		if !due(o.act) {
			return false
		}
		r.logf("· ends: %v", o.act)
		o.end()
		return true
	})
}

// newestFault returns the index of the newest act that is not a spell of a receiver: the likely cause of a stall. -1:
// none.
func newestFault(running []openAct) int {
	newest := len(running) - 1
	for newest >= 0 && slices.Contains(manners, running[newest].kind) {
		newest--
	}
	return newest
}

// begin begins an act and returns the function that ends it, or nil where it has already ended.
func (r *run) begin(a act) (end func()) {
	switch {
	case slices.Contains(manners, a.kind):
		return r.network.behave(receivers[a.n], a.kind)
	case a.kind == slotsCome:
		r.background.Go(r.slotsCome)
		return nil
	}
	k := faultKinds[a.kind]
	endSpan := func() {}
	if k.copies {
		endSpan = r.openSpan()
	}
	undo := k.begin(r, a.n)
	if undo == nil {
		endSpan()
		return nil
	}
	return func() { undo(); endSpan() }
}
