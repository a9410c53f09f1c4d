package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
)

const (
	// periodicRetry is when a run is tried again after the database did not answer.
	periodicRetry = 30 * time.Second
	// periodicRenewal is how often the claim of a run is renewed that renews it by itself too seldom.
	periodicRenewal = dbmodel.PeriodicClaimTime / 4
)

var errStopping = errors.New("the worker stopped: the run goes on elsewhere")

// periodicTask is a task that runs by the clock.
type periodicTask struct {
	failed string // what is reported of a run that failed for good
	// do runs it and returns what it did, in words, also where it failed.
	do func(ctx context.Context, run *dbmodel.PeriodicRun) (done string, err error)
	// reportsItself: a failure that is no panic is reported by do, and the next run may be better.
	reportsItself bool
}

// periodicTasks are the tasks of queue.Periodic, by their types.
func (w *Worker) periodicTasks() map[string]asynq.HandlerFunc {
	out := map[string]asynq.HandlerFunc{}
	for name, task := range map[string]periodicTask{
		queue.TypePeriodicCleanup: {failed: "the clean-up failed: see the periodic tasks", do: w.periodicCleanup},
		queue.TypePeriodicDigests: {failed: "digests could not be made: see the periodic tasks", do: w.periodicDigests},
		queue.TypeSecObserveSync: {
			failed: "the pass over SecObserve failed: see the periodic tasks", do: w.secObserveSync, reportsItself: true,
		},
	} {
		out[name] = func(ctx context.Context, t *asynq.Task) error { return w.periodic(ctx, t, task) }
	}
	return out
}

// errNoSecObserve: the scheduler knows of a SecObserve, this worker does not.
var errNoSecObserve = errors.New("this worker knows no SecObserve: set TOCSIN_SECOBSERVE_URL for all processes")

// secObserveSync handles queue.TypeSecObserveSync: it brings Tocsin in step with SecObserve. A pass that is cut short
// is taken up again, which reads what is left.
func (w *Worker) secObserveSync(ctx context.Context, run *dbmodel.PeriodicRun) (done string, err error) {
	if w.SecObserve == nil {
		return "", errNoSecObserve
	}
	ctx, span := w.startRun(ctx, run)
	defer func() { endSpan(span, err) }()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go w.keepRun(ctx, run, end)
	done, err = w.SecObserve(ctx, run)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return done, err
}

// keepRun renews the claim of a run until ctx ends, which it ends where the claim is lost or the worker stops.
func (w *Worker) keepRun(ctx context.Context, run *dbmodel.PeriodicRun, end context.CancelCauseFunc) {
	ticker := time.NewTicker(periodicRenewal)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.stopping:
			end(errStopping)
			return
		case <-ticker.C:
		}
		if mine, err := dbmodel.RenewRun(ctx, w.DB, run); err == nil && !mine {
			end(dbmodel.ErrRunLost)
		}
	}
}

// periodic handles a task of queue.Periodic. What becomes of a run stands in its row.
func (w *Worker) periodic(ctx context.Context, t *asynq.Task, task periodicTask) error {
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
		return w.endRun(run, t.Type(), task.failed, dbmodel.RunFailed, err.Error(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, queue.PeriodicTime)
	defer cancel()
	done, err := w.tryPeriodic(ctx, run, task)
	failed, late := task.failed, ctx.Err() == context.DeadlineExceeded
	if p := (*panicked)(nil); task.reportsItself && !errors.As(err, &p) {
		failed = ""
	}
	switch {
	case err == nil:
		return w.endRun(run, t.Type(), failed, dbmodel.RunSucceeded, done, nil)
	case errors.Is(err, dbmodel.ErrRunLost):
		return nil
	case errors.Is(err, errStopping):
		return w.record("give a run back", func(ctx context.Context) error {
			return dbmodel.ReleaseRun(ctx, w.DB, run, 0, done)
		})
	case late:
		err = fmt.Errorf("not done after %s: the next run goes on", queue.PeriodicTime)
	case errors.Is(err, dbmodel.ErrUnavailable) && run.Attempts < dbmodel.PeriodicAttempts:
		recorded := w.record("give a run back", func(ctx context.Context) error {
			return dbmodel.ReleaseRun(ctx, w.DB, run, periodicRetry, err.Error())
		})
		return fmt.Errorf("periodic task %s: %w", run.Task, errors.Join(err, recorded))
	}
	if done != "" {
		done += "; "
	}
	return w.endRun(run, t.Type(), failed, dbmodel.RunFailed, done+err.Error(), err)
}

// tryPeriodic runs a task; a panic is an error.
func (w *Worker) tryPeriodic(
	ctx context.Context, run *dbmodel.PeriodicRun, task periodicTask,
) (done string, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.Log.Error().Bytes("stack", debug.Stack()).Msgf("periodic task %s: panic: %v", run.Task, p)
			err = &panicked{p}
		}
	}()
	return task.do(ctx, run)
}

// endRun records what became of a run, and reports as failed, where that is not empty, why it failed for good: failure,
// which it returns.
func (w *Worker) endRun(
	run *dbmodel.PeriodicRun, function, failed string, status dbmodel.RunStatus, message string, failure error,
) error {
	recorded := w.record("a run ended", func(ctx context.Context) error {
		return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			ended, err := dbmodel.EndRun(ctx, tx, run, status, message)
			if err != nil || !ended || failure == nil || failed == "" {
				return err
			}
			return w.reportOwn(ctx, tx, accept.ExceptionInfo{
				Class: classOf(failure), Function: function, Message: failed, Trace: message,
			})
		})
	})
	if err := errors.Join(failure, recorded); err != nil {
		return fmt.Errorf("periodic task %s: %w", run.Task, err)
	}
	w.Log.Info().Str("task", run.Task).Time("slot", run.Slot).Msg(message)
	return nil
}
