package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/tasks"
)

// settle waits until nothing is left to do.
func (tt *torture) settle() {
	tt.t.Helper()
	tt.say("everything is told")
	began := time.Now()
	var s status
	for before, since := -1, began; ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // between two looks
		code, answer, err := tt.door(tt.slots["web"][0]).try(http.MethodGet, "/api/v1/status", nil)
		if err == nil && code == http.StatusOK {
			err = json.Unmarshal(answer, &s)
		}
		left := s.Outbox + s.PendingDeliveries
		if err == nil && code == http.StatusOK && left == 0 {
			break
		}
		if left != before {
			before, since = left, time.Now()
		}
		if time.Since(since) > giveUpTime {
			tt.t.Fatalf("for %s nothing has been worked off; left is %+v (%d %v)", giveUpTime, s, code, err)
		}
	}
	last := slices.MaxFunc(tt.far.all(), func(a, b arrival) int { return a.at.Compare(b.at) })
	tt.say("idle after %s; the last message was for %s", time.Since(began).Round(time.Millisecond), last.receiver)
	if s.FailedEvents > 0 {
		tt.t.Errorf("%d events could not be evaluated", s.FailedEvents)
	}
}

// check holds what is stored, and what has arrived, against the plan.
func (tt *torture) check() {
	tt.t.Helper()
	db := open(tt.t, tt.pg.URL())
	var stored []dbmodel.Notification
	if err := db.NewSelect().Model(&stored).Order("id").Scan(context.Background()); err != nil {
		tt.t.Fatal(err)
	}
	byObservation, byTitle := map[int64][]dbmodel.Notification{}, map[string][]dbmodel.Notification{}
	byGate, byClass := map[int64][]rule.Event{}, map[string][]dbmodel.Notification{}
	counted := map[string]int{}
	for _, n := range stored {
		what := string(n.Type) + " " + string(n.Event)
		switch {
		case n.Own:
			if what = "of itself: " + n.Name; n.Name != "DeliveryFailed" {
				tt.t.Errorf("notification %d tells a fault of Tocsin: %s: %s\n%s", n.ID, n.Name, n.Message, n.Trace)
			}
		case n.Type == rule.TypeObservation:
			byObservation[*n.ObservationID] = append(byObservation[*n.ObservationID], n)
		case n.Type == rule.TypeObservationTitle:
			byTitle[n.Name] = append(byTitle[n.Name], n)
		case n.Type == rule.TypeSecurityGate:
			byGate[*n.ProductID] = append(byGate[*n.ProductID], n.Event)
		default:
			byClass[n.Name] = append(byClass[n.Name], n)
		}
		counted[what]++
	}
	tt.checkObservations(byObservation)
	tt.checkTitles(byTitle)
	tt.checkGates(byGate)
	tt.checkExceptions(db, byClass)
	l := tt.load
	tt.t.Logf("accepted: %d calls in %s, %d tried again; %d observations (%d imports), %d gates, %d exceptions",
		tt.accepted.Load(), time.Since(tt.began).Round(time.Second), l.repeated.Load(), l.observations.Load(), l.imports.Load(), l.gates.Load(), l.faults.Load())
	for _, what := range slices.Sorted(maps.Keys(counted)) {
		tt.t.Logf("notified: %6d  %s", counted[what], what)
	}
	tt.checkDeliveries(db, stored)
	tt.t.Logf("the slowest end after SIGTERM took %s", time.Duration(tt.slowestEnd.Load()).Round(time.Millisecond))
}

// states are all states of each observation, as they were told.
func (p *plan) states() map[int64][]tasks.Observation {
	out := map[int64][]tasks.Observation{}
	for _, calls := range p.told {
		for _, c := range calls {
			for _, o := range c.observations {
				out[o.ID] = append(out[o.ID], o)
			}
		}
	}
	return out
}

func ruled(o tasks.Observation) rule.Observation {
	return rule.Observation{Values: rule.Values{Severity: o.Severity, Status: o.Status, Priority: o.Priority}, ParserType: o.ParserType}
}

// follow goes through the notifications of one thing: each must be what the rules give for a state that was told after the
// one before, and after the last one the last state must give nothing.
func follow(decide func(remembered *rule.Values, o rule.Observation) (rule.Event, *rule.Values), states []tasks.Observation, notified []dbmodel.Notification) error {
	var remembered *rule.Values
	for i := range notified {
		n := &notified[i]
		fits := func(o tasks.Observation) bool {
			event, _ := decide(remembered, ruled(o))
			return event == n.Event && equal(n.After(), new(ruled(o).Values))
		}
		at := slices.IndexFunc(states, fits)
		if at < 0 || !equal(n.Before(), remembered) {
			return fmt.Errorf("notification %d (%d of it) is %s, %s → %s, after %s was notified: no state that was told then gives that", n.ID, i+1, n.Event, show(n.Before()), show(n.After()), show(remembered))
		}
		_, remembered = decide(remembered, ruled(states[at]))
		states = states[at:]
	}
	if event, _ := decide(remembered, ruled(states[len(states)-1])); event != rule.NoEvent {
		return fmt.Errorf("the last state %s was not notified as %s: what was notified last is %s", show(new(ruled(states[len(states)-1]).Values)), event, show(remembered))
	}
	return nil
}

