package secobserve

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// gateEvents lists what waits to be notified of gates, in words.
func (e *env) gateEvents() string {
	e.t.Helper()
	var words []string
	for _, text := range e.events(dbmodel.KindSecurityGate) {
		var payload struct{ After *bool }
		if err := json.Unmarshal([]byte(text), &payload); err != nil {
			e.t.Fatal(err)
		}
		words = append(words, gateWord(payload.After))
	}
	return strings.Join(words, " ")
}

func gateWord(passed *bool) string {
	if passed == nil {
		return "none"
	}
	return map[bool]string{true: "passed", false: "failed"}[*passed]
}

// Every change of a gate is notified, in order, also where several happen between two passes.
func TestGatesThatChangeForthAndBack(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		m := e.model
		_, one, two := e.load() // the gate of two is passed
		set := func(product int64, words ...string) {
			for _, w := range words {
				var passed *bool
				if w != "none" {
					passed = new(w == "passed")
				}
				m.EditProduct(product, func(p *fakesecobserve.Product) { p.Gate = passed })
				// What changes a gate is a change of an observation.
				m.Assess(m.AddObservation(finding(product, w)), func(*fakesecobserve.Observation) {})
			}
		}
		for _, c := range []struct {
			name string
			do   func()
			want string // after the pass
		}{
			{"nothing", func() {}, ""},
			{"once", func() { set(two, "failed") }, "failed"},
			{"forth and back", func() { set(two, "passed", "failed") }, "passed failed"},
			{"three values", func() { set(two, "none", "passed", "failed", "none") }, "none passed failed none"},
			{"a first value", func() { set(one, "failed", "passed") }, "failed passed"},
			{"the task is late", func() { m.HideGateChanges(2); set(one, "failed", "passed") }, ""},
			{"it comes", func() { m.HideGateChanges(0) }, "failed passed"},
			{"the product is earlier", func() { m.HideGateChanges(1); set(one, "failed") }, "failed"},
			{"than the task", func() { m.HideGateChanges(0); set(one, "passed", "failed") }, "passed failed"},
			{"half of it is late", func() { m.HideGateChanges(1); set(one, "passed", "failed") }, "passed failed"},
			{"it is known by then", func() { m.HideGateChanges(0) }, ""},
			{"by its settings alone, read within half an hour", func() {
				m.Advance(time.Hour)
				e.pass()
				m.EditProduct(one, func(p *fakesecobserve.Product) { p.Gate = new(true) })
				m.EditProduct(one, func(p *fakesecobserve.Product) { p.Gate = new(false) })
				m.Advance(31 * time.Minute)
			}, "passed failed"},
		} {
			m.Advance(time.Minute)
			c.do()
			m.Advance(time.Second)
			e.pass()
			if diff := cmp.Diff(c.want, e.gateEvents()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
			e.equal()
			e.evaluated()
		}
	})
}

// An assessment that is approved with edits is known in the next pass, also in one after SecObserve was updated.
func TestApprovalsWithEdits(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		m := e.model
		m.SpeakOldWords(true)
		_, one, _ := e.load()
		ids, err := dbmodel.ProductObservationIDs(t.Context(), db, one)
		if err != nil {
			t.Fatal(err)
		}
		approve := func(severity string, approval func(int64)) {
			waits := m.Propose(ids[0], func(o *fakesecobserve.Observation) { o.Severity = severity })
			m.Advance(time.Hour)
			e.pass()
			approval(waits)
			m.Advance(time.Minute)
			e.pass()
		}
		approve("Low", m.Approve)
		e.equal()
		m.SpeakOldWords(false)
		waits := m.Propose(ids[0], func(o *fakesecobserve.Observation) { o.Severity = "None" })
		m.Advance(time.Minute)
		e.pass()
		m.ApproveWithEdits(waits)
		m.Advance(30 * time.Minute) // the version is asked for again
		e.pass()
		e.equal()
		approve("Critical", m.ApproveWithEdits)
		e.equal()
		e.restart()
		approve("High", m.ApproveWithEdits)
		e.equal()
		if list := e.reports(); len(list) > 0 {
			t.Errorf("reported: %v", list)
		}
	})
}
