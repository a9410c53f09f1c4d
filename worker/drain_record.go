package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/tracing"
	"github.com/seed91453169/tocsin/message"
)

// recordResult records the result of a message, and says how the drain goes on. It tries for as long as record does.
func (d *drain) recordResult(set dbmodel.DeliverySet, result *channel.Error) (nextStep, error) {
	switch {
	case result == nil:
		taken := time.Now()
		for _, part := range set.Parts() {
			if err := d.recordSent(part, func(int64) time.Time { return taken }); err != nil {
				return stop, err
			}
		}
		d.noteMessage(set)
		return goOn, d.answersAgain()
	case result.Kind == channel.Gone:
		return stop, d.gone(set, result)
	case result.Kind == channel.Permanent:
		err := d.fail(set, result)
		d.target.FailureNotified, d.target.Batch = true, 0
		d.noteMessage(set)
		return goOn, err
	}
	return stop, d.backOff(set, result)
}

// failing reports whether the last message to the target was not taken.
func (d *drain) failing() bool {
	return d.target.Failures > 0 || d.target.FailingSince != nil || d.target.FailureNotified
}

// answersAgain records that the target took a message, where it did not take the one before.
func (d *drain) answersAgain() error {
	t := d.target
	if !d.failing() && t.Batch == 0 {
		return nil
	}
	err := d.w.record("a target answers again", func(ctx context.Context) error {
		return dbmodel.TargetSucceeded(ctx, d.w.DB, t.ID, d.owner)
	})
	if err == nil {
		t.Failures, t.FailingSince, t.FailureNotified, t.Batch = 0, nil, false, 0
	}
	return err
}

// recordSent records that the receiver took deliveries; taken is when it took each of them.
func (d *drain) recordSent(part dbmodel.DeliverySet, taken func(id int64) time.Time) error {
	var list []dbmodel.SentDelivery
	err := d.w.record("a delivery was sent", func(ctx context.Context) (err error) {
		list, err = dbmodel.MarkSent(ctx, d.w.DB, part)
		return err
	})
	if err != nil {
		return err
	}
	recorded := time.Now()
	d.w.counted.sent(d.target.Channel, list, func(id int64) time.Duration { return recorded.Sub(taken(id)) })
	return nil
}

