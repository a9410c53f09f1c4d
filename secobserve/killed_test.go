package secobserve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
)

var errKilled = errors.New("killed")

// killing ends a pass at its n-th point: a request, or a transaction before or after its commit.
type killing struct {
	http.RoundTripper
	n   int
	end context.CancelFunc
}

func (k *killing) point() error {
	if k.n--; k.n == 0 {
		k.end()
		return errKilled
	}
	return nil
}

// RoundTrip implements http.RoundTripper.
func (k *killing) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := k.point(); err != nil {
		return nil, err
	}
	return k.RoundTripper.RoundTrip(r)
}

// smallSizes make passes of many pages.
func smallSizes(slice int) sizes {
	return sizes{list: 3, all: 3, newest: []int{1, 3}, approval: []int{1, 3}, gates: []int{1, 10}, slice: slice}
}

// killedAt kills a pass at its n-th point. It returns false where the pass has less points: it has ended.
func (e *env) killedAt(n int) bool {
	e.t.Helper()
	e.restart()
	e.sync.sizes = smallSizes(100)
	ctx, cancel := context.WithCancel(e.t.Context())
	defer cancel()
	k := &killing{e.sync.Client.http.Transport, n, cancel}
	e.sync.Client.http.Transport = k
	e.sync.committed = func(bool) error { return k.point() }
	_, err := e.sync.Sync(ctx, nil, Options{})
	if err != nil && k.n > 0 {
		e.t.Fatal(err)
	}
	return err != nil
}

// evaluatedIDs lists the observations of the events of a kind that wait, each as often as it is there.
func (e *env) evaluatedIDs(kind dbmodel.EventKind) []int64 {
	e.t.Helper()
	ids := []int64{}
	for _, text := range e.events(kind) {
		var p dbmodel.EventPayload
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			e.t.Fatal(err)
		}
		ids = append(ids, p.IDs...)
	}
	slices.Sort(ids)
	return ids
}

// expectedEvents is what has to wait after a pass.
type expectedEvents struct {
	kind  dbmodel.EventKind
	ids   []int64 // of observations
	gates string
}

// A pass that is killed at any request, or around any commit, loses nothing and doubles nothing.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		for _, c := range []struct {
			name string
			// prepare returns what changes something before each pass, and returns what the pass has to accept.
			prepare func(e *env, one, two int64) func() expectedEvents
		}{
			{"first", firstPass},
			{"incremental", incrementalPass},
			{"deletions", deletingPass},
			{"half-hourly", halfHourlyPass},
			{"daily", dailyPass},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, testenvCopy(t, db))
				_, one, two := e.load()
				prepare := c.prepare(e, one, two)
				n := 0
				for killed := true; killed; {
					n++
					want := prepare()
					killed = e.killedAt(n)
					e.restart()
					e.sync.sizes = smallSizes(100)
					e.pass()
					e.pass() // what goes without a stamp is known in the first quiet pass
					e.equal()
					want.ids = append([]int64{}, slices.Sorted(slices.Values(want.ids))...)
					if diff := cmp.Diff(want.ids, e.evaluatedIDs(want.kind)); diff != "" {
						t.Fatalf("killed at point %d: observations that are evaluated (-want +got):\n%s", n, diff)
					}
					if got := e.gateEvents(); got != want.gates {
						t.Fatalf("killed at point %d: gates %q, want %q", n, got, want.gates)
					}
					if list := e.reports(); len(list) > 0 {
						t.Fatalf("killed at point %d: reported %v", n, list)
					}
					e.evaluated()
				}
				t.Logf("killed at %d points", n-1)
			})
		}
	})
}

// firstPass makes the database forget what it has of SecObserve.
func firstPass(e *env, _, _ int64) func() expectedEvents {
	return func() expectedEvents {
		e.t.Helper()
		for _, statement := range []string{
			"DELETE FROM observations", "DELETE FROM products", "DELETE FROM product_groups", "DELETE FROM users WHERE username <> 'automation'",
			"UPDATE secobserve SET loaded = false, read_to = NULL, read_began = NULL, today_read = NULL, approvals = NULL, " +
				"gates = NULL, gates_read = NULL, settings = ''",
		} {
			if _, err := e.db.ExecContext(e.t.Context(), statement); err != nil {
				e.t.Fatal(err)
			}
		}
		return expectedEvents{dbmodel.KindBaseline, e.ids(0), ""}
	}
}

