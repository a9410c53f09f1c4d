package dbmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

const (
	// longestWait is longer than any event waits for its next try or its claim ends.
	longestWait = time.Minute
	// mendedAtOnce bounds the events that one statement changes.
	mendedAtOnce = 5_000
)

// ClockSetBack returns how far the database's clock was set back since the tick of this name, 0 where it was not: the next time
// lies further ahead than interval. It is to be asked before Tick, which takes a new next time.
func ClockSetBack(ctx context.Context, db bun.IDB, name string, interval time.Duration) (time.Duration, error) {
	var next, latest instant
	err := raw(db).QueryRowContext(ctx, "SELECT next_at, "+later(db, interval)+" FROM ticks WHERE name = $1", name).Scan(&next, &latest)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return max(next.Sub(latest.Time), 0), Translate(err)
}

// MendDueTimes brings times that were written before the database's clock was set back by setBack to where the clock is now. What
// a process holds stays its own for as long as it would have: a lease or claim is cut to its full length from now, never ended.
func MendDueTimes(ctx context.Context, db *DB, setBack time.Duration) error {
	n := now(db)
	statements := []string{
		// A back-off or Retry-After ends when it would have ended.
		fmt.Sprintf("UPDATE targets SET next_at = CASE WHEN %[1]s > %[2]s THEN %[1]s ELSE %[2]s END WHERE next_at > %[2]s", earlier(db, "next_at", setBack), n),
		fmt.Sprintf("UPDATE targets SET failing_since = %[1]s WHERE failing_since > %[1]s", n),
		fmt.Sprintf("UPDATE targets SET lease_until = %[1]s WHERE lease_until > %[1]s", later(db, LeaseTime)),
		fmt.Sprintf("UPDATE periodic_tasks SET run_after = %[1]s WHERE run_after > %[1]s", later(db, PeriodicClaimTime)),
		fmt.Sprintf("UPDATE periodic_tasks SET queued_at = %[1]s WHERE queued_at > %[1]s", n),
	}
	for _, statement := range statements {
		if _, err := execCount(ctx, db, statement); err != nil {
			return fmt.Errorf("mend due times: %w", err)
		}
	}
	for _, update := range []string{
		fmt.Sprintf("run_after = CASE WHEN claim = 0 THEN %s ELSE %s END WHERE id IN (SELECT id FROM outbox WHERE run_after > %s", n, later(db, ClaimTime), later(db, longestWait)),
		fmt.Sprintf("queued_at = %[1]s WHERE id IN (SELECT id FROM outbox WHERE queued_at > %[1]s", later(db, 0)),
	} {
		for {
			changed, err := execCount(ctx, db, "UPDATE outbox SET "+update+" ORDER BY id LIMIT $1"+skipLocked(db)+")", mendedAtOnce)
			if err != nil {
				return fmt.Errorf("mend due times of events: %w", err)
			}
			if changed < mendedAtOnce {
				break
			}
		}
	}
	return nil
}

// earlier is the time in a column less d.
func earlier(db bun.IDB, column string, d time.Duration) string {
	if isSQLite(db) {
		return fmt.Sprintf("(%s - %d)", column, d.Microseconds())
	}
	return fmt.Sprintf("(%s - interval '%d microseconds')", column, d.Microseconds())
}
