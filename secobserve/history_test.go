package secobserve

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/worker"
)

var (
	historyRounds = flag.Int("history.rounds", 8, "quiet passes of a random history")
	historySeed   = flag.Uint64("history.seed", 0, "of the random history; 0: another one each time")
)

// Random histories with random faults: after each quiet pass Tocsin's tables equal the model, and each change was
// notified as if it had been reported over HTTP.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		seed := *historySeed
		if seed == 0 {
			seed = rand.Uint64()
		}
		t.Logf("-history.seed %d", seed)
		h := &history{
			env: newEnv(t, db), random: rand.New(rand.NewPCG(seed, seed)), reported: map[int64]dbmodel.Observation{},
			gates: map[int64]*bool{},
		}
		h.reference = newReference(t, testenvCopy(t, db))
		h.evaluator = newReference(t, db)
		h.begin()
		for range *historyRounds {
			h.round()
			if t.Failed() {
				return
			}
		}
	})
}

// history is a random history.
type history struct {
	*env
	random    *rand.Rand
	evaluator *reference
	// reference is a Tocsin to which the same is reported as a web tier does.
	reference *reference
	reported  map[int64]dbmodel.Observation
	gates     map[int64]*bool
	products  []int64
	users     []int64
	waits     []int64 // assessments
	upload    *fakesecobserve.Upload
	moved     map[int64]bool // gates that have changed since the last quiet pass
	silent    bool           // something changed without a trace
}

func pick[T any](h *history, list []T) T { return list[h.random.IntN(len(list))] }

// begin loads some products with observations.
func (h *history) begin() {
	h.t.Helper()
	h.sync.sizes = sizes{list: 3, all: 4, newest: []int{2, 5}, approval: []int{1, 4}, slice: 2}
	h.model.SetSettings(func(s *fakesecobserve.Settings) { s.Title.MinSeverity = "Critical" })
	group := h.model.AddGroup(fakesecobserve.Group{Name: "Group", Notification: fakesecobserve.Notification{MinSeverity: "High"}})
	for range 3 {
		h.products = append(h.products, h.model.AddProduct(fakesecobserve.Product{Name: "P", GroupID: group}))
	}
	for range 12 {
		h.model.AddObservation(h.finding(pick(h, h.products)))
	}
	for i := range 3 {
		h.users = append(h.users, h.model.AddUser(fakesecobserve.User{Username: fmt.Sprintf("u%d", i), FullName: "U"}))
	}
	h.model.Advance(2 * time.Hour)
	h.pass()
	h.evaluator.evaluate()
	h.report(true)
	h.reference.evaluate()
	h.moved = map[int64]bool{}
}

var (
	severities = []string{"Critical", "High", "Medium", "Low", "None", "Unknown"}
	statuses   = []string{"Open", "Affected", "In review", "Resolved", "Not affected"}
)

func (h *history) finding(product int64) fakesecobserve.Observation {
	o := finding(product, fmt.Sprintf("CVE-%d", h.random.IntN(6)))
	h.change(&o)
	o.Branch = pick(h, []string{"main", "dev"})
	return o
}

func (h *history) change(o *fakesecobserve.Observation) {
	o.Severity, o.Status = pick(h, severities), pick(h, statuses)
	if o.Priority = nil; h.random.IntN(2) == 0 {
		o.Priority = new(1 + h.random.IntN(99))
	}
	o.EPSS, o.Exploited = pick(h, []string{"", "12.5"}), h.random.IntN(2) == 0
}

