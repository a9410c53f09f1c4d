// Package dbmodel is Tocsin's database: models, queries and schema for PostgreSQL and SQLite, a file per topic. It
// decides nothing and sends nothing. Queries take the context first and a bun.IDB, so that the caller says which of
// them share a transaction.
//
// A statement stands whole in a constant, in the words of PostgreSQL, with arguments by name, and runs through exec,
// queryAll or queryOne; dialect.go lists the forms that SQLite writes in another way. The rows of a result are read
// into a struct by the names of the columns. Lists of values are arguments of the types numbers, texts and rows.
// Queries that read better as a chain of calls, such as those of a filter with many conditions, are built by bun.
package dbmodel

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// DB is an open database. Its schema is Migrate's business, its connections internal/database's.
type DB struct {
	*bun.DB
	// Reader answers queries that stand alone. On PostgreSQL it is DB itself; on SQLite, where there is one writer, a
	// pool of its own.
	Reader *bun.DB
}

// InTx runs fn in a transaction and commits where it returns nil. Errors are those of fn or of the database,
// translated (see Translate).
func (db *DB) InTx(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	after := new(commitHooks)
	err := db.RunInTx(context.WithValue(ctx, commitKey{}, after), nil, fn)
	if err == nil {
		for _, f := range after.list {
			f()
		}
	}
	return Translate(err)
}

// commitHooks are the functions that AfterCommit was given in a transaction.
type commitHooks struct{ list []func() }

// commitKey is the key of the hooks in the context of a transaction.
type commitKey struct{}

// AfterCommit calls f once the transaction of ctx, which InTx has begun, is committed, and never where that fails.
// Outside of such a transaction it calls f at once.
func AfterCommit(ctx context.Context, f func()) {
	if after, ok := ctx.Value(commitKey{}).(*commitHooks); ok {
		after.list = append(after.list, f)
	} else {
		f()
	}
}

// Snapshot runs fn in a read-only transaction that sees one state of the database.
func (db *DB) Snapshot(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	opts := &sql.TxOptions{ReadOnly: true}
	if !isSQLite(db) {
		opts.Isolation = sql.LevelRepeatableRead
	}
	return Translate(db.Reader.RunInTx(ctx, opts, fn))
}

// Ping returns an error where the database does not answer.
func (db *DB) Ping(ctx context.Context) error {
	_, err := db.Reader.ExecContext(ctx, "SELECT 1")
	return Translate(err)
}

// Close closes all connections.
func (db *DB) Close() error {
	err := db.DB.Close()
	if db.Reader != db.DB {
		if e := db.Reader.Close(); err == nil {
			err = e
		}
	}
	return err
}

// DatabaseNow is the time by the database's clock, the only one that due times are compared with.
func DatabaseNow(ctx context.Context, db bun.IDB) (time.Time, error) {
	return queryOne[time.Time](ctx, db, "SELECT clock_timestamp()", nil)
}

// ForeignTx is a transaction that a Go web tier has begun on the PostgreSQL database with Tocsin's tables, with any
// driver. Only queries below bun can run in it: those that accept events.
type ForeignTx struct {
	*bun.DB // for the dialect; it has no connection
	tx      *sql.Tx
}

// NewForeignTx returns a ForeignTx over tx.
func NewForeignTx(tx *sql.Tx) *ForeignTx {
	return &ForeignTx{DB: bun.NewDB(nil, pgdialect.New()), tx: tx}
}

// reader is a database, or a transaction, of any driver.
type reader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// readWriter is a *sql.DB, a *sql.Tx or a *sql.Conn.
type readWriter interface {
	reader
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// raw returns the database or transaction below bun, where placeholders are $1, $2, … in both dialects and slices are
// passed to the driver as they are.
func raw(db bun.IDB) readWriter {
	switch db := db.(type) {
	case *DB:
		return db.DB.DB
	case *bun.DB:
		return db.DB
	case bun.Tx:
		return db.Tx
	case *bun.Tx:
		return db.Tx
	case bun.Conn:
		return db.Conn
	case *ForeignTx:
		return db.tx
	}
	panic(fmt.Sprintf("dbmodel: %T is no database", db))
}
