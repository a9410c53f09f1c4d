package worker

import (
	"slices"
	"sync"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// lane is one of the lanes in which drains run, by the channel and the state of their targets. The bound of a lane
// keeps receivers that hang from taking the places of those that answer.
type lane struct {
	channel rule.Channel
	kind    laneKind
}

type laneKind int

const (
	// swiftLane is for targets that do not fail, and that a single event has something for.
	swiftLane laneKind = iota
	// bulkLane is for targets that do not fail, and that an import has something for, or that the sweep found.
	bulkLane
	// failingLane is for targets whose last try failed.
	failingLane
	laneKinds // how many there are
)

// laneLimits say how many drains a worker runs at once.
type laneLimits struct {
	healthy int // in each lane of targets that do not fail
	failing int // in each lane of targets that fail
	// patience is how long a drain counts in a lane of targets that do not fail. After that it counts among the long
	// drains of its channel, as soon as there is room for it there.
	patience time.Duration
	long     int // drains of each channel that count as long
	// waiting is how many drains wait for a place in each lane, in the order in which they came, each for waitingTime. A
	// target that finds no place is found again by the next sweep.
	waiting     int
	waitingTime time.Duration
}

// usualLanes have room for many drains: most of these only wait for a receiver, and turns bound how many use the
// database at once.
var usualLanes = laneLimits{
	healthy: 64, failing: 256, patience: 200 * time.Millisecond, long: 1024, waiting: 256, waitingTime: time.Second,
}

// most is how many drains run, or wait for a place, at the most.
func (l laneLimits) most() int {
	return len(rule.Channels) * (2*l.healthy + l.failing + l.long + int(laneKinds)*l.waiting)
}

// lanes hands out places to drains, and counts those that run.
type lanes struct {
	laneLimits
	mu          sync.Mutex
	running     map[lane]int
	queues      map[lane][]*place    // drains that wait, in order
	runningLong map[rule.Channel]int // drains that count among the long ones
}

func newLanes(limits laneLimits) *lanes {
	return &lanes{
		laneLimits: limits, running: map[lane]int{}, queues: map[lane][]*place{}, runningLong: map[rule.Channel]int{},
	}
}

// laneOf is the lane for a target. bulk says that no single event has something for it.
func laneOf(t *dbmodel.Target, bulk bool) lane {
	switch {
	case t.FailingSince != nil:
		return lane{t.Channel, failingLane}
	case bulk:
		return lane{t.Channel, bulkLane}
	}
	return lane{t.Channel, swiftLane}
}

// place is a drain's place in a lane, or in the queue before it.
type place struct {
	lanes        *lanes
	in           lane
	entered      chan struct{} // closed when the drain may run
	move         *time.Timer   // makes the drain count among the long ones
	countsAsLong bool          // the drain counts among the long ones
}

// enter returns a place in a lane or, where the lane is full, in its queue; nil: the queue is full, too. The caller
// calls leave.
func (l *lanes) enter(in lane) *place {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := l.healthy
	if in.kind == failingLane {
		most = l.failing
	}
	p := &place{lanes: l, in: in, entered: make(chan struct{})}
	switch {
	case l.running[in] < most:
		l.running[in]++
		l.begin(p)
	case len(l.queues[in]) < l.waiting:
		l.queues[in] = append(l.queues[in], p)
	default:
		return nil
	}
	return p
}

// begin lets the drain of a place run; the caller holds the mutex, and has counted it.
func (l *lanes) begin(p *place) {
	close(p.entered)
	if p.in.kind == failingLane {
		return
	}
	p.move = time.AfterFunc(l.patience, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case p.move == nil:
			return
		case l.runningLong[p.in.channel] >= l.long: // one of the long ones may have ended by the next time
			p.move.Reset(l.patience)
			return
		}
		p.countsAsLong = true
		l.runningLong[p.in.channel]++
		l.free(p.in)
	})
}

// free gives a place in a lane to the first drain that waits for one; the caller holds the mutex.
func (l *lanes) free(in lane) {
	if waiting := l.queues[in]; len(waiting) > 0 {
		l.queues[in] = waiting[1:]
		l.begin(waiting[0])
		return
	}
	l.running[in]--
}

// hasEntered reports whether the drain may run.
func (p *place) hasEntered() bool { return isClosed(p.entered) }

// wait waits for a place in the lane, up to waitingTime or until stop is closed, and reports whether the drain may run.
func (p *place) wait(stop <-chan struct{}) bool {
	timer := time.NewTimer(p.lanes.waitingTime)
	defer timer.Stop()
	select {
	case <-p.entered:
	case <-timer.C:
	case <-stop:
	}
	return p.hasEntered()
}

// leave gives the place to another drain.
func (p *place) leave() {
	l := p.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.move != nil {
		p.move.Stop()
		p.move = nil
	}
	switch {
	case p.countsAsLong:
		l.runningLong[p.in.channel]--
	case p.hasEntered():
		l.free(p.in)
	default:
		l.queues[p.in] = slices.DeleteFunc(l.queues[p.in], func(one *place) bool { return one == p })
	}
}

// enter gets a drain a place in a lane, until leave is called. Where the drain waits for it, it gives up its turn at
// the database meanwhile. entered is false where it got none.
func (w *Worker) enter(in lane, turn *turn) (leave func(), entered bool) {
	p := w.lanes.enter(in)
	if p == nil {
		return nil, false
	}
	if p.hasEntered() {
		return p.leave, true
	}
	turn.give()
	defer turn.take()
	if p.wait(w.stopping) {
		return p.leave, true
	}
	p.leave()
	return nil, false
}
