// Package database opens PostgreSQL and SQLite: drivers, pools and session settings. What is in the database is
// dbmodel's.
package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"modernc.org/sqlite" // the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/seed91453169/tocsin/dbmodel"
)

// Open opens the database at a postgres:// or sqlite:// URL with at most conns connections (SQLite: readers; it has one
// writer). It does not wait for the server: the first query does. An error never repeats the URL, which may hold a
// password.
func Open(rawURL string, conns int) (*dbmodel.DB, error) {
	switch scheme, rest, _ := strings.Cut(rawURL, "://"); scheme {
	case "postgres", "postgresql":
		return openPostgres(rawURL, conns)
	case "sqlite":
		return openSQLite(rest, conns)
	}
	return nil, fmt.Errorf("open the database: the URL must begin with postgres:// or sqlite:///")
}

// OpenAnother opens another pool of conns connections to the database of db, at the same URL: a caller that waits for
// a connection of one pool does not wait for the callers that hold those of the other. SQLite has one writer, which
// both pools use. The caller closes the pool before db.
func OpenAnother(db *dbmodel.DB, rawURL string, conns int) (another *dbmodel.DB, closePool func() error, err error) {
	rest, isSQLite := strings.CutPrefix(rawURL, "sqlite://")
	if !isSQLite {
		if another, err = Open(rawURL, conns); err != nil {
			return nil, nil, err
		}
		return another, another.Close, nil
	}
	path, query, _ := strings.Cut(rest, "?")
	reader, err := sqliteReader(path, query, conns)
	if err != nil {
		return nil, nil, err
	}
	return &dbmodel.DB{DB: db.DB, Reader: reader}, reader.Close, nil
}

// Exists reports whether there is a database at the URL, as far as that can be known without opening it: to open a
// SQLite database makes a missing file.
func Exists(rawURL string) bool {
	path, isSQLite := strings.CutPrefix(rawURL, "sqlite://")
	if !isSQLite {
		return true
	}
	path, _, _ = strings.Cut(path, "?")
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// silence is how long a query waits for a PostgreSQL server that has vanished: about as long as the keep-alive takes to
// notice that.
const silence = 25 * time.Second

func openPostgres(rawURL string, conns int) (*dbmodel.DB, error) {
	cfg, err := pgx.ParseConfig(rawURL)
	if err != nil {
		return nil, fmt.Errorf("open the database: the postgres:// URL is not valid: its form is " +
			"postgres://user:password@host:5432/database")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         boundSilence,
	}
	cfg.DialFunc = dialer.DialContext
	c := newConnector(cfg)
	pool := sql.OpenDB(c)
	limit(pool, conns)
	c.onPooler = func() { pool.SetConnMaxIdleTime(poolerIdleTime) }
	db := bun.NewDB(pool, pgdialect.New())
	return &dbmodel.DB{DB: db, Reader: db}, nil
}

// addFunctions gives every connection to SQLite the functions that the queries of dbmodel call.
var addFunctions = sync.OnceValue(func() error {
	return sqlite.RegisterDeterministicScalarFunction(dbmodel.FoldFunction, 1,
		func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			if text, ok := args[0].(string); ok {
				return fold(text), nil
			}
			return args[0], nil
		})
})

// fold is dbmodel.FoldFunction.
func fold(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) {
		return cases.Upper(language.Und).String(text)
	}
	return strings.ToUpper(text)
}

// openSQLite opens one writer, whose transactions take the lock when they begin, and a pool of readers. With several
// writers, or with transactions that become writing ones later, SQLite answers "database is locked" under load.
func openSQLite(path string, conns int) (*dbmodel.DB, error) {
	path, query, _ := strings.Cut(path, "?")
	if path == "" {
		return nil, fmt.Errorf("open the database: the SQLite URL has no path: its form is sqlite:///path/to/tocsin.db")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open the database: make its folder: %w", err)
	}
	if err := makePrivate(path); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := addFunctions(); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	writer, err := sqlitePool(path, query, 1, url.Values{"_txlock": {"immediate"}})
	if err != nil {
		return nil, err
	}
	if err := enterWAL(writer); err != nil {
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	reader, err := sqliteReader(path, query, conns)
	if err != nil {
		return nil, err
	}
	return &dbmodel.DB{DB: writer, Reader: reader}, nil
}

const (
	busyTime  = 10 * time.Second // how long a statement on SQLite waits for the locks of other processes
	busyPause = 20 * time.Millisecond
)

// enterWAL makes the first connection to a file of SQLite, which puts the file into WAL mode. Where another process
// writes to a file that is not in this mode yet, because it does the same for instance, SQLite does not wait for it.
func enterWAL(writer *bun.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), busyTime)
	defer cancel()
	for {
		err := writer.PingContext(ctx)
		busy, isSQLite := errors.AsType[*sqlite.Error](err)
		if !isSQLite || busy.Code()&0xff != sqlite3.SQLITE_BUSY {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(busyPause):
		}
	}
}

func sqliteReader(path, query string, conns int) (*bun.DB, error) {
	return sqlitePool(path, query, conns, url.Values{"_pragma": {"query_only(ON)"}})
}

func sqlitePool(path, query string, conns int, extra url.Values) (*bun.DB, error) {
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("open the database: the query of the SQLite URL is not valid")
	}
	for _, pragma := range []string{
		fmt.Sprintf("busy_timeout(%d)", busyTime.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)",
		"foreign_keys(ON)", "cache_size(-32000)", "temp_store(MEMORY)",
	} {
		params.Add("_pragma", pragma)
	}
	params.Set("_time_integer_format", "unix_micro")
	params.Set("_inttotime", "1")
	for name, values := range extra {
		params[name] = append(params[name], values...)
	}
	pool, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+params.Encode())
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	limit(pool, conns)
	return bun.NewDB(pool, newSQLiteDialect()), nil
}

// makePrivate makes the file of a new database, which SQLite would let everybody on the machine read; what SQLite puts
// beside it has the same mode. A file that exists already is not touched: to close it would end the locks that this
// process holds on it.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator says where
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func limit(pool *sql.DB, conns int) {
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
}
