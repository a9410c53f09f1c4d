package tasks

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

// Accepted says what became of an accepted event.
type Accepted struct {
	Received  int  `json:"received"`
	Changed   int  `json:"changed"`   // new, or different from what was stored: these are evaluated
	Unchanged int  `json:"unchanged"` // exactly as stored: nothing happens
	GateMoved bool `json:"-"`         // a security gate has another value now

	events []dbmodel.QueueableEvent
}

// accepting is what accept must know beside the task.
type accepting struct {
	queued   bool       // the caller enqueues tasks for the events
	statedAt *time.Time // when the task was told, where it came through Redis; what is stored and younger stays
}

// accept is how every event comes in, through whichever door: state and an outbox row, in the transaction of the caller. The
// error is InvalidError or dbmodel.ErrNotFound where what the task names does not exist.
func accept(ctx context.Context, db bun.IDB, t *Task, how accepting) (Accepted, error) {
	switch t.kind {
	case kindObservations:
		return acceptObservations(ctx, db, t, how)
	case kindEvaluation:
		if err := dbmodel.ObservationExists(ctx, db, t.id); err != nil {
			return Accepted{}, fmt.Errorf("find observation %d: %w", t.id, err)
		}
		return insert(ctx, db, dbmodel.NewEvent{Kind: dbmodel.KindObservation, Payload: dbmodel.EventPayload{IDs: []int64{t.id}}, Queued: how.queued})
	case kindSecurityGate:
		return acceptGate(ctx, db, t, how)
	case kindException:
		return insert(ctx, db, dbmodel.NewEvent{Kind: dbmodel.KindException, Payload: dbmodel.EventPayload{Exception: t.exception}, Queued: how.queued})
	}
	return Accepted{}, fmt.Errorf("a task of kind %q: make tasks with the New functions of this package", t.kind)
}

func acceptObservations(ctx context.Context, db bun.IDB, t *Task, how accepting) (a Accepted, err error) {
	a.Received = len(t.observations)
	bulk := t.bulk()
	if len(t.observations) > ChunkSize { // the transaction may go on: a later chunk must not be refused once one is stored
		err := dbmodel.ShareProducts(ctx, db, t.observations)
		if unknown, ok := errors.AsType[*dbmodel.UnknownProductsError](err); ok {
			return Accepted{}, t.unknownProducts(unknown)
		}
		if err != nil {
			return Accepted{}, fmt.Errorf("find the products of %d observations: %w", len(t.observations), err)
		}
	}
	for start := 0; start < len(t.observations); start += ChunkSize {
		chunk := t.observations[start:min(start+ChunkSize, len(t.observations))]
		done, err := dbmodel.AcceptObservations(ctx, db, chunk, dbmodel.Accepting{Bulk: bulk, Queued: how.queued, StatedAt: how.statedAt})
		if unknown, ok := errors.AsType[*dbmodel.UnknownProductsError](err); ok {
			return Accepted{}, t.unknownProducts(unknown)
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
		a.events = append(a.events, dbmodel.QueueableEvent{ID: done.EventID, Kind: dbmodel.KindObservation, Bulk: bulk})
	}
}

func acceptGate(ctx context.Context, db bun.IDB, t *Task, how accepting) (Accepted, error) {
	before, newer, err := dbmodel.SecurityGateForUpdate(ctx, db, t.id, how.statedAt)
	if err != nil {
		return Accepted{}, fmt.Errorf("load the security gate of product %d: %w", t.id, err)
	}
	moved := rule.Gate(before, t.passed) != rule.NoEvent
	if newer || !moved && how.statedAt == nil {
		return Accepted{}, nil
	}
	// Also where it does not move: what was stated before that, and comes later, must not undo it.
	if err := dbmodel.SetSecurityGate(ctx, db, t.id, t.passed, how.statedAt); err != nil {
		return Accepted{}, fmt.Errorf("store the security gate of product %d: %w", t.id, err)
	}
	if !moved {
		return Accepted{}, nil
	}
	a, err := insert(ctx, db, dbmodel.NewEvent{
		Kind: dbmodel.KindSecurityGate, ProductID: t.id, Payload: dbmodel.EventPayload{Before: before, After: t.passed}, Queued: how.queued,
	})
	a.GateMoved = err == nil
	return a, err
}

func insert(ctx context.Context, db bun.IDB, e dbmodel.NewEvent) (Accepted, error) {
	id, err := dbmodel.InsertEvent(ctx, db, e)
	if err != nil {
		return Accepted{}, fmt.Errorf("store an event: %w", err)
	}
	return Accepted{events: []dbmodel.QueueableEvent{{ID: id, Kind: e.Kind, Bulk: e.Bulk, ProductID: e.ProductID}}}, nil
}

// bulk reports whether the task is part of an import: single events go before it.
func (t *Task) bulk() bool { return len(t.observations) > 1 }

// oneStatement reports whether accept needs no transaction: what it does is one statement.
func (t *Task) oneStatement() bool {
	return t.kind == kindException || t.kind == kindObservations && len(t.observations) <= ChunkSize
}

// Acceptor accepts events where Tocsin's own database is open. Once one of its methods has returned without an error the
// event is kept, whatever happens to Redis or to any process.
type Acceptor struct {
	db    *dbmodel.DB
	queue *queue.Queue
}

// NewAcceptor returns an Acceptor that stores in db and tells workers through queue.
func NewAcceptor(db *dbmodel.DB, q *queue.Queue) *Acceptor {
	return &Acceptor{db: db, queue: q}
}

// Accept stores an event and tells workers of it. The error is InvalidError, or dbmodel.ErrNotFound where what the task names
// does not exist.
func (a *Acceptor) Accept(ctx context.Context, t *Task) (done Accepted, err error) {
	how := accepting{queued: a.queue.Room(queue.Of(t.bulk()))}
	if t.oneStatement() {
		done, err = accept(ctx, a.db, t, how)
	} else {
		err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			done, err = accept(ctx, tx, t, how)
			return err
		})
	}
	if err != nil {
		return Accepted{}, err
	}
	if how.queued {
		a.queue.Enqueue(ctx, done.events)
	}
	return done, nil
}

// AcceptTx stores an event within a transaction of Tocsin itself; the sweep tells workers of it after the commit.
func AcceptTx(ctx context.Context, tx bun.Tx, t *Task) error {
	_, err := accept(ctx, tx, t, accepting{})
	return err
}

// Chunk stores some observations with distinct ids, at most ChunkSize, that ValidateObservation has passed: the part of an
// import that is stored at once. The error is *dbmodel.UnknownProductsError where a product does not exist.
func (a *Acceptor) Chunk(ctx context.Context, list []Observation) (Accepted, error) {
	queued := a.queue.Room(queue.Bulk)
	stored, err := dbmodel.AcceptObservations(ctx, a.db, list, dbmodel.Accepting{Bulk: true, Queued: queued})
	if err != nil {
		return Accepted{}, fmt.Errorf("store %d observations: %w", len(list), err)
	}
	done := Accepted{Received: len(list)}
	done.add(stored, true)
	if queued {
		a.queue.Enqueue(ctx, done.events)
	}
	return done, nil
}