func equal(a, b *rule.Values) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

func show(v *rule.Values) string {
	switch {
	case v == nil:
		return "nothing"
	case v.Priority == nil:
		return fmt.Sprintf("(%s, %s)", v.Severity, v.Status)
	}
	return fmt.Sprintf("(%s, %s, %d)", v.Severity, v.Status, *v.Priority)
}

func (tt *torture) checkObservations(notified map[int64][]dbmodel.Notification) {
	all := tt.plan.states()
	for id, states := range all {
		conditions := tt.plan.places.applied(states[0].ProductID).Conditions
		err := follow(func(remembered *rule.Values, o rule.Observation) (rule.Event, *rule.Values) {
			return rule.Decide(conditions.Matches(o), remembered, o.Values)
		}, states, notified[id])
		if err != nil {
			tt.t.Errorf("observation %d: %v", id, err)
		}
	}
	for id := range notified {
		if all[id] == nil {
			tt.t.Errorf("observation %d is notified and was never told", id)
		}
	}
}

// checkTitles follows titles of one observation, as observations. Of those that several bear, told by several producers, only
// the chain is known, and that there is one where a bearer matches in the end.
func (tt *torture) checkTitles(notified map[string][]dbmodel.Notification) {
	conditions := tt.plan.places.titles.Conditions
	decide := func(remembered *rule.Values, o rule.Observation) (rule.Event, *rule.Values) {
		return rule.DecideTitle(conditions.Matches(o), remembered, o.Values)
	}
	bearers := map[string][][]tasks.Observation{}
	for _, states := range tt.plan.states() {
		bearers[states[0].Title] = append(bearers[states[0].Title], states)
	}
	for title, all := range bearers {
		if len(all) == 1 {
			if err := follow(decide, all[0], notified[title]); err != nil {
				tt.t.Errorf("title %q: %v", title, err)
			}
			continue
		}
		var before *rule.Values
		for _, n := range notified[title] {
			event, _ := decide(before, rule.Observation{Values: *n.After()})
			told := slices.ContainsFunc(slices.Concat(all...), func(o tasks.Observation) bool { return equal(n.After(), new(ruled(o).Values)) })
			if n.Event != event || !equal(n.Before(), before) || !told {
				tt.t.Errorf("title %q: notification %d is %s, %s → %s after %s was notified", title, n.ID, n.Event, show(n.Before()), show(n.After()), show(before))
			}
			before = n.After()
		}
		for _, states := range all {
			if conditions.Matches(ruled(states[len(states)-1])) && before == nil {
				tt.t.Errorf("title %q is not notified", title)
			}
		}
	}
}

// checkGates wants every change, in order.
func (tt *torture) checkGates(notified map[int64][]rule.Event) {
	want, last := map[int64][]rule.Event{}, map[int64]*bool{}
	for _, calls := range tt.plan.told {
		for _, c := range calls {
			if c.gate == 0 {
				continue
			}
			if event := rule.Gate(last[c.gate], c.passed); event != rule.NoEvent {
				want[c.gate] = append(want[c.gate], event)
			}
			last[c.gate] = c.passed
		}
	}
	for id := range producers * productsEach {
		if id := int64(id + 1); !slices.Equal(want[id], notified[id]) {
			tt.t.Errorf("gate of product %d: notified\n%v, want\n%v", id, notified[id], want[id])
		}
	}
}

// checkExceptions wants each exception once, once more after a loss of Redis at the most, and every occurrence counted.
func (tt *torture) checkExceptions(db *dbmodel.DB, notified map[string][]dbmodel.Notification) {
	least, most, counted := 0, 0, 0
	for class, o := range tt.load.exceptions {
		if len(notified[class]) == 0 {
			tt.t.Errorf("exception %s was told %d times and is not notified", class, o.accepted)
		}
		least, most = least+o.accepted, most+o.accepted+o.unanswered
		for i, x := range notified[class] {
			counted += 1 + x.Suppressed
			if i > 0 && !tt.lostBetween(notified[class][i-1].CreatedAt, x.CreatedAt) {
				tt.t.Errorf("exception %s was told %d times and is notified at %s and %s; Redis was not lost in between", class, o.accepted, tt.since(notified[class][i-1].CreatedAt), tt.since(x.CreatedAt))
			}
		}
	}
	var held int
	if err := db.QueryRowContext(context.Background(), "SELECT coalesce(sum(count), 0) FROM suppressions").Scan(&held); err != nil {
		tt.t.Fatal(err)
	}
	if counted += held; counted < least || counted > most {
		tt.t.Errorf("%d occurrences of exceptions are counted, from %d to %d were told", counted, least, most)
	}
	for class := range notified {
		if tt.load.exceptions[class] == nil {
			tt.t.Errorf("exception %s is notified and was never told", class)
		}
	}
}

// lostBetween reports whether Redis has forgotten what it knew at one time by another.
func (tt *torture) lostBetween(known, forgotten time.Time) bool {
	return slices.ContainsFunc(tt.losses, func(at time.Time) bool {
		return at.After(known.Add(-margin)) && at.Before(forgotten)
	})
}
