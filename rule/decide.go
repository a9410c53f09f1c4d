package rule

import "slices"

// Observation is the part of an observation that decides whether it matches, and whether its title does.
type Observation struct {
	Values
	ParserType ParserType
}

// Matches reports whether an observation is worth knowing under c.
func (c Conditions) Matches(o Observation) bool {
	worthKnowing := c.KnownExploited && o.Exploited() || c.narrows() && c.severityMet(o.Severity) &&
		c.priorityMet(o.Priority)
	return worthKnowing && c.statusMet(o.Status) && c.parserTypeMet(o.ParserType)
}

func (c Conditions) severityMet(s Severity) bool {
	return c.MinSeverity == "" || s.Rank() <= c.MinSeverity.Rank()
}

func (c Conditions) statusMet(s Status) bool {
	if len(c.Statuses) == 0 {
		return s.Active()
	}
	return slices.Contains(c.Statuses, s)
}

func (c Conditions) priorityMet(p *int) bool {
	return c.MinPriority == nil || p != nil && *p <= *c.MinPriority
}

func (c Conditions) parserTypeMet(p ParserType) bool {
	return c.ParserType == "" || p == c.ParserType
}

// Outcome says what must be notified of an observation, and what is remembered of it afterwards. remembered is what was
// last notified, nil for nothing.
//
//	matches  remembered            event    remembered afterwards
//	yes      nothing               new      the values
//	yes      the same values       -        the same
//	yes      other values          changed  the values
//	no       something             dropped  nothing
//	no       nothing               -        nothing
func Outcome(matches bool, remembered *Values, now Values) (Event, *Values) {
	switch {
	case matches && remembered == nil:
		return EventNew, &now
	case matches && !remembered.Equal(now):
		return EventChanged, &now
	case !matches && remembered != nil:
		return EventDropped, nil
	}
	return NoEvent, remembered
}

// Decide is Outcome for an observation under c. Where KnownExploited is set, becoming known exploited is a change, too.
func (c Conditions) Decide(remembered *Values, o Observation) (Event, *Values) {
	event, then := Outcome(c.Matches(o), remembered, o.Values)
	if event == NoEvent && remembered != nil && c.KnownExploited && o.Exploited() && !remembered.Exploited() {
		return EventChanged, &o.Values
	}
	return event, then
}

// DecideTitle is Outcome for titles: a title is never dropped, and what is remembered of one that does not match stays.
func DecideTitle(matches bool, remembered *Values, now Values) (Event, *Values) {
	if !matches {
		return NoEvent, remembered
	}
	return Outcome(true, remembered, now)
}

// Gate says what must be notified when a security gate goes from before to after; nil means that there is none.
func Gate(before, after *bool) Event {
	if now := GateState(after); now != GateState(before) {
		return now
	}
	return NoEvent
}

// GateState is the event that leads to this value of a security gate; nil means that there is none.
func GateState(passed *bool) Event {
	switch {
	case passed == nil:
		return EventNoResult
	case *passed:
		return EventPassed
	}
	return EventFailed
}

// Passed is the value of a security gate after e, nil where there is none: the reverse of GateState.
func (e Event) Passed() *bool {
	if e != EventPassed && e != EventFailed {
		return nil
	}
	return new(e == EventPassed)
}
