package rule

import (
	"slices"
	"strconv"
	"strings"
)

// Filter says which notifications a subscription takes. What is empty passes everything, so the zero value does. A
// filter only narrows: what is notified at all is decided by Conditions.Decide, DecideTitle and Gate.
type Filter struct {
	Types       []Type
	Events      []Event
	ParserTypes []ParserType

	// The values before or those after the notification must meet all of these that are set.
	MinSeverity    Severity
	Statuses       []Status
	MinPriority    *int
	KnownExploited bool
}

// Passes reports whether f takes n. Only Types and Events decide on a notification without values, such as one of a
// gate. A notification without an event passes only where Events is empty.
func (f Filter) Passes(n *Notification) bool {
	if !oneOf(f.Types, n.Type) || !oneOf(f.Events, n.Event) {
		return false
	}
	if !n.Type.hasValues() {
		return true
	}
	return oneOf(f.ParserTypes, n.ParserType) && (f.limitsNothing() || f.meets(n.Before) || f.meets(n.After))
}

func (f Filter) limitsNothing() bool {
	return f.MinSeverity == "" && len(f.Statuses) == 0 && f.MinPriority == nil && !f.KnownExploited
}

func (f Filter) meets(v *Values) bool {
	if v == nil {
		return false
	}
	c := Conditions{MinSeverity: f.MinSeverity, MinPriority: f.MinPriority}
	return c.severityMet(v.Severity) && c.priorityMet(v.Priority) && oneOf(f.Statuses, v.Status) &&
		(!f.KnownExploited || v.Exploited())
}

// oneOf reports whether list has v. An empty list stands for everything.
func oneOf[T comparable](list []T, v T) bool { return len(list) == 0 || slices.Contains(list, v) }

// Refusal says why the value of a field, of a subscription or of a schedule, cannot be accepted.
type Refusal struct {
	Field  string // as in JSON
	Reason string // what the field must be, or what is wrong with it
}

// Check returns what is wrong with f: words that do not exist, and types and events that no notification has together.
func (f Filter) Check() []Refusal {
	var out []Refusal
	refuse := func(field, reason string) { out = append(out, Refusal{Field: field, Reason: reason}) }
	if !known(f.Types, Types) {
		refuse("types", mustBeOutOf(Types))
	}
	if !known(f.Events, Events) {
		refuse("events", mustBeOutOf(Events))
	}
	if !known(f.ParserTypes, ParserTypes) {
		refuse("parser_types", mustBeOutOf(ParserTypes))
	}
	if f.MinSeverity != "" && !f.MinSeverity.Valid() {
		refuse("min_severity", "must be one of "+Joined(Severities))
	}
	if !known(f.Statuses, Statuses) {
		refuse("statuses", mustBeOutOf(Statuses))
	}
	if p := f.MinPriority; p != nil && (*p < MinPriority || *p > MaxPriority) {
		refuse("min_priority", "must be from "+strconv.Itoa(MinPriority)+" to "+strconv.Itoa(MaxPriority))
	}
	if len(out) == 0 && !f.possible() {
		refuse("events", "no notification of the chosen types has such an event: "+f.possibleEvents())
	}
	return out
}

// possible reports whether some notification passes. Limits of values never stand in the way: an observation can have
// any values.
func (f Filter) possible() bool {
	if len(f.Events) == 0 {
		return true
	}
	return slices.ContainsFunc(Types, func(t Type) bool {
		return oneOf(f.Types, t) && slices.ContainsFunc(t.Events(), func(e Event) bool {
			return slices.Contains(f.Events, e)
		})
	})
}

// possibleEvents says which events the types have.
func (f Filter) possibleEvents() string {
	var out []string
	for _, t := range Types {
		if !oneOf(f.Types, t) {
			continue
		}
		if events := t.Events(); len(events) > 0 {
			out = append(out, string(t)+" has "+Joined(events))
		} else {
			out = append(out, string(t)+" has none")
		}
	}
	return strings.Join(out, "; ")
}

func known[T comparable](list, all []T) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !slices.Contains(all, v) })
}

func mustBeOutOf[T ~string](all []T) string { return "must be a list out of " + Joined(all) }
