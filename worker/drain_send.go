package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// freshTime is how long after a lease was taken or renewed a message is sent without renewing the lease first.
// The sum of freshTime, burstTime and renewTime stays below dbmodel.LeaseTime.
const freshTime = 2 * time.Second

// deliver sends the next message, or a burst of messages, if something waits, and records the results.
func (d *drain) deliver(ctx context.Context) (nextStep, error) {
	d.forgetTraces()
	switch {
	case d.target.Channel == rule.Webhook:
		return d.deliverData(ctx)
	case d.target.Batch != 0:
		return d.deliverDigest(ctx)
	}
	return d.deliverWaiting(ctx)
}

// deliverWaiting sends the oldest deliveries that wait: the digest of a schedule or a pause; a digest of single
// deliveries, where these are too many; else single deliveries, one by one.
func (d *drain) deliverWaiting(ctx context.Context) (nextStep, error) {
	threshold := d.settings.DigestThreshold
	waiting, err := dbmodel.PendingDeliveries(ctx, d.w.DB, d.target.ID, max(threshold+1, d.ahead))
	switch {
	case err != nil:
		return stop, fmt.Errorf("find the deliveries that wait for target %d: %w", d.target.ID, err)
	case len(waiting) == 0:
		return nothingWaits, nil
	}
	isDigest := waiting[0].DigestID != 0
	if !isDigest {
		if i := slices.IndexFunc(waiting, func(one dbmodel.PendingDelivery) bool { return one.DigestID != 0 }); i > 0 {
			waiting = waiting[:i] // the digest behind them goes as a message of its own
		}
		switch {
		case threshold > 0 && len(waiting) > threshold:
			return d.deliverDigest(ctx)
		case d.gather(ctx):
			return goOn, nil
		}
	}
	isSubscribed := func(one dbmodel.PendingDelivery) bool { return one.Holder.Kind == rule.HolderSubscription }
	if slices.ContainsFunc(waiting, isSubscribed) {
		if changed, err := d.askAgain(ctx); err != nil {
			return stop, err
		} else if changed {
			return goOn, nil
		}
	}
	if isDigest {
		return d.deliverNetDigest(ctx, waiting[0])
	}
	return d.burst(ctx, waiting)
}

// askAgain decides once more which of the deliveries that wait because of subscriptions still go to the target, and
// reports whether anything changed.
func (d *drain) askAgain(ctx context.Context) (bool, error) {
	changed, lost, err := dbmodel.AskAgain(ctx, d.w.DB, d.target.ID, d.owner)
	for reason, list := range lost {
		d.noteUnsent(resultFailed, "a delivery failed", &channel.Error{Kind: channel.Gone, Reason: reason}, list)
	}
	if err != nil {
		return false, fmt.Errorf("ask again which deliveries go to target %d: %w", d.target.ID, err)
	}
	return changed, nil
}

// send renews the lease, unless that was done a moment ago, gives the turn at the database up and sends; the drain has
// its turn again after that. lost reports that another worker has the lease by now: this drain did not send the
// message, or not to its end, and the other worker sees to it. result is nil where the receiver took the message.
func (d *drain) send(ctx context.Context, m *channel.Message) (result *channel.Error, lost bool, err error) {
	if mine, err := d.renew(ctx); err != nil || !mine {
		return nil, !mine, err
	}
	d.turn.give()
	defer d.turn.take()
	d.trace, result, lost = d.post(m, d.parents)
	return result, lost, nil
}

// post sends a message, for a drain that has just renewed its lease and has no turn at the database. parents are places
// in the traces of its notifications; trace has the span of the message. The other results are those of send. Several
// messages may be posted at once.
func (d *drain) post(
	m *channel.Message, parents []string,
) (trace context.Context, result *channel.Error, lost bool) {
	trace, span := d.startSend(parents)
	defer func() { endSend(span, result) }()
	sender, configured := d.w.Senders[d.target.Channel]
	switch {
	case d.address == "":
		return trace, notConfigured(rule.AddressLost), false
	case !configured:
		return trace, notConfigured(d.target.Channel.Info().NotConfigured), false
	case d.target.Channel.Info().ByAddress && m.From == "":
		return trace, notConfigured(rule.NoEmailFrom), false
	}
	// Neither the end of the task nor a shutdown cuts a send short: its result would not be known.
	limit := channel.SendTime
	if patient, ok := sender.(channel.Patient); ok {
		limit = patient.SendTime()
	}
	sendCtx, cancel := context.WithTimeout(d.leased, limit)
	defer cancel()
	began := time.Now()
	err := sender.Send(sendCtx, channel.Target{Channel: d.target.Channel, Address: channel.Secret(d.address)}, m)
	d.w.counted.deliveryTimes.WithLabelValues(string(d.target.Channel)).Observe(time.Since(began).Seconds())
	switch {
	case err == nil:
		return trace, nil, false
	case errors.Is(context.Cause(d.leased), errLeaseLost):
		return trace, nil, true
	case errors.As(err, &result):
		return trace, result, false
	}
	return trace, &channel.Error{
		Kind: channel.Temporary, Reason: "sending failed: see the log of the worker", Err: err,
	}, false
}

// renew renews the lease, unless that was done a moment ago, and reports whether the drain still has it.
func (d *drain) renew(ctx context.Context) (mine bool, err error) {
	now := time.Now()
	if now.Sub(d.renewed) <= freshTime {
		return true, nil
	}
	mine, err = dbmodel.RenewTarget(ctx, d.w.DB, d.target.ID, d.owner)
	if err == nil && mine {
		d.renewed = now
	}
	return mine, err
}

// notConfigured is the result of a message that nothing can send before the configuration changes.
func notConfigured(reason rule.Reason) *channel.Error {
	return &channel.Error{Kind: channel.Permanent, Reason: string(reason), Err: channel.ErrNotConfigured}
}
