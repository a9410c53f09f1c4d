package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
)

const (
	// cleanupBatch is how many notifications, targets or titles one statement looks at: its locks are held for some
	// milliseconds.
	cleanupBatch = 500
	// longestCleanupPause bounds the pause after a batch, which is otherwise as long as the batch took: events come in
	// between.
	longestCleanupPause = time.Second
	// suppressionAge is how long the count of suppressed exceptions waits for the next equal one. Counts that may still be
	// notified are younger: the longest exception_rate_limit is 30 days.
	suppressionAge = 90 * 24 * time.Hour
)

// periodicCleanup handles queue.TypePeriodicCleanup: it deletes rows that are too old, and rows that nothing refers to.
// The next try of a run that is cut short deletes the rest.
func (w *Worker) periodicCleanup(ctx context.Context, _ *dbmodel.PeriodicRun) (done string, err error) {
	c := &cleanup{w: w}
	err = c.do(ctx)
	return c.summary(), err
}

// cleanup is one run of the clean-up.
type cleanup struct {
	w       *Worker
	behind  *dbmodel.Position // of the last old notification that was looked at; nil: none was
	deleted int64             // notifications
	unused  int64             // targets and titles that nothing refers to any more
}

// summary says, in words, what the run did so far.
func (c *cleanup) summary() string {
	done := "deleted " + thousands(c.deleted) + " notifications"
	if c.deleted == 1 {
		done = "deleted 1 notification"
	}
	if c.unused > 0 {
		done += " and " + thousands(c.unused) + " addresses and titles that nothing refers to"
	}
	return done
}

func (c *cleanup) do(ctx context.Context) error {
	settings, err := dbmodel.LoadSettings(ctx, c.w.DB)
	if err != nil {
		return fmt.Errorf("load settings: %w", err)
	}
	if days := settings.NotificationRetentionDays; days > 0 {
		now, err := dbmodel.DatabaseNow(ctx, c.w.DB)
		if err != nil {
			return fmt.Errorf("ask for the time: %w", err)
		}
		before := now.AddDate(0, 0, -days)
		if err := c.notifications(ctx, before); err != nil {
			return err
		}
		if _, err := dbmodel.DeleteOldDigests(ctx, c.w.DB, before); err != nil {
			return fmt.Errorf("delete old digests: %w", err)
		}
	}
	if _, err := dbmodel.DeleteOldSuppressions(ctx, c.w.DB, suppressionAge); err != nil {
		return fmt.Errorf("forget suppressed exceptions: %w", err)
	}
	if _, err := dbmodel.DeleteOldSessions(ctx, c.w.DB); err != nil {
		return fmt.Errorf("delete sessions that have expired: %w", err)
	}
	if err := c.unusedTargets(ctx); err != nil {
		return fmt.Errorf("remove addresses that nothing refers to: %w", err)
	}
	if err := c.unusedTitles(ctx); err != nil {
		return fmt.Errorf("forget titles that no observation bears: %w", err)
	}
	return nil
}

// notifications deletes the notifications that were created before a time, a batch at a time, but for those with a
// pending delivery, and those that a digest has yet to report.
func (c *cleanup) notifications(ctx context.Context, before time.Time) error {
	return c.inBatches(ctx, func(ctx context.Context) (more bool, err error) { return c.deleteOld(ctx, before) })
}

// inBatches calls batch, with a bound on its time, for as long as it reports that there is more to do, with pauses in
// between.
func (c *cleanup) inBatches(ctx context.Context, batch func(context.Context) (more bool, err error)) error {
	for {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, dbmodel.PeriodicClaimTime/2)
		more, err := batch(limited)
		cancel()
		if err != nil || !more {
			return err
		}
		if !c.w.pause(min(time.Since(began), longestCleanupPause)) {
			return errStopping
		}
	}
}

// deleteOld deletes the next old notifications, and reports whether there are more.
func (c *cleanup) deleteOld(ctx context.Context, before time.Time) (more bool, err error) {
	var deleted int64
	last := c.behind
	err = c.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var ids []int64
		if ids, last, err = dbmodel.OldNotifications(ctx, tx, before, c.behind, cleanupBatch); err != nil || len(ids) == 0 {
			return err
		}
		more = len(ids) == cleanupBatch
		deleted, err = dbmodel.DeleteQuietNotifications(ctx, tx, ids)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("delete old notifications: %w", err)
	}
	c.deleted += deleted
	c.behind = last
	return more, nil
}
