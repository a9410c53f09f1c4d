package rule_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/rule"
)

func state(s rule.Severity, st rule.Status, priority *int, exploited bool) *rule.Values {
	return &rule.Values{Severity: s, Status: st, Priority: priority, KnownExploited: &exploited}
}

func TestFilterPasses(t *testing.T) {
	t.Parallel()
	critical, medium := state(rule.Critical, rule.Open, nil, false), state(rule.Medium, rule.Open, new(3), false)
	resolved := state(rule.Critical, rule.Resolved, nil, false)
	obs := func(e rule.Event, before, after *rule.Values) rule.Notification {
		return rule.Notification{Type: rule.TypeObservation, Event: e, ParserType: "SCA", Before: before, After: after}
	}
	gate := rule.Notification{Type: rule.TypeSecurityGate, Event: rule.EventFailed}
	exception, task := rule.Notification{Type: rule.TypeException}, rule.Notification{Type: rule.TypeTask}
	for name, c := range map[string]struct {
		f    rule.Filter
		n    rule.Notification
		want bool
	}{
		"nothing set":                     {rule.Filter{}, obs(rule.EventNew, nil, medium), true},
		"type":                            {rule.Filter{Types: []rule.Type{rule.TypeSecurityGate}}, obs(rule.EventNew, nil, medium), false},
		"one of the types":                {rule.Filter{Types: []rule.Type{rule.TypeSecurityGate, rule.TypeObservation}}, gate, true},
		"event":                           {rule.Filter{Events: []rule.Event{rule.EventNew}}, obs(rule.EventDropped, medium, resolved), false},
		"events exclude exceptions":       {rule.Filter{Events: rule.Events}, exception, false},
		"events exclude tasks":            {rule.Filter{Events: rule.Events}, task, false},
		"no events":                       {rule.Filter{}, task, true},
		"parser type":                     {rule.Filter{ParserTypes: []rule.ParserType{"SAST"}}, obs(rule.EventNew, nil, medium), false},
		"gates have no parser type":       {rule.Filter{ParserTypes: []rule.ParserType{"SAST"}}, gate, true},
		"severity":                        {rule.Filter{MinSeverity: rule.High}, obs(rule.EventNew, nil, medium), false},
		"severity before":                 {rule.Filter{MinSeverity: rule.Critical}, obs(rule.EventChanged, critical, medium), true},
		"severity after":                  {rule.Filter{MinSeverity: rule.Critical}, obs(rule.EventChanged, medium, critical), true},
		"severity of what is dropped":     {rule.Filter{MinSeverity: rule.Critical}, obs(rule.EventDropped, critical, medium), true},
		"gates have no values":            {rule.Filter{MinSeverity: rule.Critical, KnownExploited: true}, gate, true},
		"tasks have no values":            {rule.Filter{Statuses: []rule.Status{rule.Open}, MinPriority: new(1)}, task, true},
		"all conditions, no one state":    {rule.Filter{MinSeverity: rule.Critical, MinPriority: new(5)}, obs(rule.EventChanged, critical, medium), false},
		"empty statuses mean all":         {rule.Filter{MinSeverity: rule.Critical}, obs(rule.EventNew, nil, resolved), true},
		"status before":                   {rule.Filter{Statuses: []rule.Status{rule.Open}}, obs(rule.EventDropped, critical, resolved), true},
		"priority":                        {rule.Filter{MinPriority: new(3)}, obs(rule.EventNew, nil, medium), true},
		"no priority":                     {rule.Filter{MinPriority: new(99)}, obs(rule.EventNew, nil, critical), false},
		"not known exploited":             {rule.Filter{KnownExploited: true}, obs(rule.EventNew, nil, critical), false},
		"known exploited since":           {rule.Filter{KnownExploited: true}, obs(rule.EventChanged, medium, state(rule.Medium, rule.Open, nil, true)), true},
		"exploited then, critical before": {rule.Filter{KnownExploited: true, MinSeverity: rule.High}, obs(rule.EventChanged, critical, state(rule.Medium, rule.Open, nil, true)), false},
	} {
		if got := c.f.Passes(&c.n); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestFilterCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		f    rule.Filter
		want []rule.Refusal
	}{
		"nothing":                            {rule.Filter{}, nil},
		"critical, no statuses":              {rule.Filter{MinSeverity: rule.Critical}, nil},
		"exceptions with a severity":         {rule.Filter{Types: []rule.Type{rule.TypeException}, MinSeverity: rule.Critical}, nil},
		"passed of gates and observations":   {rule.Filter{Types: []rule.Type{rule.TypeObservation, rule.TypeSecurityGate}, Events: []rule.Event{rule.EventPassed}}, nil},
		"one of the events is impossible":    {rule.Filter{Types: []rule.Type{rule.TypeObservation}, Events: []rule.Event{rule.EventPassed, rule.EventNew}}, nil},
		"all types have some event together": {rule.Filter{Events: []rule.Event{rule.EventNoResult}}, nil},
		"passed of observations": {
			rule.Filter{Types: []rule.Type{rule.TypeObservation}, Events: []rule.Event{rule.EventPassed}},
			[]rule.Refusal{{"events", "no notification of the chosen types has such an event: observation has new, changed, dropped"}},
		},
		"dropped of titles and tasks": {
			rule.Filter{Types: []rule.Type{rule.TypeTask, rule.TypeObservationTitle}, Events: []rule.Event{rule.EventDropped}},
			[]rule.Refusal{{"events", "no notification of the chosen types has such an event: observation_title has new, changed; task has none"}},
		},
		"words that do not exist": {
			rule.Filter{Types: []rule.Type{"x"}, Events: []rule.Event{""}, ParserTypes: []rule.ParserType{"sca"}, MinSeverity: "critical", Statuses: []rule.Status{"open"}, MinPriority: new(100)},
			[]rule.Refusal{
				{"types", "must be a list out of " + strings.Trim(strings.ReplaceAll(fmt.Sprint(rule.Types), " ", ", "), "[]")},
				{"events", "must be a list out of new, changed, dropped, passed, failed, none"},
				{"parser_types", "must be a list out of SCA, SAST, DAST, IAST, Secrets, Infrastructure, Other, Manual"},
				{"min_severity", "must be one of Critical, High, Medium, Low, None, Unknown"},
				{"statuses", "must be a list out of Open, Affected, In review, Resolved, Duplicate, False positive, Not affected, Not security, Risk accepted"},
				{"min_priority", "must be from 1 to 99"},
			},
		},
		"priority 0": {rule.Filter{MinPriority: new(0)}, []rule.Refusal{{"min_priority", "must be from 1 to 99"}}},
	} {
		if diff := cmp.Diff(c.want, c.f.Check()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// everyNotification are notifications of every type with each of its events, and with values of every kind.
func everyNotification() []rule.Notification {
	states := []*rule.Values{nil}
	for _, s := range rule.Severities {
		for _, st := range []rule.Status{rule.Open, rule.InReview, rule.Resolved, rule.RiskAccepted} {
			for _, p := range []*int{nil, new(1), new(50), new(99)} {
				states = append(states, state(s, st, p, false), state(s, st, p, true))
			}
		}
	}
	var out []rule.Notification
	for _, typ := range rule.Types {
		if typ == rule.TypeObservation || typ == rule.TypeObservationTitle {
			continue // have values, see below
		}
		events := typ.Events()
		if events == nil {
			events = []rule.Event{rule.NoEvent}
		}
		for _, e := range events {
			out = append(out, rule.Notification{Type: typ, Event: e})
		}
	}
	add := func(typ rule.Type, e rule.Event, before, after *rule.Values) {
		for _, p := range []rule.ParserType{"SCA", "SAST", "Manual"} {
			out = append(out, rule.Notification{Type: typ, Event: e, ParserType: p, Before: before, After: after})
		}
	}
	for i, after := range states[1:] {
		before := states[1+(i*37+11)%(len(states)-1)] // not all pairs: that would be 37,000
		for _, typ := range []rule.Type{rule.TypeObservation, rule.TypeObservationTitle} {
			add(typ, rule.EventNew, nil, after)
			add(typ, rule.EventChanged, before, after)
		}
		add(rule.TypeObservation, rule.EventDropped, before, after)
	}
	return out
}

func some[T any](r *rand.Rand, all []T) []T {
	var out []T
	for _, i := range r.Perm(len(all))[:r.IntN(3)] {
		out = append(out, all[i])
	}
	return out
}

// TestFilterByBruteForce compares filters with sets of what they allow, and Check with a search for anything that passes.
func TestFilterByBruteForce(t *testing.T) {
	t.Parallel()
	all := everyNotification()
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 1000 {
		f := rule.Filter{
			Types: some(r, rule.Types), Events: some(r, rule.Events), ParserTypes: some(r, []rule.ParserType{"SCA", "SAST", "Manual"}),
			Statuses: some(r, []rule.Status{rule.Open, rule.InReview, rule.Resolved, rule.RiskAccepted}), KnownExploited: r.IntN(4) == 0,
		}
		if r.IntN(2) == 0 {
			f.MinSeverity = rule.Severities[r.IntN(len(rule.Severities))]
		}
		if r.IntN(2) == 0 {
			f.MinPriority = new([]int{1, 2, 50, 99}[r.IntN(4)])
		}
		possible := false
		for i := range all {
			got := f.Passes(&all[i])
			possible = possible || got
			if want := allowed(f, all[i]); got != want {
				t.Fatalf("%+v of %+v: %v, want %v", f, all[i], got, want)
			}
		}
		refusals := f.Check()
		if possible != (len(refusals) == 0) {
			t.Fatalf("%+v passes something: %v, but %v", f, possible, refusals)
		}
		if !possible {
			refused++
		}
	}
	if refused < 50 || refused > 950 {
		t.Errorf("%d of 1000 filters can pass nothing", refused)
	}
}

// allowed is the contract's text, with sets.
func allowed(f rule.Filter, n rule.Notification) bool {
	if len(f.Types) > 0 && !slices.Contains(f.Types, n.Type) {
		return false
	}
	if len(f.Events) > 0 && (n.Event == "" || !slices.Contains(f.Events, n.Event)) {
		return false
	}
	if n.Type != rule.TypeObservation && n.Type != rule.TypeObservationTitle {
		return true
	}
	if len(f.ParserTypes) > 0 && !slices.Contains(f.ParserTypes, n.ParserType) {
		return false
	}
	set := f.MinSeverity != "" || len(f.Statuses) > 0 || f.MinPriority != nil || f.KnownExploited
	for _, s := range []*rule.Values{n.Before, n.After} {
		if s == nil {
			continue
		}
		severities := rule.Severities
		if f.MinSeverity != "" {
			severities = severities[:slices.Index(severities, f.MinSeverity)+1]
		}
		statuses := rule.Statuses
		if len(f.Statuses) > 0 {
			statuses = f.Statuses
		}
		urgent := f.MinPriority == nil
		if f.MinPriority != nil && s.Priority != nil {
			for p := 1; p <= *f.MinPriority; p++ {
				urgent = urgent || p == *s.Priority
			}
		}
		if slices.Contains(severities, s.Severity) && slices.Contains(statuses, s.Status) && urgent && (s.Exploited() || !f.KnownExploited) {
			return true
		}
	}
	return !set
}

func TestAtOnce(t *testing.T) {
	t.Parallel()
	high, low := state(rule.High, rule.Open, nil, false), state(rule.Low, rule.Open, nil, false)
	obs := func(before, after *rule.Values) rule.Notification {
		return rule.Notification{Type: rule.TypeObservation, Before: before, After: after}
	}
	for name, c := range map[string]struct {
		least rule.Severity
		n     rule.Notification
		want  bool
	}{
		"not set":                  {"", obs(nil, high), false},
		"not set, failed gate":     {"", rule.Notification{Type: rule.TypeSecurityGate, Event: rule.EventFailed}, false},
		"as bad":                   {rule.High, obs(nil, high), true},
		"worse":                    {rule.Medium, obs(low, high), true},
		"less bad":                 {rule.Critical, obs(nil, high), false},
		"what counts is now":       {rule.High, obs(high, low), false},
		"nothing now":              {rule.High, obs(high, nil), true},
		"failed gate":              {rule.Critical, rule.Notification{Type: rule.TypeSecurityGate, Event: rule.EventFailed}, true},
		"passed gate":              {rule.SeverityUnknown, rule.Notification{Type: rule.TypeSecurityGate, Event: rule.EventPassed}, false},
		"exceptions have no value": {rule.SeverityUnknown, rule.Notification{Type: rule.TypeException}, false},
	} {
		if got := (rule.AtOnce{MinSeverity: c.least}).Takes(&c.n); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestHeld(t *testing.T) {
	t.Parallel()
	next := time.Date(2026, 3, 29, 6, 0, 0, 0, time.UTC)
	s := &rule.Subscription{Schedule: "0 8 * * *", Timezone: "Europe/Berlin", NextSlot: &next, Reported: 7}
	for id, want := range map[int64]string{
		0: "It is held for the digest of 2026-03-29 08:00 Europe/Berlin.",
		7: "It was due with an earlier digest of the subscription.",
		8: "It is held for the digest of 2026-03-29 08:00 Europe/Berlin.",
	} {
		if got := s.WaitsFor(&rule.Notification{ID: id}).Sentence(); got != want {
			t.Errorf("notification %d: %s", id, got)
		}
	}
}
