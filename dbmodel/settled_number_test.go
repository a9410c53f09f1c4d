package dbmodel_test

import (
	"errors"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestSettledNumberWaitsInVain: a transaction that does not end is no reason to take the database for unavailable, wherever the
// time runs out. SQLite has one writer, which no other waits for.
func TestSettledNumberWaitsInVain(t *testing.T) {
	t.Parallel()
	ctx, db := t.Context(), testenv.PostgresDB(t)
	hangs, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer hangs.Rollback() //nolint:errcheck // it has nothing to say
	if _, err := hangs.ExecContext(ctx, "LOCK TABLE notifications IN ROW EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	for _, most := range []time.Duration{time.Nanosecond, 50 * time.Millisecond} {
		if _, err := dbmodel.SettledNumber(ctx, db, most); err == nil || errors.Is(err, dbmodel.ErrUnavailable) {
			t.Errorf("after %s: %v", most, err)
		}
	}
}
