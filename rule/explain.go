package rule

import "slices"

// Condition is one line of an explanation.
type Condition struct {
	Name   string        `json:"name"`   // min_severity, statuses, min_priority, known_exploited or parser_type
	Limit  any           `json:"limit"`  // what the setting asks for; nil where it is not set
	Source SettingSource `json:"source"` // where the setting comes from; empty where it is not set
	Value  any           `json:"value"`  // what the observation has
	Met    bool          `json:"met"`
}

// Names of conditions.
const (
	minSeverity    = "min_severity"
	statuses       = "statuses"
	minPriority    = "min_priority"
	knownExploited = "known_exploited"
	parserType     = "parser_type"
)

// Explanation says why an observation, or its title, is or is not notified.
type Explanation struct {
	Conditions []Condition `json:"conditions"`
	IsSet      bool        `json:"is_set"` // at least one condition is set; else nothing matches
	Matches    bool        `json:"matches"`
	Remembered *Values     `json:"remembered"`
	Event      Event       `json:"event"` // what an evaluation would notify now; empty: nothing
}

// Unmet returns the conditions because of which an observation does not match. An observation that is known to be
// exploited needs neither a severity nor a priority; the condition known_exploited is returned where it would have
// made the difference.
func (e Explanation) Unmet() []Condition {
	var out []Condition
	var exploited *Condition
	others := false // another condition is set
	for i := range e.Conditions {
		c := &e.Conditions[i]
		if c.Name == knownExploited {
			exploited = c
			continue
		}
		others = others || c.Limit != nil
		if !c.Met {
			out = append(out, *c)
		}
	}
	widened := func(c Condition) bool { return c.Name == minSeverity || c.Name == minPriority }
	switch {
	case exploited == nil:
	case exploited.Met:
		out = slices.DeleteFunc(out, widened)
	case !others || slices.ContainsFunc(out, widened):
		out = append(out, *exploited)
	}
	return out
}

// Explain says what Decide would do with an observation under the settings that apply, and why.
func Explain(a Applied, remembered *Values, o Observation) Explanation {
	e := explain(a, remembered, o)
	if a.Conditions.KnownExploited {
		e.Conditions = append(e.Conditions, Condition{
			Name: knownExploited, Limit: true, Source: a.From.KnownExploited, Value: unlessNil(o.KnownExploited),
			Met: o.Exploited(),
		})
	}
	e.Event, _ = a.Conditions.Decide(remembered, o)
	return e
}

// ExplainTitle is Explain for the title of an observation, with the global settings.
func ExplainTitle(a Applied, remembered *Values, o Observation) Explanation {
	e := explain(a, remembered, o)
	e.Conditions = append(e.Conditions, Condition{
		Name: parserType, Limit: unlessZero(a.Conditions.ParserType), Source: a.From.ParserType,
		Value: o.ParserType, Met: a.Conditions.parserTypeMet(o.ParserType),
	})
	e.Event, _ = DecideTitle(e.Matches, remembered, o.Values)
	return e
}

func explain(a Applied, remembered *Values, o Observation) Explanation {
	c := a.Conditions
	var limit any // of statuses
	if len(c.Statuses) > 0 {
		limit = c.Statuses
	}
	return Explanation{
		Conditions: []Condition{
			{
				Name: minSeverity, Limit: unlessZero(c.MinSeverity), Source: a.From.MinSeverity, Value: o.Severity,
				Met: c.severityMet(o.Severity),
			},
			{Name: statuses, Limit: limit, Source: a.From.Statuses, Value: o.Status, Met: c.statusMet(o.Status)},
			{
				Name: minPriority, Limit: unlessNil(c.MinPriority), Source: a.From.MinPriority, Value: unlessNil(o.Priority),
				Met: c.priorityMet(o.Priority),
			},
		},
		IsSet:      c.IsSet(),
		Matches:    c.Matches(o),
		Remembered: remembered,
	}
}

func unlessZero[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

func unlessNil[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}
