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
	"github.com/seed91453169/tocsin/internal/tracing"
)

// evaluationTime bounds one evaluation; it ends before the claim does.
const evaluationTime = 15 * time.Second

// handler is how events of one kind are evaluated.
type handler struct {
	// prepare runs before the transaction of the evaluation, and outside of it; nil: there is nothing to prepare.
	prepare func(ctx context.Context, e *dbmodel.Event) (prepared, error)
	// evaluate runs within the transaction that removes the event.
	evaluate func(ctx context.Context, tx bun.Tx, e *dbmodel.Event, p prepared) (decision, error)
	// inOrder: the events of one product are evaluated one after the other, the oldest first.
	inOrder bool
}

// prepared is the result of handler.prepare; the zero value where a kind has none.
type prepared struct {
	suppressed bool          // the exception equals one that was notified within the rate limit
	ids        []int64       // the observations that are decided in the transaction
	connected  time.Duration // how long prepare had a connection of the pool
}

// decision says what an evaluation stored.
type decision struct {
	targets       []int64 // that have new deliveries
	digestsOff    bool    // each new delivery is a message of its own
	notifications []dbmodel.NewNotification
	notified      int // observations, or other events, with a notification
}

// eventHandlers returns how events are evaluated, by kind.
func (w *Worker) eventHandlers() map[dbmodel.EventKind]handler {
	return map[dbmodel.EventKind]handler{
		dbmodel.KindObservation:  {prepare: w.prepareObservations, evaluate: w.evaluateObservations},
		dbmodel.KindBaseline:     {evaluate: w.evaluateBaseline},
		dbmodel.KindSecurityGate: {evaluate: w.evaluateGate, inOrder: true},
		dbmodel.KindException:    {prepare: w.prepareException, evaluate: w.evaluateException},
		dbmodel.KindRefused:      {evaluate: w.acceptRefused},
	}
}

// eventTasks returns how the tasks of events are handled, by type.
func (w *Worker) eventTasks() map[string]asynq.HandlerFunc {
	tasks := map[string]asynq.HandlerFunc{queue.TypeEventAccept: w.eventAccept}
	for kind, h := range w.eventHandlers() {
		tasks[queue.TypeOf(kind)] = w.eventTask(kind, h)
	}
	return tasks
}

// eventTask handles the tasks of events of one kind. Where these have an order, the task stands for the product: its
// oldest event comes first, whichever event the task names, so that two workers cannot swap them.
func (w *Worker) eventTask(kind dbmodel.EventKind, h handler) asynq.HandlerFunc {
	return func(ctx context.Context, t *asynq.Task) error {
		var p queue.EventTask
		if err := json.Unmarshal(t.Payload(), &p); err != nil {
			return fmt.Errorf("read the payload of %s: %w", t.Type(), err)
		}
		from, _ := asynq.GetQueueName(ctx)
		evaluate := func(id int64, alone bool) (done bool, err error) {
			unlock := w.lockEvaluations(alone, p.ID)
			began := time.Now()
			defer func() {
				unlock() // before the rest: single events, for which an import rests, may wait for the lock
				if from == queue.Bulk {
					w.pause(w.Queue.RestAfter(began))
				}
			}()
			return w.evaluate(ctx, kind, h, id, alone)
		}
		if !h.inOrder {
			_, err := evaluate(p.ID, p.Alone)
			return err
		}
		for !w.isStopping() {
			id, err := dbmodel.NextInOrder(ctx, w.DB, kind, p.ProductID)
			if errors.Is(err, dbmodel.ErrNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("find the next event (%s) of product %d: %w", kind, p.ProductID, err)
			}
			if done, err := evaluate(id, p.Alone && id == p.ID); err != nil || !done {
				return err
			}
		}
		return nil
	}
}

// lockEvaluations takes the lock that an evaluation needs. An event whose earlier claim ran out may have killed its
// process: it is evaluated alone, so that it takes no other evaluation with it. While the task of the event with the
// given id waits for the lock, it counts as enqueued.
func (w *Worker) lockEvaluations(alone bool, id int64) (unlock func()) {
	try, lock, unlock := w.evaluating.TryRLock, w.evaluating.RLock, w.evaluating.RUnlock
	if alone {
		try, lock, unlock = w.evaluating.TryLock, w.evaluating.Lock, w.evaluating.Unlock
	}
	if !try() {
		begins := make(chan struct{})
		go w.keepQueued(id, begins)
		lock()
		close(begins)
	}
	return unlock
}

