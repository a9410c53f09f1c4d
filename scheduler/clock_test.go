package scheduler

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestSlotsAheadOfTheClockDoNotCount: after the clock of the database was set back, periodic tasks run as often as
// before.
func TestSlotsAheadOfTheClockDoNotCount(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		s := newScheduler(t, db, testenv.Redis(t))
		s.ReadSecObserve(10 * time.Minute)
		setCron(t, db, "0 * * * *")
		now, err := dbmodel.DatabaseNow(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		hour := now.Truncate(time.Hour).Add(time.Hour)
		for task, slot := range map[string]time.Time{
			dbmodel.PeriodicCleanup: hour.Add(24 * time.Hour), dbmodel.PeriodicSecObserve: now.Add(24 * time.Hour),
		} {
			if _, err := dbmodel.AddSlot(t.Context(), db, task, slot); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if _, err := db.ExecContext(t.Context(), "UPDATE periodic_tasks SET status = 'succeeded'"); err != nil {
				t.Fatal(err)
			}
			if err := s.addCleanup(t.Context(), hour.Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if err := s.addSecObserve(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]int{dbmodel.PeriodicCleanup: 2, dbmodel.PeriodicSecObserve: 2}
		got := map[string]int{}
		runs, err := dbmodel.PeriodicRuns(t.Context(), db, 0, 10)
		for _, r := range runs {
			got[r.Task]++
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("runs (-want +got): %v\n%s", err, diff)
		}
	})
}

// TestClockIsSetBackWithoutAScheduler moves all times an hour ahead while no scheduler lives, which is how they look
// when the clock of the database was set back by an hour. The first sweep after that finds what is due.
func TestClockIsSetBackWithoutAScheduler(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, server := t.Context(), testenv.Redis(t)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		sweep := func() (events, drains int) {
			t.Helper()
			s := newScheduler(t, db, server)
			_, err := s.sweep(ctx)
			must(err)
			events, _, err = s.queue.Size(t.Context(), queue.Events)
			must(err)
			drains, _, err = s.queue.Size(t.Context(), queue.BulkDrains)
			must(err)
			return events, drains
		}
		sweep() // there was one

		vault, err := dbmodel.OpenVault(ctx, db, make([]byte, dbmodel.KeySize), nil)
		must(err)
		must(db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			targets, err := dbmodel.EnsureTargets(ctx, tx, vault, rule.Email, []string{"fails@example.com", "other@example.com", "third@example.com"})
			if err != nil {
				return err
			}
			return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{
				{Notification: dbmodel.Notification{Type: rule.TypeSecurityGate, Name: "P"}, Targets: targets},
			})
		}))
		_, err = dbmodel.InsertEvent(ctx, db, dbmodel.NewEvent{Kind: dbmodel.KindException})
		must(err)
		in := func(seconds int) string {
			if db.Dialect().Name() == dialect.SQLite {
				return fmt.Sprintf("CAST(unixepoch('subsec') * 1000000 AS INTEGER) + %d * 1000000", seconds)
			}
			return fmt.Sprintf("clock_timestamp() + interval '%d seconds'", seconds)
		}
		for _, statement := range []string{
			"UPDATE outbox SET run_after = " + in(3600),
			"UPDATE targets SET next_at = " + in(3600),
			"UPDATE targets SET failing_since = " + in(3500) + ", failures = 1 WHERE id = (SELECT min(id) FROM targets)",
			"UPDATE ticks SET next_at = " + in(3601),
		} {
			_, err := db.ExecContext(ctx, statement)
			must(err)
		}
		if events, drains := sweep(); events != 1 || drains != 3 {
			t.Errorf("%d events and %d drains were enqueued, want 1 and 3", events, drains)
		}
	})
}

// TestSetBackIsSubtractedOnce lets a sweep fail while it mends due times, or another scheduler do the next sweep.
func TestSetBackIsSubtractedOnce(t *testing.T) {
	t.Parallel()
	for name, another := range map[string]bool{"the same scheduler": false, "another scheduler": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
				server := testenv.Redis(t)
				s := newScheduler(t, db, server)
				in := func(seconds int) string {
					if db.Dialect().Name() == dialect.SQLite {
						return fmt.Sprintf("CAST(unixepoch('subsec') * 1000000 AS INTEGER) + %d * 1000000", seconds)
					}
					return fmt.Sprintf("clock_timestamp() + interval '%d seconds'", seconds)
				}
				exec := func(statement string) {
					t.Helper()
					if _, err := db.ExecContext(t.Context(), statement); err != nil {
						t.Fatal(err)
					}
				}
				const hour, wait = 3600, 3 * 3600 // the clock goes back by an hour, and a Retry-After has three hours to go
				exec("INSERT INTO targets (channel, key, address, next_at) VALUES ('slack', '1', '', " + in(hour+wait) + ")")
				exec("INSERT INTO outbox (kind, payload, run_after) VALUES ('observations', '{}', " + in(hour) + ")")
				exec("UPDATE ticks SET next_at = " + in(hour+1) + " WHERE name = 'sweep'")
				for _, table := range []string{"outbox", "periodic_tasks"} {
					exec("ALTER TABLE " + table + " RENAME TO away")
					testenv.Eventually(t, 10*time.Second, func() error {
						if _, err := s.sweep(t.Context()); err == nil {
							return errors.New("no sweep fails")
						}
						return nil
					}, "without "+table)
					exec("ALTER TABLE away RENAME TO " + table)
					if another {
						s = newScheduler(t, db, server)
					}
				}
				testenv.Eventually(t, 10*time.Second, func() error {
					worked, err := s.sweep(t.Context())
					if err == nil && !worked {
						err = errors.New("it is too early")
					}
					return err
				}, "the next sweep")
				for what, condition := range map[string]string{
					"the Retry-After does not last as long as before": "FROM targets WHERE next_at BETWEEN " + in(wait-60) + " AND " + in(wait+60),
					"the event still waits":                           "FROM outbox WHERE run_after <= " + in(0),
				} {
					var found int
					if err := db.QueryRowContext(t.Context(), "SELECT count(*) "+condition).Scan(&found); err != nil || found != 1 {
						t.Errorf("%s: %d %v", what, found, err)
					}
				}
			})
		})
	}
}
