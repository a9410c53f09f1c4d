package dbmodel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

const (
	// longestWait is longer than an event waits for its next try, and longer than a claim lasts.
	longestWait = time.Minute
	// mendedAtOnce bounds the events that one statement changes.
	mendedAtOnce = 5_000
)

const nextTick = `SELECT next_at, clock_timestamp() + @interval AS latest FROM ticks WHERE name = @name`

// ClockSetBack returns how far the database's clock was set back since the last Tick of this name, 0 where it was not.
// It finds that by a next tick that lies further ahead than interval, so the result may be too small by up to
// interval. The caller calls MendDueTimes then, and Tick else: either sets the time of the next tick.
func ClockSetBack(ctx context.Context, db bun.IDB, name string, interval time.Duration) (time.Duration, error) {
	t, err := queryOne[struct{ NextAt, Latest time.Time }](ctx, db, nextTick, args{"name": name, "interval": interval})
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return max(t.NextAt.Sub(t.Latest), 0), err
}

// These statements lock their rows in the order of the ids, as all that lock several of them do.

// mendNextAt lets a back-off or Retry-After last as long as it would have if the clock had not been set back.
const mendNextAt = `
	UPDATE targets SET next_at = CASE
		WHEN next_at - @set_back > clock_timestamp() THEN next_at - @set_back ELSE clock_timestamp() END
	WHERE id IN (SELECT id FROM targets WHERE next_at > clock_timestamp() ORDER BY id FOR NO KEY UPDATE)`

const mendFailingSince = `
	UPDATE targets SET failing_since = clock_timestamp()
	WHERE id IN (SELECT id FROM targets WHERE failing_since > clock_timestamp() ORDER BY id FOR NO KEY UPDATE)`

const mendLeases = `
	UPDATE targets SET lease_until = clock_timestamp() + @longest WHERE id IN (
		SELECT id FROM targets WHERE lease_until > clock_timestamp() + @longest ORDER BY id FOR NO KEY UPDATE)`

const mendRuns = `
	UPDATE periodic_tasks SET run_after = clock_timestamp() + @longest WHERE id IN (
		SELECT id FROM periodic_tasks WHERE run_after > clock_timestamp() + @longest ORDER BY id FOR NO KEY UPDATE)`

const mendQueuedRuns = `
	UPDATE periodic_tasks SET queued_at = clock_timestamp()
	WHERE id IN (SELECT id FROM periodic_tasks WHERE queued_at > clock_timestamp() ORDER BY id FOR NO KEY UPDATE)`

const mendEvents = `
	UPDATE outbox SET run_after = CASE WHEN claim = 0 THEN clock_timestamp() ELSE clock_timestamp() + @claim_time END
	WHERE id IN (
		SELECT id FROM outbox WHERE run_after > clock_timestamp() + @longest
		ORDER BY id LIMIT @limit FOR NO KEY UPDATE SKIP LOCKED)`

const mendQueuedEvents = `
	UPDATE outbox SET queued_at = clock_timestamp() WHERE id IN (
		SELECT id FROM outbox WHERE queued_at > clock_timestamp() ORDER BY id LIMIT @limit FOR NO KEY UPDATE SKIP LOCKED)`

// endSetBack is true for one caller, even where several mend at once, or one after the other.
const endSetBack = `
	UPDATE ticks SET next_at = clock_timestamp() + @interval
	WHERE name = @name AND next_at > clock_timestamp() + @interval`

// MendDueTimes corrects, after ClockSetBack found that the database's clock was set back by setBack, the due times
// that were written before that and the next slots of subscriptions. A lease or claim stays with its process: it is
// never ended, but cut to its full length from now.
//
// It ends with the Tick of this name, and reports whether that is the caller's. Where it fails, or its process ends,
// ClockSetBack finds the same again. That is why the only statement whose repetition would harm, for it subtracts, is
// committed with the Tick.
func MendDueTimes(
	ctx context.Context, db *DB, name string, interval, setBack time.Duration,
) (mine bool, err error) {
	if err := mendRepeatably(ctx, db); err != nil {
		return false, err
	}
	err = db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err := exec(ctx, tx, endSetBack, args{"name": name, "interval": interval})
		if mine = n > 0; err != nil || !mine {
			return err
		}
		_, err = exec(ctx, tx, mendNextAt, args{"set_back": setBack})
		return err
	})
	if err != nil {
		return false, fmt.Errorf("mend due times of targets: %w", err)
	}
	return mine, nil
}

// mendRepeatably mends what comes out the same however often it is mended.
func mendRepeatably(ctx context.Context, db *DB) error {
	for _, mend := range []struct {
		statement string
		args      args
	}{
		{mendFailingSince, nil},
		{mendLeases, args{"longest": LeaseTime}},
		{mendRuns, args{"longest": PeriodicClaimTime}},
		{mendQueuedRuns, nil},
	} {
		if _, err := exec(ctx, db, mend.statement, mend.args); err != nil {
			return fmt.Errorf("mend due times: %w", err)
		}
	}
	if err := mendSlots(ctx, db); err != nil {
		return fmt.Errorf("mend the next slots of subscriptions: %w", err)
	}
	for _, mend := range []struct {
		statement string
		args      args
	}{
		{mendEvents, args{"claim_time": ClaimTime, "longest": longestWait, "limit": mendedAtOnce}},
		{mendQueuedEvents, args{"limit": mendedAtOnce}},
	} {
		for {
			changed, err := exec(ctx, db, mend.statement, mend.args)
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

const tick = `
	UPDATE ticks SET next_at = clock_timestamp() + @interval
	WHERE name = @name AND (next_at <= clock_timestamp() OR next_at > clock_timestamp() + @interval)`

// Tick reports whether the caller must now do the work that the tick of this name is for; it is true once in every
// interval, over all processes. A next tick that is further ahead than interval was set before the clock was set back,
// and does not count.
func Tick(ctx context.Context, db bun.IDB, name string, interval time.Duration) (bool, error) {
	n, err := exec(ctx, db, tick, args{"name": name, "interval": interval})
	return n > 0, err
}
