package accept

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
)

// evaluatedAtOnce is how many observations one event of EvaluateAll has at the most. An evaluation loads the titles of
// all of them, and each title may have up to MaxTitle characters.
const evaluatedAtOnce = 1_000

// NewEvaluation asks to evaluate an observation again, for instance after a change of settings.
func NewEvaluation(observationID int64) (*Event, error) {
	if err := checkID("id", observationID); err != nil {
		return nil, err
	}
	return &Event{kind: dbmodel.KindObservation, id: observationID}, nil
}

func acceptEvaluation(ctx context.Context, db bun.IDB, e *Event, how circumstances) (Accepted, error) {
	if err := dbmodel.ObservationExists(ctx, db, e.id); err != nil {
		return Accepted{}, fmt.Errorf("find observation %d: %w", e.id, err)
	}
	return insert(ctx, db, dbmodel.NewEvent{
		Kind: dbmodel.KindObservation, Payload: dbmodel.EventPayload{IDs: []int64{e.id}, TraceParent: e.traceParent},
		Queued: how.queued,
	})
}

// EvaluateAll asks to evaluate all observations of the given products again, as events of an import, and returns how
// many observations these are. Each event is kept on its own: where the error is not nil, the events before it are
// kept, and to repeat the call does no harm.
func (a *Acceptor) EvaluateAll(ctx context.Context, productIDs []int64) (total int, err error) {
	var ids []int64
	for _, product := range productIDs {
		for after := int64(0); ; after = ids[len(ids)-1] {
			if len(ids) == evaluatedAtOnce {
				if err := a.evaluateAgain(ctx, ids); err != nil {
					return total, err
				}
				total, ids = total+len(ids), ids[:0]
			}
			room := evaluatedAtOnce - len(ids)
			some, err := dbmodel.ObservationIDs(ctx, a.db.Reader, product, after, room)
			if err != nil {
				return total, fmt.Errorf("list observations of product %d: %w", product, err)
			}
			ids = append(ids, some...)
			if len(some) < room {
				break
			}
		}
	}
	if len(ids) == 0 {
		return total, nil
	}
	if err := a.evaluateAgain(ctx, ids); err != nil {
		return total, err
	}
	return total + len(ids), nil
}

// evaluateAgain stores one event by which the given observations are evaluated again, as part of an import.
func (a *Acceptor) evaluateAgain(ctx context.Context, ids []int64) error {
	parent, end := a.trace(ctx, "accept evaluations")
	defer end()
	how := circumstances{queued: a.queue.Room(queue.Bulk)}
	done, err := insert(ctx, a.db, dbmodel.NewEvent{
		Kind: dbmodel.KindObservation, Payload: dbmodel.EventPayload{IDs: ids, TraceParent: parent}, Bulk: true,
		Queued: how.queued,
	})
	if err != nil {
		return err
	}
	done.Type, done.Evaluations = rule.TypeObservation, len(ids)
	a.afterCommit(ctx, done, how)
	return nil
}