// step is one thing that happens in SecObserve.
func (h *history) step() {
	m, s := h.model, h.model.State()
	m.Advance(time.Duration(h.random.IntN(90)) * time.Second)
	product := pick(h, h.products)
	ids := make([]int64, 0, len(s.Observations))
	for id := range s.Observations {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var id int64
	if len(ids) > 0 {
		id = pick(h, ids)
	}
	switch n := h.random.IntN(16); {
	case n < 3 || id == 0:
		m.AddObservation(h.finding(product))
	case n < 5:
		m.Assess(id, h.change)
	case n == 5:
		h.waits = append(h.waits, m.Propose(id, h.change))
	case n == 6 && len(h.waits) > 0:
		m.Approve(pick(h, h.waits))
	case n == 7:
		m.EditSilently(id, h.change)
		h.silent = true
	case n == 8:
		m.DeleteObservation(id)
	case n == 9 && h.random.IntN(3) == 0:
		m.DeleteBranch(product, "dev")
	case n == 10 && h.upload == nil:
		h.upload = m.BeginUpload(product)
		h.upload.Add(h.finding(product))
		h.upload.Change(id, func(*fakesecobserve.Observation) {})
	case n == 11 && h.upload != nil:
		h.upload.Commit()
		h.upload = nil
	case n == 12 && !h.moved[product]:
		h.moved[product] = true
		m.EditProduct(product, func(p *fakesecobserve.Product) { p.Gate = pick(h, []*bool{nil, new(true), new(false)}) })
	case n == 13:
		m.SetMember(product, pick(h, h.users), h.random.IntN(6))
	case n == 14:
		m.SetGroupMember(product, 900, h.random.IntN(6))
		m.SetInGroup(900, pick(h, h.users), h.random.IntN(2) == 0)
	case n == 15:
		u := pick(h, h.users)
		m.EditUser(u, func(u *fakesecobserve.User) { u.Inactive, u.Superuser = h.random.IntN(2) == 0, h.random.IntN(3) == 0 })
	}
}

// round lets things happen, with passes in between that may go wrong, and ends with a quiet pass.
func (h *history) round() {
	h.t.Helper()
	for range 1 + h.random.IntN(4) {
		for range h.random.IntN(5) {
			h.step()
		}
		fault := fakesecobserve.Fault(1 + h.random.IntN(int(fakesecobserve.AllFaultsBehind)-1))
		from, lasting := 1+h.random.IntN(12), h.random.IntN(2) == 0
		if fault == fakesecobserve.LessPrivileged || fault == fakesecobserve.SuperuserLost {
			lasting = true // rights that go do not come back amid a pass
		}
		h.server.SetFault(func(n int, _ *http.Request) fakesecobserve.Fault {
			if n == from || lasting && n > from {
				return fault
			}
			return fakesecobserve.NoFault
		})
		_, _ = h.sync.Sync(h.t.Context(), nil, Options{})
	}
	if h.upload != nil {
		h.upload.Commit()
		h.upload = nil
	}
	h.server.SetFault(nil)
	if h.silent { // known within a day
		h.model.Advance(h.model.Now().Truncate(24 * time.Hour).Add(30 * time.Hour).Sub(h.model.Now())) // six o'clock tomorrow
		h.silent = false
	}
	h.model.Advance(time.Minute)
	for quiet := false; !quiet; { // held deletions are confirmed, a reading of all ends
		before := h.stored()
		if _, err := h.sync.Sync(h.t.Context(), nil, Options{ConfirmDeletions: true}); err != nil {
			h.t.Fatal(err)
		}
		state, err := dbmodel.LoadSecObserve(h.t.Context(), h.db)
		if err != nil {
			h.t.Fatal(err)
		}
		due := h.model.Now().Truncate(24 * time.Hour).Add(dailyHour * time.Hour)
		read := h.model.Now().Before(due) || !state.ReadBegan.Before(due) // a reading may have begun before the last change
		quiet = read && state.ReadTo == nil && cmp.Equal(before, h.stored())
	}
	h.equal()
	h.evaluator.evaluate()
	h.report(false)
	h.reference.evaluate()
	h.moved = map[int64]bool{}
	if diff := cmp.Diff(h.reference.notified(), h.evaluator.notified()); diff != "" {
		h.t.Errorf("the notifications differ (-as if reported over HTTP +by SecObserve):\n%s", diff)
	}
}

// report reports to the reference what differs in the model from what was last reported.
func (h *history) report(baseline bool) {
	h.t.Helper()
	s := h.model.State()
	r := h.reference
	for id := range h.reported {
		if _, there := s.Observations[id]; !there {
			r.must(dbmodel.DeleteObservation(h.t.Context(), r.db, id))
			delete(h.reported, id)
		}
	}
	r.must(r.db.InTx(h.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for id := range s.Products {
			if err := dbmodel.SaveProduct(ctx, tx, &dbmodel.Product{ID: id, Name: "P", NotificationSettings: dbmodel.NotificationSettings{MinSeverity: rule.High}}); err != nil {
				return err
			}
			event, err := accept.NewSecurityGate(id, s.Products[id].Gate)
			if err == nil {
				_, err = accept.InTx(ctx, tx, event)
			}
			if err != nil {
				return err
			}
		}
		settings, err := dbmodel.SettingsForUpdate(ctx, tx)
		if err != nil {
			return err
		}
		settings.TitleMinSeverity = rule.Critical
		if err := dbmodel.SaveSettings(ctx, tx, settings); err != nil {
			return err
		}
		var list []dbmodel.Observation
		for id, o := range s.Observations {
			w := wanted(o)
			list, h.reported[id] = append(list, w), w
		}
		if len(list) == 0 {
			return nil
		}
		event, err := accept.NewObservations(list)
		if err != nil {
			return err
		}
		if baseline {
			event.Baseline()
		}
		_, err = accept.InTx(ctx, tx, event)
		return err
	}))
}

