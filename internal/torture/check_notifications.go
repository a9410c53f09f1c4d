package torture

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// states returns the reported states of each observation, in order.
func (p *plan) states() map[int64][]dbmodel.Observation {
	out := map[int64][]dbmodel.Observation{}
	for _, calls := range p.calls {
		for _, c := range calls {
			for _, o := range c.observations {
				out[o.ID] = append(out[o.ID], o)
			}
		}
	}
	return out
}

// ruled returns an observation as the rules see it.
func ruled(o dbmodel.Observation) rule.Observation {
	v := rule.Values{Severity: o.Severity, Status: o.Status, Priority: o.Priority}
	return rule.Observation{Values: v, ParserType: o.ParserType}
}

// decision is what the rules give for the state of an observation and the values that were last notified.
type decision func(remembered *rule.Values, o rule.Observation) (rule.Event, *rule.Values)

// explain checks the notifications about one thing: each must be what the rules give for a state that was reported
// after the one that explains the notification before it, and after the last notification the last state must give
// nothing.
func explain(decide decision, states []dbmodel.Observation, notified []dbmodel.Notification) error {
	var remembered *rule.Values
	for i := range notified {
		n := &notified[i]
		fits := func(o dbmodel.Observation) bool {
			event, _ := decide(remembered, ruled(o))
			return event == n.Event && equal(n.After(), new(ruled(o).Values))
		}
		at := slices.IndexFunc(states, fits)
		if at < 0 || !equal(n.Before(), remembered) {
			return fmt.Errorf("notification %d (number %d) is %s, %s → %s, after %s was notified: no later state gives that",
				n.ID, i+1, n.Event, show(n.Before()), show(n.After()), show(remembered))
		}
		_, remembered = decide(remembered, ruled(states[at]))
		states = states[at:]
	}
	last := ruled(states[len(states)-1])
	if event, _ := decide(remembered, last); event != rule.NoEvent {
		return fmt.Errorf("the last state %s was not notified as %s: the last notified values are %s",
			show(&last.Values), event, show(remembered))
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

func (r *run) checkObservations(notified map[int64][]dbmodel.Notification) {
	all := r.plan.states()
	for id, states := range all {
		conditions := r.plan.installation.applied(states[0].ProductID).Conditions
		err := explain(func(remembered *rule.Values, o rule.Observation) (rule.Event, *rule.Values) {
			return rule.Outcome(conditions.Matches(o), remembered, o.Values)
		}, states, notified[id])
		if err != nil {
			r.t.Errorf("observation %d: %v", id, err)
		}
	}
	for id := range notified {
		if all[id] == nil {
			r.t.Errorf("observation %d is notified and was never reported", id)
		}
	}
}

// checkTitles checks the titles of one observation like observations. The order in which several producers report the
// observations of one title is unknown: there each notification must continue the one before it, and there must be one
// where an observation matches in the end.
func (r *run) checkTitles(notified map[string][]dbmodel.Notification) {
	conditions := r.plan.installation.titles.Conditions
	decide := func(remembered *rule.Values, o rule.Observation) (rule.Event, *rule.Values) {
		return rule.DecideTitle(conditions.Matches(o), remembered, o.Values)
	}
	byTitle := map[string][][]dbmodel.Observation{}
	for _, states := range r.plan.states() {
		byTitle[states[0].Title] = append(byTitle[states[0].Title], states)
	}
	for title, all := range byTitle {
		if len(all) == 1 {
			if err := explain(decide, all[0], notified[title]); err != nil {
				r.t.Errorf("title %q: %v", title, err)
			}
			continue
		}
		last := r.checkSharedTitle(decide, title, slices.Concat(all...), notified[title])
		for _, states := range all {
			if conditions.Matches(ruled(states[len(states)-1])) && last == nil {
				r.t.Errorf("title %q is not notified", title)
			}
		}
	}
}

// checkSharedTitle checks that each notification of a title continues the one before it and has values that were
// reported. It returns the last notified values.
func (r *run) checkSharedTitle(
	decide decision, title string, states []dbmodel.Observation, notified []dbmodel.Notification,
) (last *rule.Values) {
	for _, n := range notified {
		event, _ := decide(last, rule.Observation{Values: *n.After()})
		reported := slices.ContainsFunc(states, func(o dbmodel.Observation) bool {
			return equal(n.After(), new(ruled(o).Values))
		})
		if n.Event != event || !equal(n.Before(), last) || !reported {
			r.t.Errorf("title %q: notification %d is %s, %s → %s after %s was notified",
				title, n.ID, n.Event, show(n.Before()), show(n.After()), show(last))
		}
		last = n.After()
	}
	return last
}

// checkGates checks that every change is notified, in order.
func (r *run) checkGates(notified map[int64][]rule.Event) {
	want, last := map[int64][]rule.Event{}, map[int64]*bool{}
	for _, calls := range r.plan.calls {
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
			r.t.Errorf("gate of product %d: notified\n%v, want\n%v", id, notified[id], want[id])
		}
	}
}

// checkExceptions checks that each exception is notified once, and once more at most after each loss of Redis, and that
// every occurrence is counted.
func (r *run) checkExceptions(db *dbmodel.DB, notified map[string][]dbmodel.Notification) {
	least, most, counted := 0, 0, 0
	for class, o := range r.load.exceptions {
		if len(notified[class]) == 0 {
			r.t.Errorf("exception %s was reported %d times and is not notified", class, o.accepted)
		}
		least, most = least+o.accepted, most+o.accepted+o.unanswered
		for i, x := range notified[class] {
			counted += 1 + x.Suppressed
			if i > 0 && !r.lostBetween(notified[class][i-1].CreatedAt, x.CreatedAt) {
				r.t.Errorf("exception %s was reported %d times and notified at %s and %s; Redis was not lost in between",
					class, o.accepted, r.since(notified[class][i-1].CreatedAt), r.since(x.CreatedAt))
			}
		}
	}
	var suppressed int
	err := db.QueryRowContext(context.Background(), "SELECT coalesce(sum(count), 0) FROM suppressions").Scan(&suppressed)
	if err != nil {
		r.t.Fatal(err)
	}
	if counted += suppressed; counted < least || counted > most {
		r.t.Errorf("%d occurrences of exceptions are counted, from %d to %d were reported", counted, least, most)
	}
	for class := range notified {
		if r.load.exceptions[class] == nil {
			r.t.Errorf("exception %s is notified and was never reported", class)
		}
	}
}

// lostBetween reports whether Redis lost its data between two times.
func (r *run) lostBetween(begin, end time.Time) bool {
	return slices.ContainsFunc(r.losses, func(at time.Time) bool {
		return at.After(begin.Add(-margin)) && at.Before(end)
	})
}
