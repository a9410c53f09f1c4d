package tasks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

// Database is what NewOutbox asks whether it holds Tocsin's tables: *sql.DB, *bun.DB and their like.
type Database interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Tx is a transaction of a Go web tier on the PostgreSQL database that holds Tocsin's tables: a *sql.Tx of any driver, or a
// bun.Tx.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Outbox accepts events within the transactions of a Go web tier: an event is kept exactly where its transaction commits.
// It is safe for concurrent use.
type Outbox struct {
	queue *queue.Queue

	mu     sync.Mutex
	events []dbmodel.QueueableEvent // enqueued since the last Wake, at most wakeable; some may be rolled back
}

// wakeable bounds what Wake enqueues; the sweep finds the others.
const wakeable = 1_000

// NewOutbox returns an Outbox for the PostgreSQL database db, which must hold Tocsin's tables in the version of this package;
// else the error says what to do. Redis may be away: it only makes workers notice sooner. Both stay the caller's to close.
func NewOutbox(ctx context.Context, db Database, client redis.UniversalClient) (*Outbox, error) {
	if err := dbmodel.CheckSchemaOf(ctx, db); err != nil {
		return nil, err
	}
	return &Outbox{queue: queue.New(client, zerolog.Nop())}, nil
}

// EnqueueTx accepts an event within tx. The error is InvalidError, or dbmodel.ErrNotFound where what the task names does not
// exist; where it comes from the database, tx is broken and must be rolled back.
func (o *Outbox) EnqueueTx(ctx context.Context, tx Tx, t *Task) error {
	if t == nil {
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
	done, err := accept(ctx, dbmodel.NewForeignTx(foreign), t, accepting{})
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.events) < wakeable {
		o.events = append(o.events, done.events...)
	}
	return nil
}

// Wake makes workers notice at once what was committed; call it after the commit. Without it they do within seconds. It takes
// half a second at the most, and has nothing to report: what it cannot tell is found in the database.
func (o *Outbox) Wake(ctx context.Context) {
	o.mu.Lock()
	events := o.events
	o.events = nil
	o.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.queue.Enqueue(ctx, slices.Clip(events))
	}()
	late := time.NewTimer(queue.EnqueueTime) // the caller's Redis client need not heed the end of a context
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

var errNoTask = errors.New("no task: its constructor returned an error")
