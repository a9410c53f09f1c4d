package secobserve

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
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
			env: newEnv(t, db), random: rand.New(rand.NewPCG(seed, seed)), reported: map[int64]fakesecobserve.Observation{},
			known: map[int64]fakesecobserve.Product{},
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
	reported  map[int64]fakesecobserve.Observation
	known     map[int64]fakesecobserve.Product // by the reference
	groups    []int64                          // 0: none
	products  []int64
	users     []int64
	waits     []int64                      // assessments
	gone      []fakesecobserve.Observation // before the last quiet pass
	deleted   []fakesecobserve.Product     // before the last quiet pass
	leaving   []fakesecobserve.Product     // since then
	upload    *fakesecobserve.Upload
	later     time.Duration // until when what leaves no stamp is known
	names     int
}

func pick[T any](h *history, list []T) T { return list[h.random.IntN(len(list))] }

// begin loads some products with observations.
func (h *history) begin() {
	h.t.Helper()
	h.sync.sizes = sizes{list: 3, all: 4, newest: []int{2, 5}, approval: []int{1, 4}, gates: []int{1, 50}, slice: 2}
	h.model.SetSettings(func(s *fakesecobserve.Settings) { s.Title.MinSeverity = "High" })
	h.model.SpeakOldWords(h.random.IntN(3) == 0)
	h.groups = []int64{
		0, h.model.AddGroup(fakesecobserve.Group{Name: "Group", Notification: fakesecobserve.Notification{MinSeverity: "High"}}),
		h.model.AddGroup(fakesecobserve.Group{Name: "Urgent", Notification: fakesecobserve.Notification{MinPriority: new(50)}}),
	}
	for range 3 {
		h.products = append(h.products, h.model.AddProduct(fakesecobserve.Product{Name: "P", GroupID: h.groups[1]}))
	}
	for range 12 {
		h.model.AddObservation(h.finding(pick(h, h.products)))
	}
	for i := range 3 {
		h.users = append(h.users, h.model.AddUser(fakesecobserve.User{Username: fmt.Sprintf("u%d", i), FullName: "U"}))
	}
	h.model.Advance(2 * time.Hour)
	h.pass()
	h.compare(true)
}

var (
	severities = []string{"Critical", "High", "Medium", "Low", "None", "Unknown"}
	statuses   = []string{"Open", "Affected", "In review", "Resolved", "Not affected"}
	gateValues = []*bool{nil, new(true), new(false)}
	// titles are few, so that many observations have the same one; the long ones differ at their ends alone.
	titles = []string{
		"CVE-1", "CVE-2", "CVE-3", "cve-1", `a "quoted" title`, strings.Repeat("ü", 254) + "1", strings.Repeat("ü", 254) + "2",
	}
)

