package accept

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
)

// MaxID is the largest id of a product, a product group or an observation: JSON numbers are exact up to it.
const MaxID = 1<<53 - 1

// Event is something that was reported to Tocsin. The New functions make events, and never a faulty one; each of them
// fills the fields of its kind.
type Event struct {
	kind        dbmodel.EventKind
	traceParent string // empty: it is not traced

	// Of observations that are reported.
	given        []dbmodel.Observation // as the caller gave them, for the names of faulty fields
	observations []dbmodel.Observation // with distinct ids, sorted by id: else two calls might wait for each other
	baseline     bool                  // see Baseline

	// The id of the observation that is evaluated again, or of the product of a security gate.
	id     int64
	passed *bool // of a security gate; nil: it has no result

	exception *dbmodel.Exception // of an exception or a failed task
}

// kindFuncs are the functions by which the events of one kind are accepted.
type kindFuncs struct {
	// fromPayload makes an event of what came through Redis, with all checks: anything can be there.
	fromPayload func(p payload) (*Event, error)
	// accept stores the state that an event reports and its outbox row.
	accept func(ctx context.Context, db bun.IDB, e *Event, how circumstances) (Accepted, error)
}

// kinds is the table of the kinds that a web tier reports.
var kinds = map[dbmodel.EventKind]kindFuncs{
	dbmodel.KindObservation:  {fromPayload: observationFrom, accept: acceptObservations},
	dbmodel.KindSecurityGate: {fromPayload: securityGateFrom, accept: acceptSecurityGate},
	dbmodel.KindException:    {fromPayload: exceptionFrom, accept: acceptException},
}

// checkID returns what is wrong with an id, nil where nothing is.
func checkID(field string, id int64) InvalidError {
	if id < 1 || id > MaxID {
		return InvalidError{{field, fmt.Sprintf("must be from 1 to %d", int64(MaxID))}}
	}
	return nil
}

// Baseline makes the observations of the event a baseline: they are stored and, where they match, remembered as if they
// had been notified; nothing is notified.
func (e *Event) Baseline() *Event {
	e.baseline = true
	return e
}

// sampledParent matches the header traceparent (https://www.w3.org/TR/trace-context/#traceparent-header) of a trace
// that is sampled.
var sampledParent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]$`)

// InTrace makes all that follows from the event a part of a trace of the caller, and returns the event. parent is the
// caller's place in that trace, written as in the header traceparent. A faulty parent, or that of a trace that is not
// sampled, changes nothing.
func (e *Event) InTrace(parent string) *Event {
	if sampledParent.MatchString(parent) {
		e.traceParent = parent
	}
	return e
}

// Bulk reports whether the event is part of an import: single events are evaluated before it.
func (e *Event) Bulk() bool { return len(e.observations) > 1 }

// oneStatement reports whether accepting the event takes one statement, which needs no transaction.
func (e *Event) oneStatement() bool {
	return e.kind == dbmodel.KindException || len(e.observations) > 0 && len(e.observations) <= ChunkSize
}

// payload is an Event on its way through Redis.
type payload struct {
	Kind         dbmodel.EventKind     `json:"kind"`
	Observations []dbmodel.Observation `json:"observations,omitempty"`
	ID           int64                 `json:"id,omitempty"`
	Passed       *bool                 `json:"passed,omitempty"`
	Exception    *dbmodel.Exception    `json:"exception,omitempty"`
	ReportedAt   time.Time             `json:"reported_at"`
	Baseline     bool                  `json:"baseline,omitempty"`
	TraceParent  string                `json:"trace_parent,omitempty"`
}

// Payload returns the event as the payload of queue.TypeEventAccept. Of several states of one observation or security
// gate the one that was reported last counts, in whatever order workers accept them.
func (e *Event) Payload(reportedAt time.Time) ([]byte, error) {
	b, err := json.Marshal(payload{
		Kind: e.kind, Observations: e.observations, ID: e.id, Passed: e.passed, Exception: e.exception,
		ReportedAt: reportedAt.UTC(), Baseline: e.baseline, TraceParent: e.traceParent,
	})
	if err != nil {
		return nil, fmt.Errorf("write an event as JSON: %w", err)
	}
	return b, nil
}
