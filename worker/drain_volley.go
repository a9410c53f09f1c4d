package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// sideBySide is how many messages are under way to one target at once, at the most.
	sideBySide = 4
	// swapTime is how far apart two things may have happened whose messages are under way at once, and may arrive in
	// either order.
	swapTime = time.Second
)

// volley sends the messages of a burst, several of them side by side where that swaps none that must stay in order.
type volley struct {
	d     *drain
	began time.Time
	most  int        // messages that are under way at once
	taken *sentGroup // records those that the receiver took

	mu       sync.Mutex // guards the fields below until send returns
	ended    *sync.Cond // a message is under way no more
	waiting  []single   // in order
	underWay []single
	sent     int       // messages that the receiver took
	refused  []refusal // messages that it did not take
	lost     bool      // another worker has the lease
	fault    error     // the panic of a send
}

// single is a delivery that goes as a message of its own.
type single struct {
	delivery     dbmodel.PendingDelivery
	notification *dbmodel.Notification
}

// refusal is the result of a message that the receiver did not take.
type refusal struct {
	set    dbmodel.DeliverySet
	result *channel.Error
	trace  context.Context // with the span of the message
}

func (d *drain) newVolley(waiting []dbmodel.PendingDelivery, of map[int64]*dbmodel.Notification) *volley {
	v := &volley{d: d, began: time.Now(), most: 1, taken: &sentGroup{d: d}}
	v.ended = sync.NewCond(&v.mu)
	for _, one := range waiting {
		if n, found := of[one.NotificationID]; found { // else it was deleted a moment ago, and the delivery with it
			v.waiting = append(v.waiting, single{one, n})
		}
	}
	if !d.target.Channel.Info().ByAddress { // mail servers count connections
		v.most = sideBySide
	}
	return v
}

// send sends messages until all are sent, one is not taken, or burstTime is over. It returns when none is under way.
func (v *volley) send() {
	var others sync.WaitGroup
	for range min(v.most, len(v.waiting)) - 1 {
		others.Go(v.sendEach)
	}
	v.sendEach()
	others.Wait()
}

// sendEach sends messages one by one.
func (v *volley) sendEach() {
	for one, found := v.next(); found; one, found = v.next() {
		v.sendOne(one)
	}
}

// next returns the message to begin with next, once it may be under way beside the others; found is false where no more
// may be begun.
func (v *volley) next() (one single, found bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for v.goesOn() {
		if one = v.waiting[0]; v.mayBegin(one) {
			v.waiting, v.underWay = v.waiting[1:], append(v.underWay, one)
			return one, true
		}
		v.ended.Wait()
	}
	return single{}, false
}

// goesOn reports whether another message may be begun; the caller holds the mutex.
func (v *volley) goesOn() bool {
	if len(v.waiting) == 0 || len(v.refused) > 0 || v.lost || v.fault != nil {
		return false
	}
	isFirst := v.sent == 0 && len(v.underWay) == 0
	return isFirst || time.Since(v.began) <= burstTime && !v.d.w.isStopping()
}

// mayBegin reports whether a message may be under way beside those that are; the caller holds the mutex. The first one
// of a drain goes alone: nothing else is sent to a receiver that does not take it.
func (v *volley) mayBegin(one single) bool {
	if len(v.underWay) > 0 && v.sent == 0 && !v.d.taken {
		return false
	}
	return !slices.ContainsFunc(v.underWay, func(other single) bool {
		return other.thing() == one.thing() || one.apart(other) > swapTime
	})
}

// sendOne sends a message, and notes its result.
func (v *volley) sendOne(one single) {
	r, lost, fault := v.post(one)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.underWay = slices.DeleteFunc(v.underWay, func(other single) bool { return other.delivery.ID == one.delivery.ID })
	switch {
	case fault != nil:
		v.fault = fault
	case lost:
		v.lost = true
	case r.result != nil:
		v.refused = append(v.refused, r)
	default:
		v.sent++
		v.taken.add(one.delivery.ID, time.Now())
	}
	v.ended.Broadcast()
}

// post sends a message. lost reports that another worker has the lease by now; fault is a panic.
func (v *volley) post(one single) (r refusal, lost bool, fault error) {
	defer func() {
		if p := recover(); p != nil {
			fault = v.d.recovered(p)
		}
	}()
	r.set = dbmodel.DeliverySet{TargetID: v.d.target.ID, IDs: []int64{one.delivery.ID}}
	m := v.d.single(one.notification, one.delivery)
	r.trace, r.result, lost = v.d.post(m, parentsOf(one.notification))
	return r, lost, nil
}

// apart returns how far apart two messages were stored, in either order: where the clock was set back in between, the
// later one seems to be older.
func (s single) apart(other single) time.Duration {
	return s.notification.CreatedAt.Sub(other.notification.CreatedAt).Abs()
}

// thing is what notifications must stay in order about: an observation, a title, a gate, or equal exceptions.
type thing struct {
	of   rule.Type
	id   int64
	name string // where there is no id
}

// thing returns what the message is about.
func (s single) thing() thing {
	n := s.notification
	switch {
	case n.Type == rule.TypeObservation && n.ObservationID != nil:
		return thing{of: n.Type, id: *n.ObservationID}
	case n.Type == rule.TypeSecurityGate && n.ProductID != nil:
		return thing{of: n.Type, id: *n.ProductID}
	}
	return thing{of: n.Type, name: n.Name}
}