// queuedAgain is how often keepQueued notes that a task waits: more often than the sweep looks for lost ones.
const queuedAgain = 2 * time.Second

// keepQueued keeps the sweep from taking the task of an event for lost until the task begins.
func (w *Worker) keepQueued(id int64, begins <-chan struct{}) {
	for {
		if err := dbmodel.KeepQueued(w.ended, w.DB, id); err != nil && w.ended.Err() == nil {
			w.Log.Debug().Err(err).Int64("event", id).Msg("could not note that the task of an event waits")
		}
		if isClosed(begins) || !w.pauseUntil(queuedAgain, begins) {
			return
		}
	}
}

// evaluate claims an event and evaluates it. done is false where the caller does not get the claim, and where the
// evaluation fails or is postponed. The error says why the evaluation failed, and is recorded by then.
func (w *Worker) evaluate(
	ctx context.Context, kind dbmodel.EventKind, h handler, id int64, alone bool,
) (done bool, err error) {
	e, err := dbmodel.ClaimEvent(ctx, w.DB, kind, id, alone)
	if errors.Is(err, dbmodel.ErrNotFound) {
		return false, nil // evaluated, claimed by another worker, or not due: the sweep enqueues a task where one is needed
	}
	if err != nil {
		return false, fmt.Errorf("claim event %d: %w", id, err)
	}
	if e.Claim == dbmodel.ClaimedAloneAgain {
		switch {
		case len(e.Payload.IDs) > 1:
			w.Log.Warn().Int64("event", id).Msg("the process was lost twice with this import: its observations are evaluated " +
				"one by one")
			return false, w.split(ctx, e)
		case e.ProcessesLost >= dbmodel.SetAsideAfter:
			return false, w.setAside(ctx, e, "WorkerLost",
				fmt.Errorf("%d evaluations came to no end: each lost its process or the database", e.ProcessesLost))
		}
	}
	var gathered []int64
	if e.Bulk {
		w.gathering.begin()
		defer func() { w.gathering.done(&e.Payload, gathered) }()
	}
	began := time.Now()
	ctx, span := w.startEvaluation(ctx, e)
	decided, err := w.attempt(ctx, e, h)
	endSpan(span, err)
	w.counted.evaluationTook(e, time.Since(began))
	switch {
	case err != nil:
		return false, w.recordFailure(e, err)
	case !e.Bulk:
		w.Queue.Poke(ctx, decided.targets)
	case decided.digestsOff:
		w.gathering.pokeAtOnce(decided.targets)
	default:
		gathered = decided.targets
	}
	return true, nil
}

// recordFailure records the failure of an evaluation, and returns it; nil where the evaluation is only postponed. The
// event is tried again later, split where it has many observations, or set aside after its last try.
func (w *Worker) recordFailure(e *dbmodel.Event, failure error) error {
	release := func(wait time.Duration) error {
		return w.record("give an event back", func(ctx context.Context) error {
			return dbmodel.ReleaseEvent(ctx, w.DB, e, wait)
		})
	}
	var recorded error
	later, isPostponed := errors.AsType[*postponed](failure)
	switch {
	case isPostponed:
		return release(later.wait)
	case errors.Is(failure, dbmodel.ErrUnavailable):
		recorded = release(time.Second)
	case len(e.Payload.IDs) > 1 && e.Failures+1 >= dbmodel.SplitAfter:
		recorded = w.record("split an event", func(ctx context.Context) error { return w.split(ctx, e) })
	case len(e.Payload.IDs) <= 1 && e.Failures+1 >= dbmodel.SetAsideAfter:
		recorded = w.record("set an event aside", func(ctx context.Context) error {
			return w.setAside(ctx, e, classOf(failure), failure)
		})
	default:
		recorded = w.record("count a failure", func(ctx context.Context) error {
			return dbmodel.FailEvent(ctx, w.DB, e, failure.Error(), time.Second<<e.Failures)
		})
	}
	return fmt.Errorf("evaluate event %d (%s): %w", e.ID, e.Kind, errors.Join(failure, recorded))
}

