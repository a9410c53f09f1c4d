package worker

import (
	"sync"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// A drain runs in a lane: that of its channel, and of what is known of its target. The bound of a lane keeps receivers
// that hang from taking the place of those that answer.
type lane struct {
	channel rule.Channel
	kind    laneKind
}

type laneKind int

const (
	// swiftLane is for targets that do not fail, and that a single event waits for.
	swiftLane laneKind = iota
	// bulkLane is for targets that do not fail, and that an import, or the sweep, wants delivered to.
	bulkLane
	// failingLane is for targets whose last try failed.
	failingLane
)

// laneLimits say how many drains a worker runs at once.
type laneLimits struct {
	healthy int // in each lane of targets that do not fail
	failing int // in each lane of targets that fail
	// patience is how long a drain counts in a lane of targets that do not fail. Then it counts among the long ones, of
	// which each channel has at most long.
	patience time.Duration
	long     int
}

// What only waits for a receiver leaves the lanes of targets that do not fail; how many of all drains use the database
// at once is the business of turns.
var usualLanes = laneLimits{healthy: 64, failing: 256, patience: 200 * time.Millisecond, long: 1024}

// most is how many drains run at the most.
func (l laneLimits) most() int { return len(rule.Channels) * (2*l.healthy + l.failing + l.long) }

// lanes counts the drains that run.
type lanes struct {
	laneLimits
	mu      sync.Mutex
	running map[lane]int
	longer  map[rule.Channel]int // drains that run for longer than patience
}

func newLanes(limits laneLimits) *lanes {
	return &lanes{laneLimits: limits, running: map[lane]int{}, longer: map[rule.Channel]int{}}
}

// laneOf is the lane for a target. bulk says that no single event waits for it.
func laneOf(t *dbmodel.Target, bulk bool) lane {
	switch {
	case t.FailingSince != nil:
		return lane{t.Channel, failingLane}
	case bulk:
		return lane{t.Channel, bulkLane}
	}
	return lane{t.Channel, swiftLane}
}

// enter counts a drain until leave is called. It returns false where the lane is full.
func (l *lanes) enter(in lane) (leave func(), entered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := l.healthy
	if in.kind == failingLane {
		most = l.failing
	}
	if l.running[in] >= most {
		return nil, false
	}
	l.running[in]++
	isLong := false
	var move *time.Timer
	if in.kind != failingLane {
		move = time.AfterFunc(l.patience, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.longer[in.channel] >= l.long || move == nil {
				return
			}
			isLong = true
			l.running[in]--
			l.longer[in.channel]++
		})
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if move != nil {
			move.Stop()
			move = nil
		}
		if isLong {
			l.longer[in.channel]--
		} else {
			l.running[in]--
		}
	}, true
}
