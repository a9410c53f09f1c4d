package dbmodel_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// lockWaits returns once a statement on the database waits for the lock of a row.
func lockWaits(t *testing.T, db *dbmodel.DB) {
	t.Helper()
	testenv.Eventually(t, time.Minute, func() error {
		n, err := db.NewSelect().TableExpr("pg_stat_activity").Where("datname = current_database() AND wait_event_type = 'Lock'").
			Count(context.WithoutCancel(t.Context()))
		if err == nil && n == 0 {
			err = errors.New("nobody does")
		}
		return err
	}, "no statement waits for a lock")
}

// TestRowsAreLockedInOrder: two transactions that lock the same rows never wait for each other, because each locks them in
// the order of their ids, wherever they are stored. SQLite has one writer.
func TestRowsAreLockedInOrder(t *testing.T) {
	t.Parallel()
	const rows = 3
	inAnHour := "clock_timestamp() + interval '1 hour'"
	mend := func(ctx context.Context, db *dbmodel.DB) error { return mendDueTimes(ctx, db, time.Minute) }
	forget := func(ctx context.Context, db *dbmodel.DB) error { return dbmodel.ForgetFailures(ctx, db) }
	retry := func(ctx context.Context, db *dbmodel.DB) error {
		_, err := dbmodel.RetryFailedEvents(ctx, db, true, nil)
		return err
	}
	resend := func(ctx context.Context, db *dbmodel.DB) error {
		return db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, _, _, err := dbmodel.ResendFailed(ctx, tx, everything, rule.Reader, 0, 0, 10)
			return err
		})
	}
	for name, c := range map[string]struct {
		table, prepare string
		run            func(ctx context.Context, db *dbmodel.DB) error
	}{
		"resend":                  {"deliveries", "UPDATE deliveries SET state = 'failed'", resend},
		"targets of a resend":     {"targets", "UPDATE deliveries SET state = 'failed'", resend},
		"mend next tries":         {"targets", "UPDATE targets SET next_at = " + inAnHour, mend},
		"mend failures":           {"targets", "UPDATE targets SET failing_since = " + inAnHour, mend},
		"mend leases":             {"targets", "UPDATE targets SET owner = 'x', lease_until = " + inAnHour, mend},
		"forget failures":         {"targets", "DELETE FROM deliveries; UPDATE targets SET failing_since = next_at", forget},
		"retry":                   {"outbox", "UPDATE outbox SET failed_at = queued_at", retry},
		"mend slots":              {"subscriptions", "UPDATE subscriptions SET next_slot_at = now() + interval '1 hour'", mend},
		"mend runs":               {"periodic_tasks", "UPDATE periodic_tasks SET run_after = " + inAnHour, mend},
		"mend runs of lost tasks": {"periodic_tasks", "UPDATE periodic_tasks SET queued_at = " + inAnHour, mend},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, db := t.Context(), testenv.PostgresDB(t)
			exec := func(statement string) {
				t.Helper()
				if _, err := db.ExecContext(ctx, statement); err != nil {
					t.Fatal(err)
				}
			}
			exec("INSERT INTO targets (id, channel, key, address) SELECT i, 'email', decode(lpad(to_hex(i), 2, '0'), 'hex'), '' " +
				"FROM generate_series(1, 3) AS i")
			exec("INSERT INTO periodic_tasks (id, task, slot) SELECT i, 'cleanup', to_timestamp(i) FROM generate_series(1, 3) AS i")
			exec("INSERT INTO subscriptions (id, name) SELECT i, i::text FROM generate_series(1, 3) AS i")
			exec("INSERT INTO outbox (id, kind, payload, queued_at) SELECT i, 'observation', '{}', now() FROM generate_series(1, 3) AS i")
			inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
				n := dbmodel.Notification{Type: rule.TypeException, Name: "x"}
				return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{{Notification: n, Targets: []int64{1, 2, 3}}})
			})
			exec(c.prepare)
			exec("UPDATE " + c.table + " SET id = id WHERE id = 1") // now the last one in the table
			exec("ANALYZE " + c.table)                              // so small a table is read in that order
			done := make(chan error, 1)
			inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
				if _, err := tx.ExecContext(ctx, "SELECT 1 FROM "+c.table+" WHERE id = 1 FOR UPDATE"); err != nil {
					return err
				}
				go func() { done <- c.run(t.Context(), db) }()
				lockWaits(t, db)
				var free []int64
				err := tx.NewRaw("SELECT id FROM "+c.table+" FOR UPDATE SKIP LOCKED").Scan(ctx, &free)
				if len(free) != rows {
					t.Errorf("who waits for row 1 has locked others: only %d are free", free)
				}
				return err
			})
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
