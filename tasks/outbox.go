package tasks

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
)

// Database is the database in which an Outbox looks for Tocsin's tables and for committed events: a *sql.DB, a *bun.DB
// or the like.
type Database interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Tx is a transaction of a Go web tier on the PostgreSQL database that holds Tocsin's tables: a *sql.Tx of any driver,
// or a bun.Tx.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Outbox accepts events within the transactions of a Go web tier: an event is kept exactly where its transaction
// commits. It is safe for concurrent use.
type Outbox struct {
	db    Database
	queue *queue.Queue

	mu   sync.Mutex
	rows []storedRow // rows that no Wake has seen committed yet, the newest last, at most wakeable
}

// storedRow is a row that EnqueueTx has stored in the outbox. Its transaction may be open, committed or rolled back.
type storedRow struct {
	dbmodel.QueueableEvent
	at time.Time
}

const (
	// wakeable is how many rows Wake enqueues at most; the sweep of the scheduler finds the others.
	wakeable = 1_000
	// forgetTime is how long Wake looks for a row: the sweep has found it by then, or it was rolled back.
	forgetTime = time.Minute
)

// NewOutbox returns an Outbox for the PostgreSQL database db, which must hold Tocsin's tables in the version of this
// package; otherwise the error says what to do. Redis need not answer: it only makes workers notice sooner. The caller
// closes both.
func NewOutbox(ctx context.Context, db Database, client redis.UniversalClient) (*Outbox, error) {
	if err := dbmodel.CheckSchemaOf(ctx, db); err != nil {
		return nil, err
	}
	return &Outbox{db: db, queue: queue.New(client, zerolog.Nop())}, nil
}

// EnqueueTx accepts an event within tx. The error is InvalidError, also where a product of observations does not
// exist, or ErrNotFound where the product of a security gate, or the observation to evaluate, does not. After any
// other error, which comes from the database, tx is broken and must be rolled back.
func (o *Outbox) EnqueueTx(ctx context.Context, tx Tx, t *Task) error {
	if t == nil || t.event == nil {
		return errNoTask
	}
	var foreign *sql.Tx
	switch tx := tx.(type) {
	case *sql.Tx:
		foreign = tx
	case bun.Tx:
		foreign = tx.Tx
	case *bun.Tx:
		foreign = tx.Tx
	default:
		return fmt.Errorf("a transaction of type %T: give a *sql.Tx or a bun.Tx", tx)
	}
	done, err := accept.InTx(ctx, dbmodel.NewForeignTx(foreign), t.event)
	if err != nil {
		return publicError(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, row := range done.Rows {
		o.rows = append(o.rows, storedRow{row, time.Now()})
	}
	o.forget()
	return nil
}

// Wake makes workers notice at once what was committed; call it after the commit. Without it they notice within
// seconds. It takes half a second at most. It returns no error: where Redis does not answer, the scheduler finds the
// events in the database.
func (o *Outbox) Wake(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.queue.Enqueue(ctx, o.committed(ctx))
	}()
	late := time.NewTimer(queue.EnqueueTime) // the caller's Redis client may ignore the end of a context
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// committed takes the rows whose transactions have committed out of o, and leaves those that may still be committed.
func (o *Outbox) committed(ctx context.Context) []dbmodel.QueueableEvent {
	o.mu.Lock()
	stored := o.rows
	o.rows = nil
	o.mu.Unlock()
	ids := make([]int64, len(stored))
	for i := range stored {
		ids[i] = stored[i].ID
	}
	ctx, cancel := context.WithTimeout(ctx, queue.EnqueueTime)
	defer cancel()
	visible, err := dbmodel.CommittedEvents(ctx, o.db, ids)
	var rows []dbmodel.QueueableEvent
	var rest []storedRow
	for _, row := range stored {
		switch {
		case err != nil || visible[row.ID]: // a task for a row that is not there does nothing
			rows = append(rows, row.QueueableEvent)
		case time.Since(row.at) < forgetTime:
			rest = append(rest, row)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rows = append(rest, o.rows...)
	o.forget()
	return rows
}

// forget drops all but the newest rows; the caller holds the mutex.
func (o *Outbox) forget() { o.rows = o.rows[max(len(o.rows)-wakeable, 0):] }
