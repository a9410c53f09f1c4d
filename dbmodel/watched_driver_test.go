package dbmodel_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
)

// watched is db with a watcher below database/sql: before is called before each statement, and before each begin and
// commit of a transaction, whichever way it comes. Where before returns an error, that is what the caller gets, and the
// database gets nothing.
func watched(t *testing.T, db *dbmodel.DB, before func(ctx context.Context, statement string) error) *dbmodel.DB {
	t.Helper()
	pool := sql.OpenDB(&watchedPool{db.DB.DB, before})
	pool.SetMaxOpenConns(db.Stats().MaxOpenConnections)
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return &dbmodel.DB{DB: bun.NewDB(pool, db.Dialect()), Reader: db.Reader}
}

// watchedPool makes watched connections of those of another pool, which have the settings of the program.
type watchedPool struct {
	pool   *sql.DB
	before func(ctx context.Context, statement string) error
}

func (p *watchedPool) Driver() driver.Driver { return p.pool.Driver() }

func (p *watchedPool) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	out := &watchedConn{pool: p, from: c}
	err = c.Raw(func(conn any) error {
		out.conn = conn.(watchedDriver)
		return nil
	})
	return out, err
}

// watchedDriver is what both drivers have in common.
type watchedDriver interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
}

// watchedConn is a connection of another pool, to which it goes back at its end.
type watchedConn struct {
	pool *watchedPool
	from *sql.Conn
	conn watchedDriver
}

func (c *watchedConn) Close() error { return c.from.Close() }

func (c *watchedConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }

func (c *watchedConn) Begin() (driver.Tx, error) { return nil, errors.ErrUnsupported }

func (c *watchedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.pool.before(ctx, query); err != nil {
		return nil, err
	}
	return c.conn.ExecContext(ctx, query, args)
}

func (c *watchedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.pool.before(ctx, query); err != nil {
		return nil, err
	}
	return c.conn.QueryContext(ctx, query, args)
}

func (c *watchedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.pool.before(ctx, "BEGIN"); err != nil {
		return nil, err
	}
	tx, err := c.conn.BeginTx(ctx, opts)
	return &watchedTx{ctx, c.pool, tx}, err
}

// CheckNamedValue leaves values to the driver.
func (c *watchedConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type watchedTx struct {
	ctx  context.Context //nolint:containedctx // database/sql ends a transaction without one
	pool *watchedPool
	tx   driver.Tx
}

func (t *watchedTx) Commit() error {
	if err := t.pool.before(t.ctx, "COMMIT"); err != nil {
		return errors.Join(err, t.tx.Rollback())
	}
	return t.tx.Commit()
}

func (t *watchedTx) Rollback() error { return t.tx.Rollback() }