// reference is a Tocsin with a worker.
type reference struct {
	t     *testing.T
	db    *dbmodel.DB
	queue *queue.Queue
}

func newReference(t *testing.T, db *dbmodel.DB) *reference {
	t.Helper()
	server := miniredis.RunT(t)
	open := func() redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: server.Addr()}) }
	client := open()
	t.Cleanup(func() { client.Close() })
	vault, err := dbmodel.OpenVault(t.Context(), db, make([]byte, dbmodel.KeySize), nil)
	if err != nil {
		t.Fatal(err)
	}
	q := queue.New(client, zerolog.Nop())
	w := worker.New(worker.Config{
		DB: db, Vault: vault, Queue: q, NewRedis: open, BaseURL: "http://tocsin.example", Concurrency: 2,
		Senders: map[rule.Channel]channel.Sender{}, ShutdownTimeout: 5 * time.Second, Log: zerolog.Nop(),
	})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Shutdown)
	return &reference{t, db, q}
}

func (r *reference) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// evaluate waits until all that was accepted is evaluated. What one event of observations would notify depends on
// which of them it holds, so those that wait become one event first.
func (r *reference) evaluate() {
	r.t.Helper()
	testenv.Eventually(r.t, 30*time.Second, func() error {
		var events []dbmodel.QueueableEvent
		err := r.db.InTx(r.t.Context(), func(ctx context.Context, tx bun.Tx) (err error) {
			for _, bulk := range []bool{false, true} {
				some, err := dbmodel.QueueableEvents(ctx, tx, bulk, time.Minute, 1_000)
				if err != nil {
					return err
				}
				events = append(events, some...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		r.queue.Enqueue(r.t.Context(), events)
		c, err := dbmodel.Count(r.t.Context(), r.db)
		if err == nil && c.Outbox > 0 {
			err = fmt.Errorf("%d events wait", c.Outbox)
		}
		return err
	}, "not evaluated")
}

// notified lists the notifications about observations and gates, in words.
func (r *reference) notified() (list []string) {
	r.t.Helper()
	found, err := dbmodel.Notifications(r.t.Context(), r.db, dbmodel.Viewer{Admin: true}, dbmodel.NotificationFilter{}, 100_000)
	r.must(err)
	for i := range found {
		n := &found[i]
		switch n.Type {
		case rule.TypeObservation:
			list = append(list, fmt.Sprintf("%s %d %s %v %v", n.Event, *n.ObservationID, n.Name, words3(n.Before()), words3(n.After())))
		case rule.TypeSecurityGate:
			list = append(list, fmt.Sprintf("gate of %d: %s", *n.ProductID, n.Event))
		case rule.TypeObservationTitle, rule.TypeException, rule.TypeTask:
			// A title is notified once for an event, whichever observations that holds; failures are SecObserve's own.
		}
	}
	slices.Sort(list)
	return list
}

func words3(v *rule.Values) string {
	if v == nil {
		return "nothing"
	}
	text := fmt.Sprintf("%s/%s", v.Severity, v.Status)
	if v.Priority != nil {
		text += fmt.Sprintf("/%d", *v.Priority)
	}
	return text
}