// postponed is an error that is no failure: the event is tried again after wait.
type postponed struct {
	wait time.Duration
	err  error
}

func (p *postponed) Error() string { return fmt.Sprintf("tried again in %s: %v", p.wait, p.err) }
func (p *postponed) Unwrap() error { return p.err }

// attempt evaluates an event in one transaction; a panic is an error like others.
func (w *Worker) attempt(ctx context.Context, e *dbmodel.Event, h handler) (decided decision, err error) {
	ctx, cancel := context.WithTimeout(ctx, evaluationTime)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			w.Log.Error().Func(tracing.Log(ctx)).Int64("event", e.ID).Bytes("stack", debug.Stack()).Msgf("panic: %v", p)
			decided, err = decision{}, &panicked{p}
		}
	}()
	var p prepared
	if h.prepare != nil {
		p, err = h.prepare(ctx, e)
	}
	connected := p.connected // how long the evaluation had a connection of the pool
	if err == nil {
		var began time.Time // when the transaction got its connection; zero: it got none
		err = w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			began = time.Now()
			taken, err := dbmodel.TakeEvent(ctx, tx, e)
			if err != nil || !taken {
				return err
			}
			decided, err = h.evaluate(ctx, tx, e, p)
			dbmodel.AfterCommit(ctx, func() { w.counted.evaluated(e, p, decided) })
			return err
		})
		if !began.IsZero() {
			connected += time.Since(began)
		}
	}
	tooLate := err != nil && ctx.Err() == context.DeadlineExceeded
	switch {
	case dbmodel.TookTooLong(err) && ctx.Err() == nil:
		err = errors.New("a statement took longer than the database allows: see its statement_timeout")
	case tooLate && connected > evaluationTime/2 && w.databaseAnswers():
		// It did not wait long for a connection, and the database answers: the event itself takes too long.
		err = fmt.Errorf("the evaluation took more than %s", evaluationTime)
	}
	return decided, err
}

// answerTime is how long databaseAnswers waits. A database that needs longer is to blame for a late evaluation; the
// event is not.
const answerTime = time.Second

// databaseAnswers reports whether the database answers now.
func (w *Worker) databaseAnswers() bool {
	ctx, cancel := context.WithTimeout(w.ended, answerTime)
	defer cancel()
	return w.DB.Ping(ctx) == nil
}

// split replaces an event of many observations by one event for each of them.
func (w *Worker) split(ctx context.Context, e *dbmodel.Event) error {
	return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := dbmodel.SplitEvent(ctx, tx, e)
		return err
	})
}

// setAside ends the tries of an event, and reports it.
func (w *Worker) setAside(ctx context.Context, e *dbmodel.Event, class string, reason error) error {
	subject := fmt.Sprintf("event %d (%s)", e.ID, e.Kind)
	switch {
	case len(e.Payload.IDs) > 0:
		subject += fmt.Sprintf(" of observation %d", e.Payload.IDs[0])
	case e.ProductID != 0:
		subject += fmt.Sprintf(" of product %d", e.ProductID)
	}
	return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		done, err := dbmodel.SetEventAside(ctx, tx, e, reason.Error())
		if err != nil || !done {
			return err
		}
		dbmodel.AfterCommit(ctx, func() {
			w.counted.setAside(e)
			w.Log.Error().Err(reason).Func(tracing.Log(tracing.Continue(ctx, e.Payload.TraceParent))).Str("class", class).
				Msg(subject + " is set aside: its evaluation failed for good")
		})
		if e.Payload.Exception != nil && e.Payload.Exception.Own {
			return nil
		}
		return w.reportOwn(ctx, tx, accept.ExceptionInfo{
			Class: class, Function: queue.TypeOf(e.Kind),
			Message: "an event is set aside: its evaluation failed for good; see the failed events",
			Trace:   subject + ": " + reason.Error(),
		})
	})
}
