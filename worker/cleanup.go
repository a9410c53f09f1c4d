package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

const (
	// cleanupBatch is how many notifications one statement deletes: its locks are held for some milliseconds.
	cleanupBatch = 500
	// longestCleanupPause bounds the pause after a batch, which is otherwise as long as the batch took: events come in between.
	longestCleanupPause = time.Second
	// suppressionAge is how long the count of an exception that was held back waits for the next one. Those that may still be
	// notified are younger: the longest exception_rate_limit is 30 days.
	suppressionAge = 90 * 24 * time.Hour
	// cleanupRetry is when a run is tried again after the database did not answer.
	cleanupRetry = 30 * time.Second
)

var (
	errRunLost  = errors.New("another process has taken the run over")
	errStopping = errors.New("the worker stopped: the run goes on elsewhere")
)

// periodicCleanup works off queue.TypePeriodicCleanup: it deletes what is too old. What becomes of a run stands in its row;
// one that is cut short is taken up again, which deletes what is left.
func (w *Worker) periodicCleanup(ctx context.Context, t *asynq.Task) error {
	var p queue.PeriodicTask
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		return fmt.Errorf("read the payload of %s: %w", t.Type(), err)
	}
	run, err := dbmodel.ClaimRun(ctx, w.DB, p.ID)
	if errors.Is(err, dbmodel.ErrNotFound) {
		return nil // over, claimed by another, or not due: its row sees to the rest
	}
	if err != nil {
		return fmt.Errorf("claim run %d: %w", p.ID, err)
	}
	if run.Attempts > dbmodel.PeriodicAttempts {
		err = fmt.Errorf("the process that ran it was lost each time, %d times", dbmodel.PeriodicAttempts)
		return w.endRun(run, dbmodel.RunFailed, err.Error(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, queue.PeriodicTime)
	defer cancel()
	c := &cleanup{w: w, run: run}
	err = c.do(ctx)
	done := c.message()
	switch {
	case err == nil:
		return w.endRun(run, dbmodel.RunSucceeded, done, nil)
	case errors.Is(err, errRunLost):
		return nil
	case errors.Is(err, errStopping):
		return w.record("give a run back", func(ctx context.Context) error { return dbmodel.ReleaseRun(ctx, w.DB, run, 0, done) })
	case ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("not done after %s: the next run goes on", queue.PeriodicTime)
	case errors.Is(err, dbmodel.ErrUnavailable) && run.Attempts < dbmodel.PeriodicAttempts:
		recorded := w.record("give a run back", func(ctx context.Context) error { return dbmodel.ReleaseRun(ctx, w.DB, run, cleanupRetry, err.Error()) })
		return fmt.Errorf("clean up: %w", errors.Join(err, recorded))
	}
	return w.endRun(run, dbmodel.RunFailed, fmt.Sprintf("%s; %v", done, err), err)
}

// endRun records what became of a run, and reports failure, the reason why it failed for good, which it returns.
func (w *Worker) endRun(run *dbmodel.PeriodicRun, status dbmodel.RunStatus, message string, failure error) error {
	recorded := w.record("a run ended", func(ctx context.Context) error {
		return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			ended, err := dbmodel.EndRun(ctx, tx, run, status, message)
			if err != nil || !ended || failure == nil {
				return err
			}
			return reportOwn(ctx, tx, classOf(failure), queue.TypePeriodicCleanup, "the clean-up failed: see the periodic tasks", message, false)
		})
	})
	if err := errors.Join(failure, recorded); err != nil {
		return fmt.Errorf("periodic task %s: %w", run.Task, err)
	}
	w.Log.Info().Str("task", run.Task).Time("slot", run.Slot).Msg(message)
	return nil
}

// cleanup is one run.
type cleanup struct {
	w       *Worker
	run     *dbmodel.PeriodicRun
	deleted int64 // notifications
}

// message is what the run did so far, in words.
func (c *cleanup) message() string {
	if c.deleted == 1 {
		return "deleted 1 notification"
	}
	return "deleted " + thousands(c.deleted) + " notifications"
}

// thousands writes 12345 as 12,345.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func (c *cleanup) do(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.w.Log.Error().Bytes("stack", debug.Stack()).Msgf("clean up: panic: %v", p)
			err = &panicked{p}
		}
	}()
	settings, err := dbmodel.LoadSettings(ctx, c.w.DB)
	if err != nil {
		return fmt.Errorf("load settings: %w", err)
	}
	if days := settings.NotificationRetentionDays; days > 0 {
		now, err := dbmodel.DatabaseNow(ctx, c.w.DB)
		if err != nil {
			return fmt.Errorf("ask for the time: %w", err)
		}
		if err := c.notifications(ctx, now.AddDate(0, 0, -days)); err != nil {
			return err
		}
	}
	if _, err := dbmodel.DeleteOldSuppressions(ctx, c.w.DB, suppressionAge); err != nil {
		return fmt.Errorf("forget held-back exceptions: %w", err)
	}
	if _, err := dbmodel.DeleteOldSessions(ctx, c.w.DB); err != nil {
		return fmt.Errorf("delete sessions that have expired: %w", err)
	}
	return nil
}

// notifications deletes those that were created before a time and wait for no delivery, a batch at a time.
func (c *cleanup) notifications(ctx context.Context, before time.Time) error {
	var behind *dbmodel.Position
	for {
		began := time.Now()
		found, err := c.batch(ctx, before, &behind)
		if err != nil || found < cleanupBatch {
			return err
		}
		if !c.w.pause(min(time.Since(began), longestCleanupPause)) {
			return errStopping
		}
		mine, err := dbmodel.RenewRun(ctx, c.w.DB, c.run)
		if err != nil {
			return fmt.Errorf("renew the claim of a run: %w", err)
		}
		if !mine {
			return errRunLost
		}
	}
}

// batch deletes the next notifications behind a position, moves it, and returns how many it found.
func (c *cleanup) batch(ctx context.Context, before time.Time, behind **dbmodel.Position) (found int, err error) {
	ctx, cancel := context.WithTimeout(ctx, dbmodel.PeriodicClaimTime/2)
	defer cancel()
	var deleted int64
	next := *behind
	err = c.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		ids, last, err := dbmodel.OldNotifications(ctx, tx, before, *behind, cleanupBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		found, next = len(ids), last
		deleted, err = dbmodel.DeleteQuietNotifications(ctx, tx, ids)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("delete old notifications: %w", err)
	}
	c.deleted += deleted
	*behind = next
	return found, nil
}
