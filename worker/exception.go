package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// inPlaceTime is how long an exception waits in place, keeping its slot, for the evaluation of an equal one, which as
	// a rule takes milliseconds.
	inPlaceTime = time.Second
	// claimWait is how long an exception is postponed after inPlaceTime: the equal one has probably lost its process.
	claimWait = 5 * time.Second
)

func (w *Worker) exceptionKey(e *dbmodel.Event) string {
	return w.Vault.ExceptionKey(e.Payload.Exception.Fingerprint)
}

// prepareException claims an exception, unless an equal one was notified within the rate limit. Where the evaluation
// fails, the next try finds the claim and knows it by the event's id.
func (w *Worker) prepareException(ctx context.Context, e *dbmodel.Event) (prepared, error) {
	if e.Payload.Exception == nil {
		return prepared{}, fmt.Errorf("event %d has no exception", e.ID)
	}
	settings, err := dbmodel.LoadSettings(ctx, w.DB.Reader)
	if err != nil {
		return prepared{}, fmt.Errorf("load settings: %w", err)
	}
	limit := time.Duration(settings.ExceptionRateLimit) * time.Second
	if limit == 0 || e.Payload.Exception.NeverSuppressed {
		return prepared{}, nil
	}
	mine, err := w.claim(ctx, w.exceptionKey(e), e.ID, limit)
	return prepared{suppressed: !mine}, err
}

// evaluateException notifies an exception, or counts it for the next equal one where it is suppressed.
func (w *Worker) evaluateException(
	ctx context.Context, tx bun.Tx, event *dbmodel.Event, p prepared,
) (decision, error) {
	if p.suppressed {
		return decision{}, dbmodel.Suppress(ctx, tx, w.exceptionKey(event))
	}
	x := event.Payload.Exception
	e, err := newEvaluation(ctx, tx, nil)
	if err != nil {
		return decision{}, err
	}
	suppressed, err := dbmodel.TakeSuppressed(ctx, tx, w.exceptionKey(event))
	if err != nil {
		return decision{}, fmt.Errorf("count the suppressed exceptions: %w", err)
	}
	named, err := dbmodel.NamedBy(ctx, tx, x)
	if err != nil {
		return decision{}, fmt.Errorf("find the product, observation and user of an exception: %w", err)
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
		return decision{}, err
	}
	e.add(n, &rule.Applied{Contacts: contacts})
	return e.store(ctx, event)
}

// claim reports whether this event notifies the exception; false: an equal one did, within limit. An event that holds
// the claim and is not evaluated yet may still fail, so this event waits for it. Where the holder was set aside, this
// event takes the claim over.
func (w *Worker) claim(ctx context.Context, key string, id int64, limit time.Duration) (bool, error) {
	inPlace := false
	for began := time.Now(); ; {
		holder, err := w.Queue.Claim(ctx, key, id, limit)
		if err != nil {
			// Redis is away: nothing may be lost, so nothing is notified yet.
			return false, &postponed{wait: time.Second, err: err}
		}
		if holder == id {
			return true, nil // now, or by an earlier try that did not come to its end
		}
		state, err := dbmodel.StateOfEvent(ctx, w.DB.Reader, holder)
		if err != nil {
			return false, fmt.Errorf("find the event of an equal exception: %w", err)
		}
		switch state {
		case dbmodel.EventGone:
			return false, nil
		case dbmodel.EventSetAside:
			taken, err := w.Queue.TakeOver(ctx, key, holder, id, limit)
			if err != nil {
				return false, &postponed{wait: time.Second, err: err}
			}
			if taken {
				return true, nil
			}
		case dbmodel.EventWaits:
			// One at a time: a storm of equal ones must not take all slots.
			if !inPlace && w.inPlace.TryLock() {
				defer w.inPlace.Unlock() // taken once, it stays locked until claim returns
				inPlace = true
			}
			err := fmt.Errorf("event %d, which is equal, is being handled", holder)
			if !inPlace {
				return false, &postponed{wait: time.Second, err: err}
			}
			if time.Since(began) > inPlaceTime || !w.pause(20*time.Millisecond) {
				return false, &postponed{wait: claimWait, err: err}
			}
		}
	}
}
