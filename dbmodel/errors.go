package dbmodel

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
)

// Errors that callers act upon; test with errors.Is.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the statement would violate a unique or foreign key.
	ErrConflict = errors.New("conflict")
	// ErrUnavailable: the database cannot be reached, is full of connections, or asks to try again. The statement may or
	// may not have had its effect.
	ErrUnavailable = errors.New("the database is not available")
)

// failure is an error of the database together with its meaning.
type failure struct{ kind, err error }

func (f *failure) Error() string   { return f.kind.Error() + ": " + f.err.Error() }
func (f *failure) Unwrap() []error { return []error{f.kind, f.err} }

// Translate gives an error of the database its meaning: ErrNotFound, ErrConflict or ErrUnavailable where it is one of
// these, else err itself. Both drivers' errors are known by their SQLState or Code methods, so that no driver is
// imported.
func Translate(err error) error {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) || errors.Is(err, ErrUnavailable) {
		return err
	}
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if kind := meaning(err); kind != nil {
		return &failure{kind, err}
	}
	return err
}

func meaning(err error) error {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return sqlState(state.SQLState())
	}
	var code interface{ Code() int }
	if errors.As(err, &code) {
		return sqliteCode(code.Code())
	}
	var netErr net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, sql.ErrTxDone),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &netErr),
		// pgx and database/sql do not export these errors.
		strings.Contains(err.Error(), "conn closed"), strings.Contains(err.Error(), "database is closed"):
		return ErrUnavailable
	}
	return nil
}

// sqlState follows https://www.postgresql.org/docs/current/errcodes-appendix.html.
func sqlState(code string) error {
	switch code {
	case "23505", "23503", "23001":
		return ErrConflict
	// Serialization, deadlock, lock_timeout, cancelled, transaction idle or open too long, read-only as a standby is.
	case "40001", "40P01", "55P03", "57014", "25P03", "25P04", "25006":
		return ErrUnavailable
	}
	switch code[:min(2, len(code))] {
	case "08", "53", "57", "58": // connection, resources, operator intervention, system
		return ErrUnavailable
	}
	return nil
}

// TookTooLong reports whether PostgreSQL itself has ended a statement, by its statement_timeout as a rule: another try
// of the same will not do better.
func TookTooLong(err error) bool {
	var state interface{ SQLState() string }
	return errors.As(err, &state) && state.SQLState() == "57014"
}

// sqliteCode follows https://www.sqlite.org/rescode.html.
func sqliteCode(code int) error {
	switch code & 0xff {
	case 5, 6, 9, 10, 13, 14: // BUSY, LOCKED, INTERRUPT, IOERR, FULL, CANTOPEN
		return ErrUnavailable
	case 19: // CONSTRAINT
		switch code {
		case 787, 1555, 2067: // foreign key, primary key, unique
			return ErrConflict
		}
	}
	return nil
}

// isMissingTable reports whether a statement failed because a table is not there.
func isMissingTable(err error) bool {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState() == "42P01"
	}
	return strings.Contains(err.Error(), "no such table")
}
