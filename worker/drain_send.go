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
// The sum of freshTime and renewTime stays below dbmodel.LeaseTime.
const freshTime = 2 * time.Second

// deliver sends the next message, or a burst of messages, if something waits, and records the results.
func (d *drain) deliver(ctx context.Context) (nextStep, error) {
	d.traceMessage()
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

// send calls transmit, and takes the drain's turn at the database again after it.
func (d *drain) send(ctx context.Context, m *channel.Message) (result *channel.Error, lost bool, err error) {
	defer d.turn.take()
	return d.transmit(ctx, m)
}

// transmit renews the lease, unless that was done a moment ago, gives the turn up and sends; the time for the send
// begins after that. lost reports that another worker has the lease by now: this drain did not send the message, or
// not to its end, and the other worker sees to it. result is nil where the receiver took the message.
func (d *drain) transmit(ctx context.Context, m *channel.Message) (result *channel.Error, lost bool, err error) {
	if mine, err := d.renew(ctx); err != nil || !mine {
		return nil, !mine, err
	}
	span := d.startSend()
	defer func() { endSend(span, result) }()
	sender, configured := d.w.Senders[d.target.Channel]
	switch {
	case d.address == "":
		return notConfigured(rule.AddressLost), false, nil
	case !configured:
		return notConfigured(d.target.Channel.Info().NotConfigured), false, nil
	case d.target.Channel.Info().ByAddress && m.From == "":
		return notConfigured(rule.NoEmailFrom), false, nil
	}
	// Neither the end of the task nor a shutdown cuts a send short: its result would not be known.
	limit := channel.SendTime
	if patient, ok := sender.(channel.Patient); ok {
		limit = patient.SendTime()
	}
	d.turn.give()
	sendCtx, cancel := context.WithTimeout(d.leased, limit)
	defer cancel()
	began := time.Now()
	err = sender.Send(sendCtx, channel.Target{Channel: d.target.Channel, Address: channel.Secret(d.address)}, m)
	d.w.counted.deliveryTimes.WithLabelValues(string(d.target.Channel)).Observe(time.Since(began).Seconds())
	switch {
	case err == nil:
		return nil, false, nil
	case errors.Is(context.Cause(d.leased), errLeaseLost):
		return nil, true, nil
	case errors.As(err, &result):
		return result, false, nil
	}
	return &channel.Error{
		Kind: channel.Temporary, Reason: "sending failed: see the log of the worker", Err: err,
	}, false, nil
}

// renew renews the lease, unless that was done a moment ago, and reports whether the drain still has it.
func (d *drain) renew(ctx context.Context) (mine bool, err error) {
	now := time.Now()
	if now.Sub(d.renewed) <= freshTime {
		return true, nil
	}
	d.turn.take()
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
