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
	"github.com/seed91453169/tocsin/tasks"
)

// evaluationTime bounds one evaluation; it ends before the claim does.
const evaluationTime = 15 * time.Second

// work evaluates a claimed event within the transaction that removes it, and returns the targets that must be told.
type work func(ctx context.Context, tx bun.Tx, e *dbmodel.Event) ([]int64, error)

// exclusive holds the lock that an evaluation needs until the returned function is called. An event whose earlier claim ran
// out may have killed its process: it is evaluated while nothing else is, so that it takes no neighbour with it.
func (w *Worker) exclusive(alone bool) (unlock func()) {
	if alone {
		w.alone.Lock()
		return w.alone.Unlock
	}
	w.alone.RLock()
	return w.alone.RUnlock
}

// evaluate claims an event and works it off. It returns whether that event is worked off now; the error is why it failed,
// after that is recorded.
func (w *Worker) evaluate(ctx context.Context, id int64, alone bool, do work) (bool, error) {
	e, err := dbmodel.ClaimEvent(ctx, w.DB, id, alone)
	if errors.Is(err, dbmodel.ErrNotFound) {
		return false, nil // worked off, claimed by another, or not due: its row sees to the rest
	}
	if err != nil {
		return false, fmt.Errorf("claim event %d: %w", id, err)
	}
	if e.Claim == dbmodel.ClaimedAloneAgain {
		switch {
		case len(e.Payload.IDs) > 1:
			w.Log.Warn().Int64("event", id).Msg("the process was lost twice with this import: its observations are evaluated one by one")
			return false, w.split(ctx, e)
		case e.Lives >= dbmodel.SetAsideAfter:
			return false, w.setAside(ctx, e, fmt.Sprintf("the worker process was lost each time, %d times", e.Lives))
		}
	}
	targets, err := w.attempt(ctx, e, do)
	switch {
	case err == nil:
		w.Queue.Poke(ctx, targets)
		return true, nil
	case errors.Is(err, dbmodel.ErrUnavailable):
		w.record("give an event back", func(ctx context.Context) error { return dbmodel.ReleaseEvent(ctx, w.DB, e, time.Second) })
	case len(e.Payload.IDs) > 1 && e.Failures+1 >= dbmodel.SplitAfter:
		w.record("split an event", func(ctx context.Context) error { return w.split(ctx, e) })
	case len(e.Payload.IDs) <= 1 && e.Failures+1 >= dbmodel.SetAsideAfter:
		w.record("set an event aside", func(ctx context.Context) error { return w.setAside(ctx, e, err.Error()) })
	default:
		wait := time.Second << e.Failures
		w.record("count a failure", func(ctx context.Context) error { return dbmodel.FailEvent(ctx, w.DB, e, err.Error(), wait) })
	}
	return false, fmt.Errorf("evaluate event %d (%s): %w", e.ID, e.Kind, err)
}

// attempt works off an event in one transaction; a panic is an error like others.
func (w *Worker) attempt(ctx context.Context, e *dbmodel.Event, do work) (targets []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, evaluationTime)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			w.Log.Error().Int64("event", e.ID).Bytes("stack", debug.Stack()).Msgf("panic: %v", p)
			targets, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	err = w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		taken, err := dbmodel.TakeEvent(ctx, tx, e)
		if err != nil || !taken {
			return err
		}
		targets, err = do(ctx, tx, e)
		return err
	})
	if err != nil && ctx.Err() == context.DeadlineExceeded && w.DB.Ping(w.ended) == nil {
		err = fmt.Errorf("it took more than %s", evaluationTime) // the database answers: the event itself takes too long
	}
	return targets, err
}

// split replaces an event of many observations by one for each.
func (w *Worker) split(ctx context.Context, e *dbmodel.Event) error {
	return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := dbmodel.SplitEvent(ctx, tx, e)
		return err
	})
}

// setAside ends the trying of an event.
func (w *Worker) setAside(ctx context.Context, e *dbmodel.Event, reason string) error {
	done, err := dbmodel.SetEventAside(ctx, w.DB, e, reason)
	if done {
		w.Log.Error().Int64("event", e.ID).Str("kind", string(e.Kind)).Ints64("observations", e.Payload.IDs).Int64("product", e.ProductID).
			Str("reason", reason).Msg("an event is set aside: its evaluation failed for good")
	}
	return err
}

// eventTask reads the payload of a task that evaluates an event.
func eventTask(t *asynq.Task) (p tasks.EventTask, err error) {
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		return p, fmt.Errorf("read the payload of %s: %w", t.Type(), err)
	}
	return p, nil
}
