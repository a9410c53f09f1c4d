package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/message"
)

// recordResult records what became of a message, for as long as that takes.
func (d *drain) recordResult(set dbmodel.DeliverySet, result *channel.Error) (outcome, error) {
	w := d.w
	switch {
	case result == nil:
		for _, part := range set.Parts() {
			err := w.record("a delivery was sent", func(ctx context.Context) error { return dbmodel.MarkSent(ctx, w.DB, part) })
			if err != nil {
				return stop, err
			}
		}
		if t := d.target; t.Failures > 0 || t.FailingSince != nil || t.FailureNotified || t.Batch != 0 {
			err := w.record("a target answers again", func(ctx context.Context) error {
				return dbmodel.TargetSucceeded(ctx, w.DB, t.ID, d.owner)
			})
			if err != nil {
				return stop, err
			}
			t.Failures, t.FailingSince, t.FailureNotified = 0, nil, false
		}
		d.count(set)
		return goOn, nil
	case result.Kind == channel.Gone:
		d.log(result, "a receiver is gone")
		return stop, d.gone(set, result)
	case result.Kind == channel.Permanent:
		d.log(result, "a delivery failed for good")
		err := d.fail(set, result)
		d.target.FailureNotified = true
		d.count(set)
		return goOn, err
	}
	d.log(result, "a delivery is tried again")
	return stop, d.backOff(set, result)
}

// log logs why the receiver did not accept a message, without its address, and what follows from that.
func (d *drain) log(result *channel.Error, text string) {
	d.w.Log.Warn().Int64("target", d.target.ID).Str("channel", string(d.target.Channel)).Stringer("kind", result.Kind).
		Str("reason", result.Reason).AnErr("cause", result.Err).Msg(text)
}

// fail records that a message was refused for good, and notifies that unless it was since the target's last success.
func (d *drain) fail(set dbmodel.DeliverySet, result *channel.Error) error {
	parts := set.Parts()
	for i, part := range parts {
		err := d.w.record("a delivery failed", func(ctx context.Context) error {
			return d.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
				if err := dbmodel.MarkFailed(ctx, tx, part, d.owner, result.Reason); err != nil || i < len(parts)-1 {
					return err
				}
				err := d.notifyFailure(ctx, tx, set, "DeliveryFailed", result.Brief(), "a delivery failed for good: "+result.Reason)
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

// notifyFailure notifies once, until the target's next success, that it fails: why in a few words, then in a sentence.
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
	if shown != "" && !info.Addresses {
		shown = channel.RedactURL(shown)
	}
	line := message.TargetFails(d.target.Channel, shown, places, why)
	if shown == "" {
		shown = fmt.Sprintf("target %d", d.target.ID)
	}
	return reportOwn(ctx, tx, class, queue.TypeTargetDrain,
		fmt.Sprintf("%s\n%s to %s: %s", line, info.Name, shown, sentence), "", true)
}

// count says what the last message was, for rest.
func (d *drain) count(set dbmodel.DeliverySet) {
	d.sent += len(set.IDs)
	d.digested = set.Digest
	d.target.Batch = 0
}

// backOff has the target rest after a failure, or gives it up, and ends the lease.
func (d *drain) backOff(set dbmodel.DeliverySet, result *channel.Error) error {
	w := d.w
	wait := backOffTime(d.target.Failures)
	if result.RetryAfter > 0 {
		wait = result.RetryAfter
	}
	var giveUp bool
	reason := fmt.Sprintf("Given up: this target did not answer for %d hours.", d.settings.DeliveryGiveUpHours)
	for _, part := range set.Parts() {
		err := w.record("a delivery is tried again", func(ctx context.Context) error {
			return dbmodel.MarkTried(ctx, w.DB, part, d.owner, result.Reason)
		})
		if err != nil {
			return err
		}
	}
	err := w.record("a target failed", func(ctx context.Context) error {
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
	if err != nil || !giveUp {
		return err
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
		return false, nil // the lease is lost: what happened here is the new owner's to find out
	}
	return giveUp, err
}

// giveUp fails all that waits for the target. Should this process be lost meanwhile, the next failure goes on.
func (d *drain) giveUp(result *channel.Error, reason string) error {
	w := d.w
	total := int64(0)
	for done := false; !done; {
		var n int64
		err := w.record("a target is given up", func(ctx context.Context) error {
			return w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
				n, done, err = dbmodel.GiveUpTarget(ctx, tx, d.target.ID, d.owner, reason)
				return err
			})
		})
		if err != nil {
			return err
		}
		total += n
	}
	d.log(result, fmt.Sprintf("a target is given up: all that waited for it failed (%d deliveries)", total))
	return nil
}
