package tasks

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
)

// Acceptor accepts events: state and an outbox row in one transaction, then a task that tells workers of the row. Once one
// of its methods has returned without an error the event is kept, whatever happens to Redis or to any process.
type Acceptor struct {
	db    *dbmodel.DB
	queue *Queue
}

// NewAcceptor returns an Acceptor that stores in db and tells workers through queue.
func NewAcceptor(db *dbmodel.DB, queue *Queue) *Acceptor {
	return &Acceptor{db: db, queue: queue}
}

// insert stores an event and tells workers of it.
func (a *Acceptor) insert(ctx context.Context, db bun.IDB, e dbmodel.NewEvent) error {
	e.Queued = a.queue.Room(QueueOf(e.Bulk))
	id, err := dbmodel.InsertEvent(ctx, db, e)
	if err != nil {
		return fmt.Errorf("store an event: %w", err)
	}
	if e.Queued {
		a.queue.Enqueue(ctx, []dbmodel.QueueableEvent{{ID: id, Kind: e.Kind, Bulk: e.Bulk, ProductID: e.ProductID}})
	}
	return nil
}
