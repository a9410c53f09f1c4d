// Package accept is where events come into Tocsin, whichever door they take: it validates an event, and stores its
// state and one outbox row in one transaction. It evaluates nothing and sends nothing, and brings no database driver.
package accept

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
)

// Accepted counts what an accepted event contained.
type Accepted struct {
	Received    int  `json:"received"`
	Changed     int  `json:"changed"`   // new, or different from what was stored: these are evaluated
	Unchanged   int  `json:"unchanged"` // exactly as stored: nothing happens
	GateChanged bool `json:"-"`         // a security gate has another value now

	Rows []dbmodel.QueueableEvent `json:"-"` // of the outbox
}

// Acceptor accepts events where Tocsin's own database is open. Once one of its methods has returned without an error
// the event is kept, whatever happens to Redis or to any process.
type Acceptor struct {
	db    *dbmodel.DB
	queue *queue.Queue
}

// New returns an Acceptor that stores events in db and enqueues their evaluation in q.
func New(db *dbmodel.DB, q *queue.Queue) *Acceptor {
	return &Acceptor{db: db, queue: q}
}

// Accept stores an event and enqueues its evaluation. The error is InvalidError, or dbmodel.ErrNotFound where something
// that the event refers to does not exist.
func (a *Acceptor) Accept(ctx context.Context, e *Event) (done Accepted, err error) {
	how := accepting{queued: a.queue.Room(queue.Of(e.Bulk()))}
	if e.oneStatement() {
		done, err = accept(ctx, a.db, e, how)
	} else {
		err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			done, err = accept(ctx, tx, e, how)
			return err
		})
	}
	if err != nil {
		return Accepted{}, err
	}
	if how.queued {
		a.queue.Enqueue(ctx, done.Rows)
	}
	return done, nil
}

// Chunk stores observations with distinct ids, at most ChunkSize, that ValidateObservation has passed: the part of an
// import that is stored at once. The error is *dbmodel.UnknownProductsError where a product does not exist.
func (a *Acceptor) Chunk(ctx context.Context, list []dbmodel.Observation) (Accepted, error) {
	queued := a.queue.Room(queue.Bulk)
	stored, err := dbmodel.AcceptObservations(ctx, a.db, list, dbmodel.Accepting{Bulk: true, Queued: queued})
	if err != nil {
		return Accepted{}, fmt.Errorf("store %d observations: %w", len(list), err)
	}
	done := Accepted{Received: len(list)}
	done.add(stored, true)
	if queued {
		a.queue.Enqueue(ctx, done.Rows)
	}
	return done, nil
}

// InTx stores an event within a transaction. It enqueues nothing: after the commit the caller may enqueue the rows
// that it returns, or the sweep does. The errors are those of Accept.
func InTx(ctx context.Context, tx bun.IDB, e *Event) (Accepted, error) {
	return accept(ctx, tx, e, accepting{})
}

// accepting is what accept must know beside the event.
type accepting struct {
	queued     bool       // the caller enqueues tasks for the rows
	reportedAt *time.Time // of an event that came through Redis; a younger state that is stored stays
}

// accept stores the state that an event reports and its outbox row, in the transaction of the caller. All doors lead
// here.
func accept(ctx context.Context, db bun.IDB, e *Event, how accepting) (Accepted, error) {
	switch e.kind {
	case kindObservations:
		return acceptObservations(ctx, db, e, how)
	case kindEvaluation:
		if err := dbmodel.ObservationExists(ctx, db, e.id); err != nil {
			return Accepted{}, fmt.Errorf("find observation %d: %w", e.id, err)
		}
		return insert(ctx, db, dbmodel.NewEvent{
			Kind: dbmodel.KindObservation, Payload: dbmodel.EventPayload{IDs: []int64{e.id}}, Queued: how.queued,
		})
	case kindSecurityGate:
		return acceptGate(ctx, db, e, how)
	case kindException:
		return insert(ctx, db, dbmodel.NewEvent{
			Kind: dbmodel.KindException, Payload: dbmodel.EventPayload{Exception: e.exception}, Queued: how.queued,
		})
	}
	return Accepted{}, fmt.Errorf("an event of kind %q: make events with the New functions", e.kind)
}

func acceptObservations(ctx context.Context, db bun.IDB, e *Event, how accepting) (a Accepted, err error) {
	a.Received = len(e.observations)
	bulk := e.Bulk()
	if len(e.observations) > ChunkSize {
		// All products at first: the transaction of the caller may go on, so no later chunk may be refused once one is
		// stored.
		err := dbmodel.ShareProducts(ctx, db, e.observations)
		if unknown, ok := errors.AsType[*dbmodel.UnknownProductsError](err); ok {
			return Accepted{}, e.unknownProducts(unknown)
		}
		if err != nil {
			return Accepted{}, fmt.Errorf("find the products of %d observations: %w", len(e.observations), err)
		}
	}
	for start := 0; start < len(e.observations); start += ChunkSize {
		chunk := e.observations[start:min(start+ChunkSize, len(e.observations))]
		done, err := dbmodel.AcceptObservations(ctx, db, chunk,
			dbmodel.Accepting{Bulk: bulk, Queued: how.queued, StatedAt: how.reportedAt})
		if unknown, ok := errors.AsType[*dbmodel.UnknownProductsError](err); ok {
			return Accepted{}, e.unknownProducts(unknown)
		}
		if err != nil {
			return Accepted{}, fmt.Errorf("store %d observations: %w", len(chunk), err)
		}
		a.add(done, bulk)
	}
	return a, nil
}

// add counts a chunk of observations.
func (a *Accepted) add(done dbmodel.Accepted, bulk bool) {
	a.Changed += done.Changed
	a.Unchanged = a.Received - a.Changed
	if done.EventID != 0 {
		a.Rows = append(a.Rows, dbmodel.QueueableEvent{ID: done.EventID, Kind: dbmodel.KindObservation, Bulk: bulk})
	}
}

func acceptGate(ctx context.Context, db bun.IDB, e *Event, how accepting) (Accepted, error) {
	before, newer, err := dbmodel.SecurityGateForUpdate(ctx, db, e.id, how.reportedAt)
	if err != nil {
		return Accepted{}, fmt.Errorf("load the security gate of product %d: %w", e.id, err)
	}
	changed := rule.Gate(before, e.passed) != rule.NoEvent
	if newer || !changed && how.reportedAt == nil {
		return Accepted{}, nil
	}
	// Also where the value stays: the time is stored with it, so that an older report that arrives later changes nothing.
	if err := dbmodel.SetSecurityGate(ctx, db, e.id, e.passed, how.reportedAt); err != nil {
		return Accepted{}, fmt.Errorf("store the security gate of product %d: %w", e.id, err)
	}
	if !changed {
		return Accepted{}, nil
	}
	a, err := insert(ctx, db, dbmodel.NewEvent{
		Kind: dbmodel.KindSecurityGate, ProductID: e.id, Payload: dbmodel.EventPayload{Before: before, After: e.passed},
		Queued: how.queued,
	})
	a.GateChanged = err == nil
	return a, err
}

func insert(ctx context.Context, db bun.IDB, e dbmodel.NewEvent) (Accepted, error) {
	id, err := dbmodel.InsertEvent(ctx, db, e)
	if err != nil {
		return Accepted{}, fmt.Errorf("store an event: %w", err)
	}
	return Accepted{Rows: []dbmodel.QueueableEvent{{ID: id, Kind: e.Kind, Bulk: e.Bulk, ProductID: e.ProductID}}}, nil
}
