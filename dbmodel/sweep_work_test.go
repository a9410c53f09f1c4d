package dbmodel_test

import (
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestFindSweepWork: what waits is found while it waits, and nothing else.
func TestFindSweepWork(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		want := func(when string, want dbmodel.SweepWork) {
			t.Helper()
			if got, err := dbmodel.FindSweepWork(t.Context(), db); err != nil || got != want {
				t.Errorf("%s: %+v, want %+v: %v", when, got, want, err)
			}
		}
		run := func(statement string) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		want("nothing is there", dbmodel.SweepWork{})

		run("INSERT INTO outbox (kind, bulk, payload) VALUES ('observation', false, '{}')")
		want("an event", dbmodel.SweepWork{Events: true})
		run("UPDATE outbox SET bulk = true")
		want("an import", dbmodel.SweepWork{Events: true})
		run("UPDATE outbox SET failed_at = created_at")
		want("an event that is set aside", dbmodel.SweepWork{})

		run("INSERT INTO deliveries (notification_id, target_id, type) VALUES (1, 1, 'security_gate')")
		want("a delivery", dbmodel.SweepWork{Deliveries: true})
		run("UPDATE deliveries SET state = 'failed'")
		want("a delivery that failed", dbmodel.SweepWork{})

		slackTarget(t, db)
		want("a target", dbmodel.SweepWork{})
		run("UPDATE targets SET failing_since = next_at")
		want("a target that fails", dbmodel.SweepWork{Failing: true})
		run("DELETE FROM targets")

		run("INSERT INTO deletions (user_id) VALUES (1)")
		want("a user is deleted", dbmodel.SweepWork{Deletions: true})
		run("DELETE FROM deletions")
		run("INSERT INTO deleted_notifications (id) VALUES (1)")
		want("a notification is deleted", dbmodel.SweepWork{Deletions: true})
	})
}