func (h *history) finding(product int64) fakesecobserve.Observation {
	o := finding(product, pick(h, titles))
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

// name is one that nobody has had.
func (h *history) name() string {
	h.names++
	return fmt.Sprintf("n%d", h.names)
}

// step is one thing that happens in SecObserve.
func (h *history) step() {
	h.model.Advance(time.Duration(h.random.IntN(90)) * time.Second)
	switch n := h.random.IntN(10); {
	case n < 6:
		h.stepOfObservation(pick(h, h.products))
	case n < 9:
		h.stepOfProduct(pick(h, h.products))
	default:
		h.stepOfUser(h.random.IntN(len(h.users)))
	}
}

func (h *history) stepOfObservation(product int64) {
	m := h.model
	ids := slices.Sorted(maps.Keys(m.State().Observations))
	if len(ids) == 0 {
		m.AddObservation(h.finding(product))
		return
	}
	id := pick(h, ids)
	switch n := h.random.IntN(12); {
	case n < 2:
		m.AddObservation(h.finding(product))
	case n < 5:
		m.Assess(id, h.change)
	case n == 5:
		h.waits = append(h.waits, m.Propose(id, h.change))
	case n < 8 && len(h.waits) > 0:
		h.approve(pick(h, h.waits))
	case n == 8:
		m.EditSilently(id, h.change)
		h.later = 24 * time.Hour
	case n == 9:
		m.DeleteObservation(id)
	case n == 10:
		if h.upload == nil {
			h.upload = m.BeginUpload(product)
			h.upload.Add(h.finding(product))
			h.upload.Change(id, func(*fakesecobserve.Observation) {})
		} else {
			h.commit()
		}
	case n == 11 && len(h.gone) > 0: // comes back from a backup
		o := pick(h, h.gone)
		h.gone = slices.DeleteFunc(h.gone, func(g fakesecobserve.Observation) bool { return g.ID == o.ID })
		if slices.Contains(h.products, o.Product) {
			h.change(&o)
			m.AddObservation(o)
		}
	}
}

func (h *history) approve(assessment int64) {
	if h.random.IntN(2) == 0 && h.model.HasApprovalWithEdits() {
		h.model.ApproveWithEdits(assessment)
		return
	}
	h.model.Approve(assessment)
}

func (h *history) commit() {
	if h.upload != nil {
		h.upload.Commit()
		h.upload = nil
	}
}

func (h *history) stepOfProduct(product int64) {
	m := h.model
	switch n := h.random.IntN(12); {
	case n < 4:
		for range 1 + h.random.IntN(3) {
			h.gate(product, pick(h, gateValues))
		}
	case n == 4:
		m.DeleteBranch(product, "dev")
	case n == 5:
		m.SetMember(product, pick(h, h.users), h.random.IntN(6))
	case n == 6:
		m.SetGroupMember(product, 900, h.random.IntN(6))
		m.SetInGroup(900, pick(h, h.users), h.random.IntN(2) == 0)
	case n == 7:
		m.EditProduct(product, func(p *fakesecobserve.Product) { p.GroupID = pick(h, h.groups) })
	case n == 8:
		m.EditProduct(product, func(p *fakesecobserve.Product) { p.Name, p.EmailTo = h.name(), pick(h, []string{"", "a@x.org"}) })
	case n == 9:
		h.products = append(h.products, m.AddProduct(fakesecobserve.Product{Name: h.name(), GroupID: pick(h, h.groups)}))
	case n == 10 && len(h.products) > 2 && h.upload == nil:
		m.DeleteProduct(product)
		h.products = slices.DeleteFunc(h.products, func(id int64) bool { return id == product })
	case n == 11 && len(h.deleted) > 0: // comes back from a backup
		p := pick(h, h.deleted)
		h.deleted = slices.DeleteFunc(h.deleted, func(d fakesecobserve.Product) bool { return d.ID == p.ID })
		p.Gate = nil
		h.products = append(h.products, m.AddProduct(p))
	}
}

// gate changes the gate of a product, by an assessment or, without a stamp, by its settings. A web tier reports it at
// once.
func (h *history) gate(product int64, passed *bool) {
	h.t.Helper()
	m := h.model
	m.EditProduct(product, func(p *fakesecobserve.Product) { p.Gate = passed })
	var ids []int64
	for id, o := range m.State().Observations {
		if o.Product == product {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 && h.random.IntN(2) == 0 {
		m.Assess(slices.Min(ids), func(*fakesecobserve.Observation) {})
	} else {
		h.later = max(h.later, gatesEvery)
	}
	h.reference.must(h.reference.db.InTx(h.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if err := h.reportProducts(ctx, tx); err != nil {
			return err
		}
		event, err := accept.NewSecurityGate(product, passed)
		if err == nil {
			_, err = accept.InTx(ctx, tx, event)
		}
		return err
	}))
}

func (h *history) stepOfUser(i int) {
	m := h.model
	switch h.random.IntN(4) {
	case 0, 1:
		m.EditUser(h.users[i], func(u *fakesecobserve.User) {
			u.Inactive, u.Superuser = h.random.IntN(2) == 0, h.random.IntN(3) == 0
		})
	case 2:
		m.EditUser(h.users[i], func(u *fakesecobserve.User) { u.Username, u.FullName = h.name(), h.name() })
	case 3: // made anew
		name := m.State().Users[h.users[i]].Username
		m.DeleteUser(h.users[i])
		h.users[i] = m.AddUser(fakesecobserve.User{Username: name, FullName: h.name()})
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
		h.server.SetFault(func(n int, r *http.Request) fakesecobserve.Fault {
			switch {
			case n != from && (!lasting || n < from):
				return fakesecobserve.NoFault
			case fault == fakesecobserve.EmptyList || fault == fakesecobserve.LessPrivileged:
				// An empty list of the changes of gates looks like one that is late: then the last value is notified
				// before those in between.
				if r.URL.Path == "/api/notifications/" {
					return fakesecobserve.ServerError
				}
			}
			return fault
		})
		_, _ = h.sync.Sync(h.t.Context(), nil, Options{})
	}
	h.commit()
	h.server.SetFault(nil)
	if h.later == 24*time.Hour {
		h.later = h.model.Now().Truncate(24 * time.Hour).Add(30 * time.Hour).Sub(h.model.Now()) // six o'clock tomorrow
	}
	h.model.Advance(h.later + time.Minute)
	h.later = 0
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
	h.compare(false)
}
