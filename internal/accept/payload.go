package accept

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
)

// payload is an Event on its way through Redis.
type payload struct {
	Kind         kind                  `json:"kind"`
	Observations []dbmodel.Observation `json:"observations,omitempty"`
	ID           int64                 `json:"id,omitempty"`
	Passed       *bool                 `json:"passed,omitempty"`
	Exception    *dbmodel.Exception    `json:"exception,omitempty"`
	ReportedAt   time.Time             `json:"stated_at"`
}

// Payload returns the event as the payload of queue.TypeEventAccept. Of states of the same thing the one that was
// reported last counts, in whatever order workers accept them.
func (e *Event) Payload(reportedAt time.Time) ([]byte, error) {
	b, err := json.Marshal(payload{e.kind, e.observations, e.id, e.passed, e.exception, reportedAt.UTC()})
	if err != nil {
		return nil, fmt.Errorf("write an event as JSON: %w", err)
	}
	return b, nil
}

// AcceptPayload stores the event in the payload of queue.TypeEventAccept. Once it has returned nil the payload is not
// needed any more: an event that is refused is kept as a failed event, with the reason.
func (a *Acceptor) AcceptPayload(ctx context.Context, text []byte) error {
	var done Accepted
	queued := a.queue.Room(queue.Events)
	err := a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		done, err = acceptPayload(ctx, tx, text, queued)
		return err
	})
	if reason, refused := refusal(err); refused {
		err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error { return setAside(ctx, tx, text, reason) })
	}
	if err != nil {
		return fmt.Errorf("accept an event from Redis: %w", err)
	}
	if queued {
		a.queue.Enqueue(ctx, done.Rows)
	}
	return nil
}

// Again accepts, within the transaction that removes it, an event that was refused before.
func Again(ctx context.Context, tx bun.Tx, stored []byte) error {
	var text string
	if json.Unmarshal(stored, &text) == nil {
		stored = []byte(text)
	}
	_, err := acceptPayload(ctx, tx, stored, false)
	return err
}

// setAside stores a payload that was refused as a failed event, and reports that as an exception.
func setAside(ctx context.Context, tx bun.Tx, text []byte, reason string) error {
	// As a JSON string: databases refuse some valid JSON, \u0000 for one.
	task, err := json.Marshal(dbmodel.Clean(string(text), math.MaxInt))
	if err != nil {
		return fmt.Errorf("write a refused event as JSON: %w", err)
	}
	e := dbmodel.NewEvent{Kind: dbmodel.KindRefused, Payload: dbmodel.EventPayload{Task: task}, Refused: reason}
	if _, err := insert(ctx, tx, e); err != nil {
		return err
	}
	own, err := NewOwnFailure("EventRefused", queue.TypeEventAccept,
		"an event that came through Redis was refused; see the failed events", reason)
	if err != nil {
		return err
	}
	_, err = InTx(ctx, tx, own)
	return err
}

// acceptPayload validates again: anything can be in Redis.
func acceptPayload(ctx context.Context, tx bun.Tx, text []byte, queued bool) (Accepted, error) {
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		return Accepted{}, InvalidError{{"task", "is not one that this version of Tocsin reads"}}
	}
	e := &Event{kind: p.Kind, exception: p.Exception}
	var err error
	switch p.Kind {
	case kindObservations:
		e, err = NewObservations(p.Observations)
	case kindEvaluation:
		e, err = NewEvaluation(p.ID)
	case kindSecurityGate:
		e, err = NewSecurityGate(p.ID, p.Passed)
	case kindException:
		err = checkException(p.Exception)
	default:
		err = InvalidError{{"task", fmt.Sprintf("is of the kind %.40q, which this version of Tocsin does not know", p.Kind)}}
	}
	if err != nil {
		return Accepted{}, err
	}
	return accept(ctx, tx, e, accepting{queued: queued, reportedAt: &p.ReportedAt})
}

// checkException checks an exception that came through Redis as its constructor does.
func checkException(x *dbmodel.Exception) error {
	if x == nil || x.Type != rule.TypeException && x.Type != rule.TypeTask {
		return InvalidError{{"exception", "is neither one in a request nor one in a background task"}}
	}
	if sum, err := hex.DecodeString(x.Fingerprint); err != nil || len(sum) != sha256.Size {
		return InvalidError{{"fingerprint", "is not one of Tocsin's"}}
	}
	return tidy(x)
}

// refusal returns why an event can never be accepted as it is; false: another try may succeed.
func refusal(err error) (string, bool) {
	var invalid InvalidError
	switch {
	case errors.As(err, &invalid):
		return invalid.Error(), true
	case errors.Is(err, dbmodel.ErrNotFound):
		return "what it names does not exist: " + err.Error(), true
	}
	return "", false
}
