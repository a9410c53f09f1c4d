package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestTwoSchedulersEnqueueOnce has two schedulers find the same events.
func TestTwoSchedulersEnqueueOnce(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		server := testenv.Redis(t)
		all := []*Scheduler{newScheduler(t, db, server), newScheduler(t, db, server)}
		const events = 3 * atOnce / 2 // more than one sweep takes
		for range events {
			if _, err := dbmodel.InsertEvent(t.Context(), db, dbmodel.NewEvent{Kind: dbmodel.KindException}); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range all {
			s.Start()
			t.Cleanup(s.Shutdown)
		}
		unqueued := func() (n int) {
			t.Helper()
			if err := db.Reader.QueryRowContext(t.Context(), "SELECT count(*) FROM outbox WHERE queued_at IS NULL").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		testenv.Eventually(t, 30*time.Second, func() error {
			if n := unqueued(); n > 0 {
				return fmt.Errorf("%d are left", n)
			}
			return nil
		}, "the events are not enqueued")
		enough := time.Now().Add(2 * sweepInterval)
		testenv.Eventually(t, 30*time.Second, func() error {
			n, _, err := all[0].queue.Size(t.Context(), queue.Events)
			if err != nil {
				return err // a loaded machine may take Redis longer than one question has
			}
			if n > events {
				t.Fatalf("%d tasks for %d events", n, events)
			}
			if n < events || time.Now().Before(enough) {
				return fmt.Errorf("%d tasks", n)
			}
			return nil
		}, "not all of them")
	})
}

// TestRoundEndsWhenNothingWaits: a delivery that comes after a time in which none waited is found by the next sweep, also
// where the sweep before had come to targets with higher ids.
func TestRoundEndsWhenNothingWaits(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		s := newScheduler(t, db, testenv.Redis(t))
		empty := "''"
		if db.Dialect().Name() == dialect.SQLite {
			empty = "x''"
		}
		s.lastTarget = 5
		for i, statement := range []string{
			"INSERT INTO targets (id, channel, key, address) VALUES (1, 'slack', " + empty + ", " + empty + ")",
			"INSERT INTO deliveries (notification_id, target_id, type) VALUES (1, 1, 'security_gate')",
		} {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
			_, err := db.ExecContext(t.Context(), "UPDATE ticks SET next_at = ?", time.Now().Add(-time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			if worked, err := s.sweep(t.Context()); !worked || err != nil {
				t.Fatalf("sweep: %v %v", worked, err)
			}
			if n, _, err := s.queue.Size(t.Context(), queue.BulkDrains); n != i || err != nil {
				t.Errorf("%d drains with %d deliveries: %v", n, i, err)
			}
		}
	})
}
