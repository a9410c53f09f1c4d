package rule_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/rule"
)

func observation(s rule.Severity, st rule.Status, priority *int) rule.Observation {
	return rule.Observation{Values: rule.Values{Severity: s, Status: st, Priority: priority}, ParserType: "SCA"}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		conditions rule.Conditions
		o          rule.Observation
		want       bool
	}{
		"nothing set":                 {rule.Conditions{}, observation(rule.Critical, rule.Open, new(1)), false},
		"as bad":                      {rule.Conditions{MinSeverity: rule.High}, observation(rule.High, rule.Open, nil), true},
		"worse":                       {rule.Conditions{MinSeverity: rule.High}, observation(rule.Critical, rule.Open, nil), true},
		"less bad":                    {rule.Conditions{MinSeverity: rule.High}, observation(rule.Medium, rule.Open, nil), false},
		"unknown is least":            {rule.Conditions{MinSeverity: rule.SeverityUnknown}, observation(rule.SeverityUnknown, rule.Open, nil), true},
		"none is above unknown":       {rule.Conditions{MinSeverity: rule.SeverityNone}, observation(rule.SeverityUnknown, rule.Open, nil), false},
		"inactive":                    {rule.Conditions{MinSeverity: rule.Low}, observation(rule.Critical, rule.Resolved, nil), false},
		"in review is active":         {rule.Conditions{MinSeverity: rule.Low}, observation(rule.Critical, rule.InReview, nil), true},
		"inactive but asked for":      {rule.Conditions{Statuses: []rule.Status{rule.Resolved}}, observation(rule.Low, rule.Resolved, nil), true},
		"active but not asked for":    {rule.Conditions{Statuses: []rule.Status{rule.Resolved}}, observation(rule.Low, rule.Open, nil), false},
		"priority on the edge":        {rule.Conditions{MinPriority: new(5)}, observation(rule.Low, rule.Open, new(5)), true},
		"priority behind":             {rule.Conditions{MinPriority: new(5)}, observation(rule.Low, rule.Open, new(6)), false},
		"no priority":                 {rule.Conditions{MinPriority: new(99)}, observation(rule.Low, rule.Open, nil), false},
		"parser type":                 {rule.Conditions{ParserType: "SCA"}, observation(rule.Low, rule.Open, nil), true},
		"other parser type":           {rule.Conditions{ParserType: "DAST"}, observation(rule.Low, rule.Open, nil), false},
		"parser type of the inactive": {rule.Conditions{ParserType: "SCA"}, observation(rule.Low, rule.Resolved, nil), false},
	} {
		if got := c.conditions.Matches(c.o); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

var (
	own    = rule.Holder{Kind: rule.HolderProduct, ID: 1}
	groups = rule.Holder{Kind: rule.HolderGroup, ID: 1}
)

// of is one contact of a holder.
func of(h rule.Holder, address string, target int64) []rule.Contact {
	return []rule.Contact{{Holder: h, Address: address, Target: target}}
}

func TestEffective(t *testing.T) {
	t.Parallel()
	group := rule.Settings{
		Conditions: rule.Conditions{MinSeverity: rule.Low, Statuses: []rule.Status{rule.Open}, MinPriority: new(3)},
		Contacts:   rule.Contacts{rule.Email: of(groups, "g@example.com", 3), rule.MSTeams: of(groups, "", 1), rule.Slack: of(groups, "", 2)}, Paused: true,
	}
	product := rule.Settings{Conditions: rule.Conditions{MinSeverity: rule.High}, Contacts: rule.Contacts{rule.Slack: of(own, "", 9)}}
	want := rule.Applied{
		Conditions: rule.Conditions{MinSeverity: rule.High, Statuses: []rule.Status{rule.Open}, MinPriority: group.Conditions.MinPriority},
		Contacts:   rule.Contacts{rule.Email: of(groups, "g@example.com", 3), rule.MSTeams: of(groups, "", 1), rule.Slack: of(own, "", 9)}, Paused: true,
		From: rule.SettingSources{
			MinSeverity: rule.FromProduct, Statuses: rule.FromGroup, MinPriority: rule.FromGroup,
		},
	}
	if diff := cmp.Diff(want, rule.Effective(product, &group)); diff != "" {
		t.Errorf("with a group (-want +got):\n%s", diff)
	}
	if got := rule.Effective(rule.Settings{}, nil); got.Conditions.IsSet() || got.From != (rule.SettingSources{}) {
		t.Errorf("nothing set: %+v", got)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]string{
		"":                                   nil,
		" , ":                                nil,
		"a@x.com":                            {"a@x.com"},
		"a@x.com, B@x.com ,A@X.com,,b@x.com": {"a@x.com", "B@x.com"},
	} {
		if diff := cmp.Diff(want, rule.Addresses(list)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", list, diff)
		}
	}
}

func TestCompareWorstFirst(t *testing.T) {
	t.Parallel()
	inOrder := []rule.Values{
		{Severity: rule.Critical, Priority: new(9)}, {Severity: rule.Critical}, {Severity: rule.High, Priority: new(1)}, {Severity: rule.SeverityUnknown},
	}
	for i := range inOrder {
		for j := range inOrder {
			if got := inOrder[i].Compare(inOrder[j]); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("compare %d with %d: %d", i, j, got)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	a := rule.Effective(rule.Settings{}, &rule.Settings{Conditions: rule.Conditions{MinSeverity: rule.High}})
	e := rule.Explain(a, nil, observation(rule.Medium, rule.Open, nil))
	want := rule.Explanation{IsSet: true, Conditions: []rule.Condition{
		{Name: "min_severity", Limit: rule.High, Source: rule.FromGroup, Value: rule.Medium},
		{Name: "statuses", Value: rule.Open, Met: true},
		{Name: "min_priority", Met: true},
	}}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	dropped := rule.Explain(a, &rule.Values{Severity: rule.High}, observation(rule.Medium, rule.Open, nil))
	if dropped.Event != rule.EventDropped {
		t.Errorf("event %q, want dropped", dropped.Event)
	}
	title := rule.ExplainTitle(rule.Global(rule.Conditions{ParserType: "DAST"}, rule.Contacts{}), &rule.Values{}, observation(rule.Medium, rule.Open, nil))
	if last := title.Conditions[3]; title.Event != rule.NoEvent || last.Met || last.Source != rule.FromSettings {
		t.Errorf("title: %+v", title)
	}
}

// FuzzDecide checks what must hold for all values: a match is remembered, the rest is forgotten, and an evaluation that is
// repeated notifies nothing.
func FuzzDecide(f *testing.F) {
	f.Add(true, uint8(0), uint8(0), 1, true, uint8(1), uint8(2), 0)
	f.Fuzz(func(t *testing.T, matches bool, s1, st1 uint8, p1 int, had bool, s2, st2 uint8, p2 int) {
		now := values(s1, st1, p1)
		var before *rule.Values
		if had {
			v := values(s2, st2, p2)
			before = &v
		}
		event, after := rule.Outcome(matches, before, now)
		if matches != (after != nil) {
			t.Fatalf("matches %v, remembered %v", matches, after)
		}
		if (event == rule.EventNew) != (matches && before == nil) || (event == rule.EventDropped) != (!matches && before != nil) {
			t.Fatalf("event %q for matches %v, remembered %v", event, matches, before)
		}
		if again, _ := rule.Outcome(matches, after, now); again != rule.NoEvent {
			t.Fatalf("notified twice: %q", again)
		}
	})
}

func values(s, st uint8, p int) rule.Values {
	v := rule.Values{Severity: rule.Severities[int(s)%len(rule.Severities)], Status: rule.Statuses[int(st)%len(rule.Statuses)]}
	if p != 0 {
		v.Priority = &p
	}
	return v
}
