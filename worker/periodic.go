package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
)

const (
	// periodicRetry is how long a run waits for its next try where the database did not answer.
	periodicRetry = 30 * time.Second
	// periodicRenewal is how often the claim of a run is renewed.
	periodicRenewal = dbmodel.PeriodicClaimTime / 4
)

var errStopping = errors.New("the worker stopped: the run goes on elsewhere")

// periodicTask is a task that runs by the clock.
type periodicTask struct {
	failure string // the message by which a run that failed for good is reported
	// do does a run and returns, in words, what it did, even where it fails after that.
	do func(ctx context.Context, run *dbmodel.PeriodicRun) (done string, err error)
	// reportsItself: do itself reports its failures, some of them only where the next runs fail as well; see reported.
	reportsItself bool
}

// periodicTasks returns how periodic tasks are handled, by type.
func (w *Worker) periodicTasks() map[string]asynq.HandlerFunc {
	out := map[string]asynq.HandlerFunc{}
	for name, task := range map[string]periodicTask{
		queue.TypePeriodicCleanup: {failure: "the clean-up failed: see the periodic tasks", do: w.periodicCleanup},
		queue.TypePeriodicDigests: {failure: "digests could not be made: see the periodic tasks", do: w.periodicDigests},
		queue.TypeSecObserveSync: {
			failure: "the pass over SecObserve failed: see the periodic tasks", do: w.secObserveSync, reportsItself: true,
		},
	} {
		out[name] = func(ctx context.Context, t *asynq.Task) error { return w.periodic(ctx, t, task) }
	}
	return out
}

// errNoSecObserve: the scheduler knows of a SecObserve, this worker does not.
var errNoSecObserve = errors.New("this worker knows no SecObserve: set TOCSIN_SECOBSERVE_URL for all processes")

// secObserveSync handles queue.TypeSecObserveSync: it brings Tocsin in step with SecObserve. The next try of a pass
// that is cut short reads the rest.
func (w *Worker) secObserveSync(ctx context.Context, run *dbmodel.PeriodicRun) (done string, err error) {
	if w.SecObserve == nil {
		return "", errNoSecObserve
	}
	ctx, span := w.startRun(ctx, run)
	defer func() { endSpan(span, err) }()
	return w.SecObserve(ctx, run)
}

// tryRun does a run of a task and renews its claim meanwhile. Where the claim is lost or the worker stops, it ends the
// context of the run and returns why. A panic is an error.
func (w *Worker) tryRun(
	ctx context.Context, run *dbmodel.PeriodicRun, task periodicTask,
) (done string, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go w.keepRun(ctx, run, end)
	err = w.catch("periodic task "+run.Task, func() (err error) {
		done, err = task.do(ctx, run)
		return err
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return done, err
}

// keepRun renews the claim of a run until ctx ends. Where the claim is lost or the worker stops, it calls end.
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

// periodic handles a task of queue.Periodic. The result of a run stands in its row.
func (w *Worker) periodic(ctx context.Context, t *asynq.Task, task periodicTask) error {
	var p queue.PeriodicTask
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		return fmt.Errorf("read the payload of %s: %w", t.Type(), err)
	}
	run, err := dbmodel.ClaimRun(ctx, w.DB, p.ID)
	if errors.Is(err, dbmodel.ErrNotFound) {
		return nil // over, claimed by another worker, or not due: the sweep enqueues a task for it where one is needed
	}
	if err != nil {
		return fmt.Errorf("claim run %d: %w", p.ID, err)
	}
	if run.TriedTooOften() {
		return w.failRun(run, t.Type(), task.failure, "", fmt.Errorf(
			"none of %d tries came to an end: each lost its process or the database", dbmodel.PeriodicAttempts))
	}
	ctx, cancel := context.WithTimeout(ctx, queue.PeriodicTime)
	defer cancel()
	done, err := w.tryRun(ctx, run, task)
	late := ctx.Err() == context.DeadlineExceeded
	report := task.failure
	if !late && task.reported(err) {
		report = ""
	}
	switch {
	case err == nil:
		return w.succeedRun(run, done)
	case errors.Is(err, dbmodel.ErrRunLost):
		return nil
	case errors.Is(err, errStopping):
		return w.record("give a run back", func(ctx context.Context) error {
			return dbmodel.HandOverRun(ctx, w.DB, run, done)
		})
	case late:
		err = fmt.Errorf("not done after %s: the next run goes on", queue.PeriodicTime)
	case errors.Is(err, dbmodel.ErrUnavailable) && run.MayTryAgain():
		recorded := w.record("give a run back", func(ctx context.Context) error {
			return dbmodel.ReleaseRun(ctx, w.DB, run, periodicRetry, err.Error())
		})
		return fmt.Errorf("periodic task %s: %w", run.Task, errors.Join(err, recorded))
	}
	return w.failRun(run, t.Type(), report, done, err)
}

// reported reports whether do itself has reported the failure err. do knows nothing of panics and of
// settings that the worker lacks, and can report nothing while the database is away.
func (t *periodicTask) reported(err error) bool {
	_, isPanic := errors.AsType[*panicked](err)
	return t.reportsItself && !isPanic && !errors.Is(err, errNoSecObserve) && !errors.Is(err, dbmodel.ErrUnavailable)
}

// succeedRun records that a run succeeded, and what it did.
func (w *Worker) succeedRun(run *dbmodel.PeriodicRun, done string) error {
	err := w.record("a run ended", func(ctx context.Context) error {
		return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := dbmodel.EndRun(ctx, tx, run, dbmodel.RunSucceeded, done)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("periodic task %s: %w", run.Task, err)
	}
	w.Log.Info().Str("task", run.Task).Time("slot", run.Slot).Msg(done)
	return nil
}

// failRun records that a run failed for good, what it did before and why, and returns why. It reports the failure with
// report as its message, unless that is empty. taskType is the type of its task.
func (w *Worker) failRun(run *dbmodel.PeriodicRun, taskType, report, done string, failure error) error {
	message := failure.Error()
	if done != "" {
		message = done + "; " + message
	}
	recorded := w.record("a run ended", func(ctx context.Context) error {
		return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			ended, err := dbmodel.EndRun(ctx, tx, run, dbmodel.RunFailed, message)
			if err != nil || !ended || report == "" {
				return err
			}
			return w.reportOwn(ctx, tx, accept.ExceptionInfo{
				Class: classOf(failure), Function: taskType, Message: report, Trace: message,
			})
		})
	})
	return fmt.Errorf("periodic task %s: %w", run.Task, errors.Join(failure, recorded))
}
