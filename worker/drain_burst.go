package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
)

const (
	// burstTime is how long a burst sends deliveries that were read ahead. After that, those not sent yet are read anew:
	// some may have been deleted.
	burstTime = 100 * time.Millisecond
	// mostAhead is how many deliveries are read ahead at the most.
	mostAhead = 200
)

// burst sends single deliveries, a few of them side by side, until one is not taken or burstTime is over. The
// receiver's answers are recorded in groups, while the next deliveries are sent.
func (d *drain) burst(ctx context.Context, waiting []dbmodel.PendingDelivery) (nextStep, error) {
	if d.paced() || d.failing() {
		waiting = waiting[:1]
	}
	ids := make([]int64, len(waiting))
	for i := range waiting {
		ids[i] = waiting[i].NotificationID
	}
	notifications, err := dbmodel.NotificationsByID(ctx, d.w.DB, ids)
	if err != nil {
		return stop, fmt.Errorf("load notifications for target %d: %w", d.target.ID, err)
	}
	if mine, err := d.renew(ctx); err != nil || !mine {
		return stop, err
	}
	d.turn.give()
	v := d.newVolley(waiting, notifications)
	v.send()
	d.turn.take()
	if d.ahead = min(4*max(len(waiting), 1), mostAhead); len(v.waiting) > 0 {
		d.ahead = max(v.sent, 1)
	}
	return d.recordVolley(v)
}

// recordVolley records the results of a volley that are not recorded yet, each even where another one cannot be, and
// returns the fault that ended it.
func (d *drain) recordVolley(v *volley) (next nextStep, fault error) {
	fault = errors.Join(v.fault, v.taken.flush())
	if v.sent > 0 {
		d.taken = true
		d.sinceRest += v.sent
		fault = errors.Join(fault, d.answersAgain())
	}
	next, err := d.recordRefused(v.refused)
	if fault = errors.Join(fault, err); fault != nil || v.lost {
		next = stop
	}
	return next, fault
}

// recordRefused records the results of messages that the receiver did not take. The target rests once for all of them:
// for as long as any of its answers asks.
func (d *drain) recordRefused(refused []refusal) (nextStep, error) {
	var again []refusal
	for _, one := range refused {
		if one.result.Kind != channel.Permanent {
			again = append(again, one)
			continue
		}
		d.trace = one.trace
		if _, err := d.recordResult(one.set, one.result); err != nil {
			return stop, err
		}
	}
	slices.SortStableFunc(again, func(a, b refusal) int { return cmp.Compare(a.result.RetryAfter, b.result.RetryAfter) })
	for i, one := range again {
		d.trace = one.trace
		if i == len(again)-1 {
			return d.recordResult(one.set, one.result)
		}
		tried, err := d.recordTried(one.set, one.result)
		if err != nil {
			return stop, err
		}
		d.noteUnsent(resultRetried, "a delivery is tried again", one.result, tried)
	}
	return goOn, nil
}

// paced reports whether messages to the target have a pace, a rate that they must not exceed.
func (d *drain) paced() bool { return d.w.Rates[d.target.Channel] > 0 }
