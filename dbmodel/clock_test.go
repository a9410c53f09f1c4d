package dbmodel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// mendDueTimes mends as the caller does whose turn it is.
func mendDueTimes(ctx context.Context, db *dbmodel.DB, setBack time.Duration) error {
	ahead := time.Now().Add(setBack + time.Minute)
	if _, err := db.NewUpdate().Table("ticks").Set("next_at = ?", ahead).Where("name = 'sweep'").Exec(ctx); err != nil {
		return err
	}
	mine, err := dbmodel.MendDueTimes(ctx, db, "sweep", time.Second, setBack)
	if err == nil && !mine {
		err = errors.New("the turn is not the caller's")
	}
	return err
}

// TestMendDueTimes moves what is stored an hour ahead, which is how it looks when the clock was set back by an hour.
func TestMendDueTimes(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		in := func(seconds int) string {
			if db.Reader != db.DB {
				return fmt.Sprintf("CAST(unixepoch('subsec') * 1000000 AS INTEGER) + %d * 1000000", seconds)
			}
			return fmt.Sprintf("clock_timestamp() + interval '%d seconds'", seconds)
		}
		exec := func(statement string) {
			t.Helper()
			if _, err := db.ExecContext(ctx, statement); err != nil {
				t.Fatal(err)
			}
		}
		setBack := func() time.Duration {
			t.Helper()
			d, err := dbmodel.ClockSetBack(ctx, db, "sweep", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		if d := setBack(); d != 0 {
			t.Fatalf("set back by %s", d)
		}
		exec("UPDATE ticks SET next_at = " + in(3601) + " WHERE name = 'sweep'")
		back := setBack()
		if back < time.Hour-time.Second || back > time.Hour {
			t.Fatalf("set back by %s", back)
		}
		exec("INSERT INTO targets (id, channel, key, address, owner, lease_until, next_at, failing_since) VALUES " +
			"(1, 'slack', '1', '', 'a', " + in(3620) + ", " + in(3602) + ", " + in(3500) + "), (2, 'slack', '2', '', NULL, NULL, " + in(3600+600) + ", NULL)")
		exec("INSERT INTO outbox (id, kind, payload, claim, run_after, queued_at) VALUES (1, 'observations', '{}', 0, " + in(3600) + ", " + in(3600) + "), " +
			"(2, 'observations', '{}', 1, " + in(3620) + ", NULL), (3, 'observations', '{}', 1, " + in(10) + ", NULL)")
		exec("INSERT INTO periodic_tasks (id, task, slot, run_after, queued_at) VALUES (1, 'cleanup', " + in(0) + ", " + in(3660) + ", " + in(3600) + ")")
		for _, want := range []bool{true, false} { // another process may have found the same at the same time
			mine, err := dbmodel.MendDueTimes(ctx, db, "sweep", time.Second, back)
			if err != nil || mine != want {
				t.Fatalf("the turn is the caller's: %v, want %v, %v", mine, want, err)
			}
		}
		for what, within := range map[string][2]int{ // seconds from now
			"next_at FROM targets WHERE id = 1":          {-60, 3},
			"next_at FROM targets WHERE id = 2":          {540, 601},
			"failing_since FROM targets WHERE id = 1":    {-60, 0},
			"lease_until FROM targets WHERE id = 1":      {-30, 20},
			"run_after FROM outbox WHERE id = 1":         {-60, 0},
			"queued_at FROM outbox WHERE id = 1":         {-60, 0},
			"run_after FROM outbox WHERE id = 2":         {-30, 20},
			"run_after FROM outbox WHERE id = 3":         {-60, 10},
			"run_after FROM periodic_tasks WHERE id = 1": {0, 60},
			"queued_at FROM periodic_tasks WHERE id = 1": {-60, 0},
		} {
			var good bool
			column, table, _ := strings.Cut(what, " ")
			query := "SELECT " + column + " BETWEEN " + in(within[0]) + " AND " + in(within[1]) + " " + table
			if err := db.QueryRowContext(ctx, query).Scan(&good); err != nil || !good {
				t.Errorf("%s: %v %v", what, good, err)
			}
		}
	})
}