// ids lists the observations of a product in the model; 0: of all.
func (e *env) ids(product int64) (ids []int64) {
	for id, o := range e.model.State().Observations {
		if product == 0 || o.Product == product {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// quietPass ends what a preparation begins.
func (e *env) quietPass() {
	e.t.Helper()
	e.model.Advance(time.Minute)
	e.pass()
	e.evaluated()
}

func incrementalPass(e *env, one, two int64) func() expectedEvents {
	m := e.model
	user := m.AddUser(fakesecobserve.User{Username: "kim", FullName: "Kim"})
	var added int64
	return func() expectedEvents {
		e.t.Helper()
		m.DeleteObservation(added)
		approved := e.ids(two)[0]
		waits := m.Propose(approved, func(o *fakesecobserve.Observation) { o.Severity = opposite(o.Severity) })
		e.quietPass()
		upload := m.BeginUpload(one)
		added = upload.Add(finding(one, "added"))
		m.Advance(time.Minute)
		upload.Commit()
		m.Assess(added, func(o *fakesecobserve.Observation) { o.Priority = new(5) })
		m.ApproveWithEdits(waits)
		was := *m.State().Products[two].Gate
		m.EditProduct(two, func(p *fakesecobserve.Product) { p.Gate = new(!was) })
		m.EditProduct(two, func(p *fakesecobserve.Product) { p.Gate = new(was) })
		m.EditProduct(one, func(p *fakesecobserve.Product) {
			p.Gate, p.MinSeverity = new(p.Gate == nil || !*p.Gate), opposite(p.MinSeverity)
		})
		m.EditUser(user, func(u *fakesecobserve.User) { u.FullName = opposite(u.FullName) })
		m.SetMember(one, user, 1+int(added%5))
		m.Advance(time.Minute)
		return expectedEvents{
			dbmodel.KindObservation,
			[]int64{added, approved},
			strings.Join([]string{gateWord(m.State().Products[one].Gate), gateWord(new(!was)), gateWord(&was)}, " "),
		}
	}
}

func opposite(word string) string {
	if word == "High" {
		return "Low"
	}
	return "High"
}

func deletingPass(e *env, one, two int64) func() expectedEvents {
	e.model.SetMember(one, e.admin, 5) // stays: the removal of the last member is held
	return func() expectedEvents {
		e.t.Helper()
		m := e.model
		gone := m.AddObservation(finding(two, "gone"))
		silently := m.AddObservation(finding(one, "gone with its branch"))
		m.EditSilently(silently, func(o *fakesecobserve.Observation) { o.Branch = "x" })
		group := m.AddGroup(fakesecobserve.Group{Name: "short"})
		product := m.AddProduct(fakesecobserve.Product{Name: "short", GroupID: group})
		m.AddObservation(finding(product, "gone with its product"))
		user := m.AddUser(fakesecobserve.User{Username: "short", FullName: "Short"})
		m.SetMember(product, user, 3)
		m.SetMember(one, user, 3)
		e.quietPass()
		m.DeleteObservation(gone)
		m.DeleteBranch(one, "x")
		m.DeleteGroup(group)
		m.DeleteProduct(product)
		m.DeleteUser(user)
		m.Advance(time.Minute)
		return expectedEvents{dbmodel.KindObservation, []int64{}, ""}
	}
}

// halfHourlyPass changes observations of today without a stamp.
func halfHourlyPass(e *env, one, two int64) func() expectedEvents {
	ids := []int64{e.ids(one)[0], e.ids(two)[0]}
	return func() expectedEvents {
		e.t.Helper()
		if hour := e.model.Now().Hour(); hour < dailyHour+1 || hour > 22 { // neither the daily pass nor the end of today
			e.model.Advance(e.model.Now().Truncate(24 * time.Hour).Add((24 + dailyHour + 1) * time.Hour).Sub(e.model.Now()))
		}
		for _, id := range ids {
			e.model.Assess(id, func(*fakesecobserve.Observation) {})
		}
		return e.silently(31*time.Minute, ids)
	}
}

// dailyPass changes old observations without a stamp.
func dailyPass(e *env, _, _ int64) func() expectedEvents {
	return func() expectedEvents {
		e.t.Helper()
		all := e.ids(0)
		return e.silently(24*time.Hour, []int64{all[0], all[len(all)-1]})
	}
}

// silently changes observations without a stamp, some time before the next pass.
func (e *env) silently(before time.Duration, ids []int64) expectedEvents {
	e.t.Helper()
	e.quietPass()
	for _, id := range ids {
		e.model.EditSilently(id, func(o *fakesecobserve.Observation) { o.Severity = opposite(o.Severity) })
	}
	e.model.Advance(before)
	return expectedEvents{dbmodel.KindObservation, ids, ""}
}
