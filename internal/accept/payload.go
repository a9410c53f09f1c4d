package accept

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

// AcceptPayload accepts the event that text, the payload of a task of queue.TypeEventAccept, holds. Once it has
// returned no error the payload is not needed any more: an event that is refused is kept as a failed event, with the
// reason.
func (a *Acceptor) AcceptPayload(ctx context.Context, text []byte) (done Accepted, err error) {
	var how circumstances
	r, err := read(text)
	if err == nil {
		how.queued = a.queue.Room(queue.Of(r.event.Bulk()))
		err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			done, err = acceptReported(ctx, tx, r, how)
			return err
		})
	}
	if reason, refused := refusalReason(err); refused {
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
	a.afterCommit(ctx, done, how)
	return done, nil
}

// Again accepts an event that was refused before, within the transaction in which the caller removes the failed event.
func Again(ctx context.Context, tx bun.Tx, stored []byte) (Accepted, error) {
	var text string
	if err := json.Unmarshal(stored, &text); err != nil {
		return Accepted{}, fmt.Errorf("read a refused event: %w", err)
	}
	r, err := read([]byte(text))
	if err != nil {
		return Accepted{}, err
	}
	return acceptReported(ctx, tx, r, circumstances{})
}

// setAside stores a refused payload as a failed event, reports the refusal as an exception of Tocsin itself, and
// returns what was accepted of that exception.
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

// errNotDated says that a state lacks the time at which it was reported.
var errNotDated = InvalidError{{"reported_at", "is missing"}}

// reported is an event that came through Redis.
type reported struct {
	event *Event
	at    time.Time // by the clock of Redis
}

// read makes an event of a payload, which it validates again: anything can be in Redis.
func read(text []byte) (reported, error) {
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		return reported{}, InvalidError{{"task", "has a form that this version of Tocsin cannot read"}}
	}
	k, known := kinds[p.Kind]
	if !known {
		fault := fmt.Sprintf("is of the kind %.40q, which this version of Tocsin does not know", p.Kind)
		return reported{}, InvalidError{{"task", fault}}
	}
	e, err := k.fromPayload(p)
	if err != nil {
		return reported{}, err
	}
	return reported{e.InTrace(p.TraceParent), p.ReportedAt}, nil
}

// acceptReported accepts an event that came through Redis. The clock of Redis may be ahead of the database's, so no
// state counts as reported later than now: else it would win over states that are reported until then.
func acceptReported(ctx context.Context, tx bun.Tx, r reported, how circumstances) (Accepted, error) {
	now, err := dbmodel.DatabaseNow(ctx, tx)
	if err != nil {
		return Accepted{}, fmt.Errorf("ask for the time: %w", err)
	}
	if r.at.After(now) {
		r.at = now
	}
	how.reportedAt = &r.at
	return accept(ctx, tx, r.event, how)
}

// refusalReason returns why an event can never be accepted as it is; false: there was no error, or another try may
// succeed.
func refusalReason(err error) (string, bool) {
	invalid, ok := errors.AsType[InvalidError](err)
	switch {
	case ok:
		return invalid.Error(), true
	case errors.Is(err, dbmodel.ErrNotFound):
		return "what it names does not exist: " + err.Error(), true
	}
	return "", false
}
