package rule

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Notification is what filters and net changes read of a stored notification.
type Notification struct {
	ID      int64
	Type    Type
	Event   Event
	Product int64 // 0: of no product
	Thing   int64 // of observations, titles and gates: which one; unique within the type or, of titles, with Name

	// Of observations and titles only.
	ParserType ParserType
	Before     *Values // what was last notified; nil for nothing
	After      *Values // what is now

	// Of gates only: the state before the change. NoEvent is EventNone.
	GateBefore Event

	Name        string // of titles, exceptions and tasks only
	Occurrences int    // of exceptions and tasks only: itself and those that were held back before it

	// HeldBack: a pause held it back, so that nothing of it went at once.
	HeldBack bool
	// Sent: the subscription that asks received it at once; false where nobody asked.
	Sent bool
}

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

// Passes reports whether f takes n. What has no values, such as a gate, passes ParserTypes and all conditions on
// values; what has no event passes only where Events is empty.
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

// oneOf reports whether list has v. An empty list has everything.
func oneOf[T comparable](list []T, v T) bool { return len(list) == 0 || slices.Contains(list, v) }

// Refusal is a field of a subscription that cannot be accepted.
type Refusal struct {
	Field  string // as in JSON
	Reason string // what the field must be
}

// Check returns what is wrong with f: words that do not exist, and types and events that no notification has together.
func (f Filter) Check() []Refusal {
	var out []Refusal
	refuse := func(field, reason string) { out = append(out, Refusal{Field: field, Reason: reason}) }
	if !known(f.Types, Types) {
		refuse("types", mustBe(Types))
	}
	if !known(f.Events, Events) {
		refuse("events", mustBe(Events))
	}
	if !known(f.ParserTypes, ParserTypes) {
		refuse("parser_types", mustBe(ParserTypes))
	}
	if f.MinSeverity != "" && !f.MinSeverity.Valid() {
		refuse("min_severity", mustBe(Severities))
	}
	if !known(f.Statuses, Statuses) {
		refuse("statuses", mustBe(Statuses))
	}
	if p := f.MinPriority; p != nil && (*p < MinPriority || *p > MaxPriority) {
		refuse("min_priority", "must be from "+strconv.Itoa(MinPriority)+" to "+strconv.Itoa(MaxPriority))
	}
	if len(out) == 0 && !f.possible() {
		refuse("events", "no notification of the chosen types has such an event: "+f.possibleEvents())
	}
	return out
}

// possible reports whether some notification passes. Values never stand in the way: every observation may take them.
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
			out = append(out, string(t)+" has "+words(events))
		} else {
			out = append(out, string(t)+" has none")
		}
	}
	return strings.Join(out, "; ")
}

func known[T comparable](list, all []T) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !slices.Contains(all, v) })
}

func mustBe[T ~string](all []T) string { return "must be of " + words(all) }

func words[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}

// AtOnce says which notifications of a scheduled subscription do not wait for its slot: those with a severity of at
// least MinSeverity and, where that is set, failed gates. The zero value lets everything wait.
type AtOnce struct{ MinSeverity Severity }

// Takes reports whether n goes at once. Its severity is that of now or, where it has none now, that of before.
func (a AtOnce) Takes(n *Notification) bool {
	if a.MinSeverity == "" || n.HeldBack {
		return false
	}
	switch {
	case n.Type == TypeSecurityGate:
		return n.Event == EventFailed
	case !n.Type.hasValues():
		return false
	case n.After != nil:
		return n.After.Severity.Rank() <= a.MinSeverity.Rank()
	}
	return n.Before != nil && n.Before.Severity.Rank() <= a.MinSeverity.Rank()
}

// Subscription is what decides whether the contacts of a subscription receive a notification of a product, or of none,
// for which it holds.
type Subscription struct {
	ID       int64
	Name     string
	User     int64 // whose it is; 0: it is a team's
	Enabled  bool
	Whole    bool   // its recipients see everything, and read all of it
	Sees     []Type // otherwise: the types that they see
	Filter   Filter
	Schedule string // empty: all goes at once
	Timezone string
	NextSlot *time.Time // nil: none is to come
	Reported int64      // up to which notification its digests reported
	Ends     bool       // its schedule was removed, or it was disabled: what waited goes in a last digest
	AtOnce   AtOnce
	Contacts []Contact // in the order in which they are written
}

// TeamTypes returns the types of notifications that recipients of a team's subscription to a product or a group see.
func TeamTypes() []Type { return slices.Clone(MemberTypes) }

// PersonalTypes returns the types that recipients of a member's subscription see, of those that members see.
func PersonalTypes(memberTypes []Type) []Type {
	return slices.DeleteFunc(slices.Clone(memberTypes), func(t Type) bool { return !slices.Contains(MemberTypes, t) })
}

// Held says for which digest s, which Waits, holds n. n is nil for any notification.
func (s *Subscription) Held(n *Notification) Reason {
	zone, err := loadZone(s.Timezone)
	switch {
	case n != nil && n.ID != 0 && n.ID <= s.Reported:
		return "it was due with an earlier digest of the subscription"
	case err != nil || s.NextSlot == nil:
		return Waits
	}
	return Reason("it is held for the digest of " + s.NextSlot.In(zone).Format("2006-01-02 15:04") + " " + zone.String())
}

// Takes reports whether s takes n, at once or with its next slot.
func (s *Subscription) Takes(n *Notification) bool {
	reason := s.hindrance(n)
	return reason == "" || reason == Waits
}

// hindrance says why s adds no recipient to n; n is nil for any notification.
func (s *Subscription) hindrance(n *Notification) Reason {
	switch {
	case !s.Enabled:
		return Disabled
	case n == nil:
		return ""
	case !s.Whole && !slices.Contains(s.Sees, n.Type):
		return Unseen
	case !s.Filter.Passes(n):
		return FilteredOut
	case s.Schedule != "" && !s.AtOnce.Takes(n):
		return Waits
	}
	return ""
}