// recordTried records that the receiver did not take a message this time, and returns the deliveries that it recorded.
func (d *drain) recordTried(
	set dbmodel.DeliverySet, result *channel.Error,
) (tried []dbmodel.MarkedDelivery, err error) {
	for _, part := range set.Parts() {
		err := d.w.record("a delivery was not taken", func(ctx context.Context) error {
			marked, err := dbmodel.MarkTried(ctx, d.w.DB, part, d.owner, result.Reason)
			if err == nil {
				tried = append(tried, marked...)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return tried, nil
}

// noteUnsent counts deliveries that the receiver did not take, and logs each with text, and with its target as a person
// knows it, without an address. result is resultFailed or, where they are tried again, resultRetried.
func (d *drain) noteUnsent(result, text string, failure *channel.Error, list []dbmodel.MarkedDelivery) {
	if len(list) == 0 {
		return
	}
	w, t := d.w, d.target
	w.counted.attempts(t.Channel, result, failure, len(list))
	if d.name == "" {
		if places, err := dbmodel.PlacesOf(w.ended, w.DB.Reader, t.ID); err == nil {
			d.name = message.TargetName(t.Channel, places)
		}
	}
	for _, one := range list {
		w.Log.Warn().Func(tracing.Log(d.trace)).Int64("delivery", one.ID).Int64("notification", one.NotificationID).
			Int("attempt", one.Attempts).Int64("target", t.ID).Str("target_name", d.name).Str("channel", string(t.Channel)).
			Str("category", string(failure.Category())).Str("reason", failure.Reason).AnErr("cause", failure.Err).Msg(text)
	}
}

// fail records that the receiver refused a message for good, and reports it, unless a failure was reported since the
// target's last success.
func (d *drain) fail(set dbmodel.DeliverySet, result *channel.Error) error {
	parts := set.Parts()
	for i, part := range parts {
		err := d.w.record("a delivery failed", func(ctx context.Context) error {
			return d.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
				marked, err := dbmodel.MarkFailed(ctx, tx, part, d.owner, result.Reason)
				if err != nil {
					return err
				}
				dbmodel.AfterCommit(ctx, func() { d.noteUnsent(resultFailed, "a delivery failed for good", result, marked) })
				if i < len(parts)-1 {
					return nil
				}
				err = d.notifyFailure(ctx, tx, set, "DeliveryFailed", result.Brief(), "a delivery failed for good: "+result.Reason)
				if err != nil || !set.Digest {
					return err
				}
				return dbmodel.EndBatch(ctx, tx, set.TargetID, d.owner)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// notifyFailure reports, once until the target's next success, that the target fails; why says the reason in a few
// words, sentence in full. It reports nothing where all deliveries of set are about failures of Tocsin itself.
func (d *drain) notifyFailure(
	ctx context.Context, tx bun.Tx, set dbmodel.DeliverySet, class, why, sentence string,
) error {
	must, err := dbmodel.MustNotifyFailure(ctx, tx, set, d.owner)
	if err != nil || !must {
		return err
	}
	places, err := dbmodel.PlacesOf(ctx, tx, d.target.ID)
	if err != nil {
		return fmt.Errorf("find where target %d is set: %w", d.target.ID, err)
	}
	info, shown := d.target.Channel.Info(), d.address
	if shown != "" && !info.ByAddress {
		shown = channel.RedactURL(shown)
	}
	line := message.TargetFails(d.target.Channel, shown, places, why)
	if shown == "" {
		shown = fmt.Sprintf("target %d", d.target.ID)
	}
	return d.w.reportEach(ctx, tx, accept.ExceptionInfo{
		Class: class, Function: queue.TypeTargetDrain,
		Message: fmt.Sprintf("%s\n%s to %s: %s", line, info.Name, shown, sentence),
	})
}

// noteMessage notes for restTime which deliveries the last message stood for.
func (d *drain) noteMessage(set dbmodel.DeliverySet) {
	d.sinceRest += len(set.IDs)
	d.afterDigest = set.Digest
}

// backOff has the target rest after a failure, or gives it up, and ends the lease.
func (d *drain) backOff(set dbmodel.DeliverySet, result *channel.Error) error {
	w := d.w
	wait := backOffTime(d.target.Failures)
	if result.RetryAfter > 0 {
		wait = result.RetryAfter
	}
	var giveUp bool
	reason := fmt.Sprintf("Given up: no message reached this target for %d hours.", d.settings.DeliveryGiveUpHours)
	tried, err := d.recordTried(set, result)
	if err != nil {
		return err
	}
	err = w.record("a target failed", func(ctx context.Context) error {
		return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			if giveUp, err = d.countFailure(ctx, tx, set, wait); err != nil {
				return err
			}
			if !giveUp {
				return dbmodel.YieldTarget(ctx, tx, set.TargetID, d.owner)
			}
			all := dbmodel.DeliverySet{TargetID: set.TargetID, All: true}
			why := fmt.Sprintf("given up after %d hours: %s", d.settings.DeliveryGiveUpHours, result.Brief())
			return d.notifyFailure(ctx, tx, all, "TargetGivenUp", why,
				"all that waited for it failed: "+reason+" Last: "+result.Reason)
		})
	})
	if err != nil {
		return err
	}
	if !giveUp {
		d.noteUnsent(resultRetried, "a delivery is tried again", result, tried)
		return nil
	}
	return d.giveUp(result, reason)
}

// countFailure counts a failure of the target and reports whether it must be given up.
func (d *drain) countFailure(
	ctx context.Context, tx bun.Tx, set dbmodel.DeliverySet, wait time.Duration,
) (giveUp bool, err error) {
	if set.Digest {
		if err := dbmodel.KeepBatch(ctx, tx, set, d.owner); err != nil {
			return false, err
		}
	}
	giveUp, err = dbmodel.TargetFailed(ctx, tx, set.TargetID, d.owner, wait,
		time.Duration(d.settings.DeliveryGiveUpHours)*time.Hour)
	if errors.Is(err, dbmodel.ErrNotFound) {
		return false, nil // the lease is lost: the new owner finds out for itself whether the target fails
	}
	return giveUp, err
}

// giveUp fails all deliveries that wait for the target, and ends the lease. Where this process is lost meanwhile, the
// next failure of the target goes on with it.
func (d *drain) giveUp(result *channel.Error, reason string) error {
	w, total := d.w, 0
	for done := false; !done; {
		var some []dbmodel.MarkedDelivery
		err := w.record("a target is given up", func(ctx context.Context) error {
			return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
				some, done, err = dbmodel.GiveUpTarget(ctx, tx, d.target.ID, d.owner, reason)
				return err
			})
		})
		if err != nil {
			return err
		}
		d.noteUnsent(resultFailed, "a delivery was given up", result, some)
		total += len(some)
	}
	w.Log.Warn().Int64("target", d.target.ID).Str("target_name", d.name).Str("channel", string(d.target.Channel)).
		Str("reason", result.Reason).Int("deliveries", total).Msg("a target is given up: all that waited for it failed")
	return nil
}
