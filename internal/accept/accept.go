// Package accept is where events come into Tocsin, whichever door they take: it validates an event, and stores its
// state and one outbox row in one transaction. It evaluates nothing and sends nothing, and brings no database driver.
package accept

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
)

// Accepted says what an accepted event contained, and what follows from it.
type Accepted struct {
	Received    int  `json:"received"`  // observations
	Changed     int  `json:"changed"`   // observations that are new, or differ from what was stored: these are evaluated
	Unchanged   int  `json:"unchanged"` // observations that are as they were stored, or were passed over
	GateChanged bool `json:"-"`         // a security gate has another value now
	PassedOver  int  `json:"-"`         // states that came through Redis when a different, later one was already stored

	Type        rule.Type `json:"-"` // of the notifications that may follow
	Evaluations int       `json:"-"` // how many follow; each observation counts as one

	Rows []dbmodel.QueueableEvent `json:"-"` // of the outbox
}

// withEvaluations sets the type of the event, and how many evaluations follow: one for each observation that changed,
// or else one for each row.
func (done Accepted) withEvaluations(t rule.Type) Accepted {
	done.Type, done.Evaluations = t, max(done.Changed, len(done.Rows))
	return done
}

// Acceptor accepts events in the processes that open Tocsin's database themselves. Once one of its methods has
// returned without an error the event is kept, whatever happens to Redis or to any process.
type Acceptor struct {
	// Count, where set, is called with what each method has stored.
	Count func(Accepted)
	// Trace, where set, is called before a method stores anything. It returns the parent for Event.InTrace, and a function
	// that is called when the method ends.
	Trace func(ctx context.Context, what string) (parent string, end func())

	db    *dbmodel.DB
	queue *queue.Queue
}

// New returns an Acceptor that stores events in db and enqueues their evaluation in q.
func New(db *dbmodel.DB, q *queue.Queue) *Acceptor {
	return &Acceptor{db: db, queue: q}
}

// trace calls Trace where it is set.
func (a *Acceptor) trace(ctx context.Context, what string) (parent string, end func()) {
	if a.Trace == nil {
		return "", func() {}
	}
	return a.Trace(ctx, what)
}

// count calls Count where it is set.
func (a *Acceptor) count(done Accepted) {
	if a.Count != nil {
		a.Count(done)
	}
}

// afterCommit counts what is stored, and enqueues its evaluation where how says so.
func (a *Acceptor) afterCommit(ctx context.Context, done Accepted, how circumstances) {
	a.count(done)
	if how.queued {
		a.queue.Enqueue(ctx, done.Rows)
	}
}

// Accept stores an event and enqueues its evaluation. The error is InvalidError, also where a product of observations
// does not exist, or dbmodel.ErrNotFound where the product of a security gate, or the observation to evaluate, does
// not.
func (a *Acceptor) Accept(ctx context.Context, e *Event) (done Accepted, err error) {
	parent, end := a.trace(ctx, "accept "+string(e.kind))
	defer end()
	e.InTrace(parent)
	how := circumstances{queued: a.queue.Room(queue.Of(e.Bulk()))}
	if e.oneStatement() {
		done, err = accept(ctx, a.db, e, how)
	} else {
		err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			done, err = accept(ctx, tx, e, how)
			return err
		})
	}
	if err != nil {
		return Accepted{}, err
	}
	a.afterCommit(ctx, done, how)
	return done, nil
}

// ChunkOptions says how a chunk is accepted.
type ChunkOptions struct {
	Baseline bool // observations that match are remembered, and not notified
	Last     bool // no other chunk of the import follows
}

// Chunk stores one part of an import: at most ChunkSize observations with distinct ids, in which ValidateObservation
// finds no fault. The error is *dbmodel.UnknownProductsError where a product does not exist.
func (a *Acceptor) Chunk(ctx context.Context, list []dbmodel.Observation, options ChunkOptions) (Accepted, error) {
	parent, end := a.trace(ctx, "accept observations")
	defer end()
	how := circumstances{queued: a.queue.Room(queue.Bulk)}
	done, err := storeChunk(ctx, a.db, list, dbmodel.AcceptOptions{
		Bulk: true, Baseline: options.Baseline, Last: options.Last, Queued: how.queued, TraceParent: parent,
	})
	if err != nil {
		return Accepted{}, err
	}
	done = done.withEvaluations(rule.TypeObservation)
	a.afterCommit(ctx, done, how)
	return done, nil
}

// InTx stores an event within a transaction. It enqueues nothing: after the commit the caller may enqueue the rows
// that it returns, or the sweep does. The errors are those of Accept.
func InTx(ctx context.Context, tx bun.IDB, e *Event) (Accepted, error) {
	return accept(ctx, tx, e, circumstances{})
}

// circumstances are what accept must know beside the event.
type circumstances struct {
	queued bool // the caller enqueues tasks for the rows
	// reportedAt is when an event that came through Redis was reported, and never later than now. The event does not
	// replace a stored state that was reported after it. nil: the event came by another door, and is reported now.
	reportedAt *time.Time
}

// accept stores the state that an event reports and its outbox row. db is a transaction of the caller or, for an event
// with oneStatement, the database. Every Event comes through here; Chunk and EvaluateAll make no Event, and do not call
// accept.
func accept(ctx context.Context, db bun.IDB, e *Event, how circumstances) (Accepted, error) {
	k, known := kinds[e.kind]
	if !known {
		return Accepted{}, fmt.Errorf("an event of kind %q: make events with the New functions", e.kind)
	}
	done, err := k.accept(ctx, db, e, how)
	if err != nil {
		return Accepted{}, err
	}
	if e.exception != nil {
		return done.withEvaluations(e.exception.Type), nil
	}
	return done.withEvaluations(rule.Type(e.kind)), nil
}

// insert stores the outbox row of an event.
func insert(ctx context.Context, db bun.IDB, e dbmodel.NewEvent) (Accepted, error) {
	id, err := dbmodel.InsertEvent(ctx, db, e)
	if err != nil {
		return Accepted{}, fmt.Errorf("store an event: %w", err)
	}
	return Accepted{Rows: []dbmodel.QueueableEvent{{ID: id, Kind: e.Kind, Bulk: e.Bulk, ProductID: e.ProductID}}}, nil
}
