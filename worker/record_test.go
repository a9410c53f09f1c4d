package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestRecord waits for a database that is away as long as that takes, and gives up one that is there and refuses.
func TestRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := New(Config{Log: zerolog.Nop()})
		tries := 0
		err := w.record("it is away", func(context.Context) error {
			if tries++; tries < 100 {
				return fmt.Errorf("try %d: %w", tries, dbmodel.ErrUnavailable)
			}
			return nil
		})
		if err != nil || tries != 100 {
			t.Errorf("away: %d tries, %v", tries, err)
		}
		refused := errors.New("it will never be taken")
		tries = 0
		err = w.record("it refuses", func(context.Context) error { tries++; return refused })
		if !errors.Is(err, refused) || tries != refusals {
			t.Errorf("refused: %d tries, %v", tries, err)
		}
		w.end()
		tries = 0
		err = w.record("it must end", func(ctx context.Context) error { tries++; return dbmodel.Translate(ctx.Err()) })
		if !errors.Is(err, dbmodel.ErrUnavailable) || tries != 1 {
			t.Errorf("at the end: %d tries, %v", tries, err)
		}
	})
}

// TestResultThatTheDatabaseRefuses has a target rest, and reports it, instead of holding it for ever.
func TestResultThatTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	db := testenv.SQLiteDB(t)
	_, err := db.ExecContext(t.Context(), `CREATE TRIGGER refuse BEFORE UPDATE OF state ON deliveries WHEN NEW.state = 'sent'
		BEGIN SELECT RAISE(ABORT, 'no'); END`)
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, db, nil)
	e.product(1, "/a")
	e.accept(observation(1, 1, rule.High))
	testenv.Eventually(t, 30*time.Second, func() error {
		for _, n := range e.notifications() {
			if n.Own && n.Function == queue.TypeTargetDrain {
				return nil
			}
		}
		return errors.New("it is not reported")
	}, "a target whose result is refused")
	var rests bool
	err = db.QueryRowContext(t.Context(), "SELECT owner IS NULL AND next_at > CAST(unixepoch('subsec') * 1000000 AS INTEGER) FROM targets").Scan(&rests)
	if err != nil || !rests || e.receiver.tried("/a") > 2 {
		t.Errorf("rests: %v (%v); sent %d times", rests, err, e.receiver.tried("/a"))
	}
}

// TestDatabaseIsReadOnlyForAWhile, as a standby is until it has become the primary: what is known is recorded after that.
func TestDatabaseIsReadOnlyForAWhile(t *testing.T) {
	t.Parallel()
	server := testenv.Postgres(t)
	if err := testenv.MigrateSchema(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	db := testenv.OpenDB(t, server.URL())
	readOnly := func(state string) {
		for _, statement := range []string{"ALTER SYSTEM SET default_transaction_read_only = " + state, "SELECT pg_reload_conf()"} {
			if _, err := db.ExecContext(context.Background(), statement); err != nil {
				t.Error(err)
			}
		}
	}
	e := newEnv(t, db, nil)
	e.receiver.answer = func(_ string, try int) (int, map[string]string) {
		if try == 1 {
			readOnly("on")
			time.AfterFunc(3*time.Second, func() { readOnly("off") })
			for state := ""; state != "on" && t.Context().Err() == nil; { // until the connections have heard of it
				if err := db.QueryRowContext(t.Context(), "SHOW transaction_read_only").Scan(&state); err != nil {
					t.Error(err)
				}
			}
		}
		return 200, nil
	}
	e.product(1, "/a")
	e.accept(observation(1, 1, rule.High))
	e.idle(60 * time.Second)
	if n := e.receiver.tried("/a"); n != 1 {
		t.Errorf("notified %d times", n)
	}
}

// TestLeaseOutlastsTheRecording: a result that cannot be recorded for longer than a lease lasts is no reason to send the message
// again.
func TestLeaseOutlastsTheRecording(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	e := newEnv(t, db, nil)
	e.receiver.answer = func(_ string, try int) (int, map[string]string) {
		if try > 1 {
			return 200, nil
		}
		tx, err := db.BeginTx(context.Background(), nil)
		if err == nil {
			_, err = tx.ExecContext(context.Background(), "SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE deliveries IN SHARE ROW EXCLUSIVE MODE")
		}
		if err != nil {
			t.Errorf("lock: %v", err)
		}
		time.AfterFunc(dbmodel.LeaseTime+6*time.Second, func() { _ = tx.Rollback() })
		return 200, nil
	}
	e.product(1, "/a")
	e.accept(observation(1, 1, rule.High))
	e.idle(90 * time.Second)
	if n := e.receiver.tried("/a"); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

// TestDigestIsShortened where the receiver says that it is too large, and not where it refuses it for another reason.
func TestDigestIsShortened(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.receiver.answer = func(path string, _ int) (int, map[string]string) {
			if path == "/small" {
				return 413, nil
			}
			return 404, nil
		}
		e.settings(func(s *dbmodel.Settings) { s.DigestThreshold = 1 })
		e.product(1, "/small")
		e.product(2, "/gone")
		var list []dbmodel.Observation
		for i := range int64(20) {
			list = append(list, observation(i+1, i%2+1, rule.High))
		}
		e.accept(list...)
		e.idle(30 * time.Second)
		if small, gone := e.receiver.tried("/small"), e.receiver.tried("/gone"); small != 2 || gone != 1 {
			t.Errorf("too large: %d messages, want 2; gone: %d, want 1", small, gone)
		}
	})
}
