package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// claimWait is how long an exception waits for an equal one whose handling did not come to its end.
	claimWait = 5 * time.Second
	// claimPatience is how long it first waits in place: an equal one is handled within milliseconds as a rule.
	claimPatience = time.Second
)

// exceptionEvaluate works off queue.TypeExceptionEvaluate.
func (w *Worker) exceptionEvaluate(ctx context.Context, t *asynq.Task) error {
	p, err := eventTask(t)
	if err != nil {
		return err
	}
	defer w.exclusive(p.Alone)()
	var told bool // an equal one was, within the rate limit
	_, err = w.evaluate(ctx, dbmodel.KindException, p.ID, p.Alone, func(ctx context.Context, e *dbmodel.Event) (err error) {
		told, err = w.toldBefore(ctx, e)
		return err
	}, func(ctx context.Context, tx bun.Tx, e *dbmodel.Event) ([]int64, error) {
		if told {
			return nil, dbmodel.Suppress(ctx, tx, w.exceptionKey(e))
		}
		return w.evaluateException(ctx, tx, e)
	})
	return err
}

func (w *Worker) exceptionKey(e *dbmodel.Event) string {
	return w.Vault.ExceptionKey(e.Payload.Exception.Fingerprint)
}

// toldBefore claims an exception, unless an equal one was told within the rate limit. It does so before the transaction of
// the evaluation: a claim that gets none is found again by the next try, which knows it by the event's id.
func (w *Worker) toldBefore(ctx context.Context, e *dbmodel.Event) (bool, error) {
	if e.Payload.Exception == nil {
		return false, fmt.Errorf("event %d says nothing of an exception", e.ID)
	}
	settings, err := dbmodel.LoadSettings(ctx, w.DB.Reader)
	if err != nil {
		return false, fmt.Errorf("load settings: %w", err)
	}
	limit := time.Duration(settings.ExceptionRateLimit) * time.Second
	if limit == 0 || e.Payload.Exception.Each {
		return false, nil
	}
	mine, err := w.claim(ctx, w.exceptionKey(e), e.ID, limit)
	return !mine, err
}

// evaluateException notifies an exception.
func (w *Worker) evaluateException(ctx context.Context, tx bun.Tx, event *dbmodel.Event) ([]int64, error) {
	x := event.Payload.Exception
	e, err := w.begin(ctx, tx, nil)
	if err != nil {
		return nil, err
	}
	suppressed, err := dbmodel.TakeSuppressed(ctx, tx, w.exceptionKey(event))
	if err != nil {
		return nil, fmt.Errorf("count what was held back: %w", err)
	}
	named, err := dbmodel.NamedBy(ctx, tx, x)
	if err != nil {
		return nil, fmt.Errorf("find what an exception names: %w", err)
	}
	n := dbmodel.Notification{
		Type: x.Type, Name: x.Class, Message: x.Message, Function: x.Function, Username: named.User, Arguments: x.Arguments,
		Trace: x.Trace, Suppressed: suppressed, Own: x.Own,
	}
	if p := named.Product; p != nil {
		n.ProductID, n.Facts.ProductName, n.Facts.ProductGroupName = &p.ID, p.Name, p.GroupName
	}
	if o := named.Observation; o != nil {
		n.ObservationID, n.Facts.ObservationTitle = &o.ID, o.Title
	}
	contacts, err := e.contactsOf(ctx, rule.HolderExceptions)
	if err != nil {
		return nil, err
	}
	e.add(n, &rule.Applied{Contacts: contacts})
	return e.store(ctx)
}

// claim makes the event the one that tells its exception; false: an equal one was told. What holds the claim and is not
// worked off yet may still fail, so this one waits for it; what was set aside is replaced.
func (w *Worker) claim(ctx context.Context, key string, id int64, limit time.Duration) (bool, error) {
	patient := false
	for began := time.Now(); ; {
		holder, err := w.Queue.Claim(ctx, key, id, limit)
		if err != nil {
			return false, &later{wait: time.Second, err: err} // Redis is away: nothing may be lost, so nothing is told yet
		}
		if holder == id {
			return true, nil // now, or by an earlier try that did not come to its end
		}
		state, err := dbmodel.StateOfEvent(ctx, w.DB.Reader, holder)
		if err != nil {
			return false, fmt.Errorf("look after the exception told before: %w", err)
		}
		switch state {
		case dbmodel.EventGone:
			return false, nil
		case dbmodel.EventSetAside:
			taken, err := w.Queue.TakeOver(ctx, key, holder, id, limit)
			if err != nil {
				return false, &later{wait: time.Second, err: err}
			}
			if taken {
				return true, nil
			}
		case dbmodel.EventWaits:
			// One at a time: a storm of equal ones must not take all slots.
			if !patient && w.patience.TryLock() {
				defer w.patience.Unlock()
				patient = true
			}
			if !patient {
				return false, &later{wait: time.Second, err: fmt.Errorf("event %d, which is equal, is being handled", holder)}
			}
			if time.Since(began) > claimPatience || !w.pause(20*time.Millisecond) {
				return false, &later{wait: claimWait, err: fmt.Errorf("event %d, which is equal, is being handled", holder)}
			}
		}
	}
}

// later is an error that is no failure: the event is tried again after wait.
type later struct {
	wait time.Duration
	err  error
}

func (l *later) Error() string { return fmt.Sprintf("tried again in %s: %v", l.wait, l.err) }
func (l *later) Unwrap() error { return l.err }

// eventAccept works off queue.TypeEventAccept, an event that came through Redis.
func (w *Worker) eventAccept(ctx context.Context, t *asynq.Task) error {
	return accept.New(w.DB, w.Queue).AcceptPayload(ctx, t.Payload())
}

// eventRetry works off queue.TypeEventRetry: an event that came through Redis and was refused is accepted after all.
func (w *Worker) eventRetry(ctx context.Context, t *asynq.Task) error {
	p, err := eventTask(t)
	if err != nil {
		return err
	}
	defer w.exclusive(p.Alone)()
	_, err = w.evaluate(ctx, dbmodel.KindAccept, p.ID, p.Alone, nil, func(ctx context.Context, tx bun.Tx, e *dbmodel.Event) ([]int64, error) {
		return nil, accept.Again(ctx, tx, e.Payload.Task)
	})
	return err
}
