// Package rule decides what is notified, and which contacts receive it. It holds the field's words (severity, status,
// channel, event), the settings that apply, matching, the decision and its explanation, recipients, net changes and the
// slots of schedules. Everything is pure: no I/O, no clock.
package rule

import (
	"cmp"
	"slices"
	"strings"
)

// Severity of an observation. Compare with Rank, never by text.
type Severity string

// Severities, worst first.
const (
	Critical        Severity = "Critical"
	High            Severity = "High"
	Medium          Severity = "Medium"
	Low             Severity = "Low"
	SeverityNone    Severity = "None"
	SeverityUnknown Severity = "Unknown"
)

// Severities lists all severities, worst first.
var Severities = []Severity{Critical, High, Medium, Low, SeverityNone, SeverityUnknown}

// Rank is the severity's number, 1 (Critical) to 6 (Unknown); 0 for an unknown word.
func (s Severity) Rank() int { return slices.Index(Severities, s) + 1 }

// Valid reports whether s is one of Severities.
func (s Severity) Valid() bool { return s.Rank() > 0 }

// Status of an observation.
type Status string

// Statuses. The first three are active.
const (
	Open          Status = "Open"
	Affected      Status = "Affected"
	InReview      Status = "In review"
	Resolved      Status = "Resolved"
	Duplicate     Status = "Duplicate"
	FalsePositive Status = "False positive"
	NotAffected   Status = "Not affected"
	NotSecurity   Status = "Not security"
	RiskAccepted  Status = "Risk accepted"
)

// Statuses lists all statuses, the active ones first.
var Statuses = []Status{
	Open, Affected, InReview, Resolved, Duplicate, FalsePositive, NotAffected, NotSecurity, RiskAccepted,
}

// Active reports whether an observation with this status still needs work.
func (s Status) Active() bool { return s == Open || s == Affected || s == InReview }

// Valid reports whether s is one of Statuses.
func (s Status) Valid() bool { return slices.Contains(Statuses, s) }

// ParserType says what kind of scanner found an observation.
type ParserType string

// ParserTypes lists all parser types.
var ParserTypes = []ParserType{"SCA", "SAST", "DAST", "IAST", "Secrets", "Infrastructure", "Other", "Manual"}

// Valid reports whether p is one of ParserTypes.
func (p ParserType) Valid() bool { return slices.Contains(ParserTypes, p) }

// Priority bounds: 1 is most urgent.
const (
	MinPriority = 1
	MaxPriority = 99
)

// Event is what happened; empty where there is nothing to notify, and for exceptions and tasks.
type Event string

// Events.
const (
	NoEvent       Event = ""
	EventNew      Event = "new"
	EventChanged  Event = "changed"
	EventDropped  Event = "dropped"
	EventPassed   Event = "passed"
	EventFailed   Event = "failed"
	EventNoResult Event = "none"
)

// Events lists all events but NoEvent.
var Events = []Event{EventNew, EventChanged, EventDropped, EventPassed, EventFailed, EventNoResult}

// Values decide, together with the parser type, whether an observation matches; once it was notified they are
// remembered.
type Values struct {
	Severity       Severity `json:"severity"`
	Status         Status   `json:"status"`
	Priority       *int     `json:"priority"`        // nil: none
	KnownExploited *bool    `json:"known_exploited"` // nil: not known
}

// Exploited reports whether the observation is known to be exploited.
func (v Values) Exploited() bool { return v.KnownExploited != nil && *v.KnownExploited }

// Equal reports whether severity, status and priority are the same: known exploited counts only where a setting asks
// for it, see Conditions.Decide.
func (v Values) Equal(w Values) bool {
	return v.Severity == w.Severity && v.Status == w.Status && equalInt(v.Priority, w.Priority)
}

// Compare orders values worst first: by severity, then by priority, where none comes last.
func (v Values) Compare(w Values) int {
	return cmp.Or(cmp.Compare(v.Severity.Rank(), w.Severity.Rank()), cmp.Compare(urgency(v.Priority), urgency(w.Priority)))
}

func urgency(priority *int) int {
	if priority == nil {
		return MaxPriority + 1
	}
	return *priority
}

// Joined returns words with commas between them.
func Joined[T ~string](words []T) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return strings.Join(out, ", ")
}

func equalInt(a, b *int) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
