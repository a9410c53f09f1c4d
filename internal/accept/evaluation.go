package accept

import (
	"context"
	"fmt"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

// evaluatedAtOnce is how many observations one event has where all of a product are evaluated again: long titles may
// be among them.
const evaluatedAtOnce = 1_000

// EvaluateAll has all observations of products evaluated again, as events of an import, and returns how many these
// are. Each event is kept on its own: where the error is not nil, the events before it are kept, and to repeat the
// call does no harm.
func (a *Acceptor) EvaluateAll(ctx context.Context, productIDs []int64) (total int, err error) {
	var ids []int64
	keep := func() error {
		parent, end := a.trace(ctx, "accept evaluations")
		defer end()
		queued := a.queue.Room(queue.Bulk)
		done, err := insert(ctx, a.db, dbmodel.NewEvent{
			Kind: dbmodel.KindObservation, Payload: dbmodel.EventPayload{IDs: ids, TraceParent: parent}, Bulk: true,
			Queued: queued,
		})
		if err != nil {
			return err
		}
		if queued {
			a.queue.Enqueue(ctx, done.Rows)
		}
		total += len(ids)
		ids = ids[:0]
		return nil
	}
	for _, product := range productIDs {
		for after, more := int64(0), true; more; {
			wanted := evaluatedAtOnce - len(ids)
			some, err := dbmodel.ObservationIDs(ctx, a.db.Reader, product, after, wanted)
			if err != nil {
				return total, fmt.Errorf("list observations of product %d: %w", product, err)
			}
			ids = append(ids, some...)
			if more = len(some) == wanted; !more {
				continue
			}
			after = ids[len(ids)-1]
			if err := keep(); err != nil {
				return total, err
			}
		}
	}
	if len(ids) > 0 {
		err = keep()
	}
	return total, err
}
