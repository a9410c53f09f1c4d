package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
)

const (
	// burstTime is how long a burst sends deliveries that were read ahead. After that, those not sent yet are read anew:
	// some may have been deleted.
	burstTime = 100 * time.Millisecond
	// groupTime is how long a known result may wait for others that are recorded with it. Where the process is lost in
	// between, these deliveries are sent again.
	groupTime = 50 * time.Millisecond
	// mostAhead is how many deliveries are read ahead at the most.
	mostAhead = 200
)

// burst sends deliveries one by one, in order, until one is not taken or burstTime is over. The receiver's answers are
// recorded in groups, while the next deliveries are sent.
func (d *drain) burst(ctx context.Context, waiting []dbmodel.PendingDelivery) (next nextStep, err error) {
	if d.paced() || d.target.Failures > 0 || d.target.FailingSince != nil {
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
	unrecorded := &sentGroup{d: d}
	defer func() { // also where a send panics: the results of those before it are known
		d.turn.take()
		if e := unrecorded.flush(); e != nil {
			next, err = stop, e
		}
	}()
	began := time.Now()
	for i, one := range waiting {
		if i > 0 && (time.Since(began) > burstTime || d.w.isStopping()) {
			d.ahead = i
			return goOn, nil
		}
		n, found := notifications[one.NotificationID]
		if !found {
			continue // deleted a moment ago, and the delivery with it
		}
		d.traceMessage(n)
		result, lost, err := d.transmit(ctx, d.single(n, one))
		if err != nil || lost {
			return stop, err
		}
		if result != nil || d.target.Failures > 0 || d.target.FailingSince != nil || d.target.FailureNotified {
			d.turn.take()
			if err := unrecorded.flush(); err != nil {
				return stop, err
			}
			return d.recordResult(dbmodel.DeliverySet{TargetID: d.target.ID, IDs: []int64{one.ID}}, result)
		}
		d.sinceDigest++
		unrecorded.add(one.ID, time.Now())
	}
	d.ahead = min(4*max(len(waiting), 1), mostAhead)
	return goOn, nil
}

// paced reports whether messages to the target have a pace, a rate that they must not exceed.
func (d *drain) paced() bool { return d.w.Rates[d.target.Channel] > 0 }

// sentGroup is the deliveries of a burst that were sent and are not recorded yet.
type sentGroup struct {
	d *drain

	recording sync.Mutex // locked while deliveries are recorded: flush waits for that
	err       error      // why some could not be recorded; guarded by recording

	mu    sync.Mutex // guards the fields below
	timer *time.Timer
	ids   []int64
	taken map[int64]time.Time // when the receiver took each of them
}

// add takes a delivery that was sent; it is recorded within groupTime.
func (g *sentGroup) add(id int64, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ids = append(g.ids, id); g.taken == nil {
		g.taken = map[int64]time.Time{}
	}
	g.taken[id] = at
	if len(g.ids) == 1 {
		g.timer = time.AfterFunc(groupTime, func() {
			mine := turn{of: g.d.turn.of}
			mine.take()
			defer mine.give()
			_ = g.flush() // the last flush returns the error
		})
	}
}

// flush records the deliveries that were sent, however long that takes, and returns why some of the burst could not be
// recorded. Its caller has a turn at the database.
func (g *sentGroup) flush() error {
	g.recording.Lock()
	defer g.recording.Unlock()
	g.mu.Lock()
	ids, taken := g.ids, g.taken
	g.ids, g.taken = nil, nil
	if g.timer != nil {
		g.timer.Stop()
	}
	g.mu.Unlock()
	if len(ids) > 0 {
		set := dbmodel.DeliverySet{TargetID: g.d.target.ID, IDs: ids}
		if err := g.d.recordSent(set, func(id int64) time.Time { return taken[id] }); err != nil {
			g.err = err
		}
	}
	return g.err
}
