package dbmodel_test

import (
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestTickAfterTheClockWasSetBack has the next time lie an hour ahead, as it does when the clock of the database is set back.
func TestTickAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		tick := func(interval time.Duration) bool {
			mine, err := dbmodel.Tick(t.Context(), db, "sweep", interval)
			if err != nil {
				t.Fatal(err)
			}
			return mine
		}
		if !tick(time.Hour) || tick(time.Hour) {
			t.Error("it is not once in an hour")
		}
		if !tick(time.Second) {
			t.Error("the next time stays an hour ahead")
		}
	})
}
