package accept

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

// AcceptPayload stores the event in the payload of queue.TypeEventAccept. Once it has returned no error the payload is
// not needed any more: an event that is refused is kept as a failed event, with the reason.
func (a *Acceptor) AcceptPayload(ctx context.Context, text []byte) (done Accepted, err error) {
	how := circumstances{queued: a.queue.Room(queue.Events)}
	err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		done, err = acceptPayload(ctx, tx, text, how)
		return err
	})
	if reason, refused := refusal(err); refused {
		var own Accepted
		err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			own, err = setAside(ctx, tx, text, reason)
			return err
		})
		if err == nil {
			a.count(own) // the sweep enqueues it
			return Accepted{}, nil
		}
	}
	if err != nil {
		return Accepted{}, fmt.Errorf("accept an event from Redis: %w", err)
	}
	a.stored(ctx, done, how)
	return done, nil
}

// Again accepts, within the transaction that removes it, an event that was refused before.
func Again(ctx context.Context, tx bun.Tx, stored []byte) (Accepted, error) {
	var text string
	if err := json.Unmarshal(stored, &text); err != nil {
		return Accepted{}, fmt.Errorf("read a refused event: %w", err)
	}
	return acceptPayload(ctx, tx, []byte(text), circumstances{})
}

// setAside stores a payload that was refused as a failed event, and reports that as an exception, which it
// returns.
func setAside(ctx context.Context, tx bun.Tx, text []byte, reason string) (Accepted, error) {
	// As a JSON string: databases refuse some valid JSON, \u0000 for one.
	task, err := json.Marshal(dbmodel.Clean(string(text), math.MaxInt))
	if err != nil {
		return Accepted{}, fmt.Errorf("write a refused event as JSON: %w", err)
	}
	e := dbmodel.NewEvent{Kind: dbmodel.KindRefused, Payload: dbmodel.EventPayload{Task: task}, Refused: reason}
	if _, err := insert(ctx, tx, e); err != nil {
		return Accepted{}, err
	}
	own, err := NewOwnFailure(ExceptionInfo{
		Class: "EventRefused", Function: queue.TypeEventAccept,
		Message: "an event that came through Redis was refused; see the failed events", Trace: reason,
	})
	if err != nil {
		return Accepted{}, err
	}
	return InTx(ctx, tx, own)
}

// errNoTime refuses a state of which nobody knows whether it is older than the stored one.
var errNoTime = InvalidError{{"reported_at", "is missing"}}

// acceptPayload validates again: anything can be in Redis. The clock of Redis may be ahead of the database's: no state
// counts as reported later than now, so that it does not keep back the states of the time until then.
func acceptPayload(ctx context.Context, tx bun.Tx, text []byte, how circumstances) (Accepted, error) {
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		return Accepted{}, InvalidError{{"task", "is not one that this version of Tocsin reads"}}
	}
	k, known := kinds[p.Kind]
	if !known {
		fault := fmt.Sprintf("is of the kind %.40q, which this version of Tocsin does not know", p.Kind)
		return Accepted{}, InvalidError{{"task", fault}}
	}
	e, err := k.fromPayload(p)
	if err != nil {
		return Accepted{}, err
	}
	e.InTrace(p.TraceParent)
	now, err := dbmodel.DatabaseNow(ctx, tx)
	if err != nil {
		return Accepted{}, fmt.Errorf("ask for the time: %w", err)
	}
	if p.ReportedAt.After(now) {
		p.ReportedAt = now
	}
	how.reportedAt = &p.ReportedAt
	return accept(ctx, tx, e, how)
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
