package worker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

func TestLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		since := time.Now()
		swift := laneOf(&dbmodel.Target{Channel: rule.Slack}, false)
		failing := laneOf(&dbmodel.Target{Channel: rule.Slack, FailingSince: &since}, false)
		l := newLanes(laneLimits{healthy: 1, failing: 1, patience: time.Second, long: 1})
		enters := func(in lane, want bool) (leave func()) {
			t.Helper()
			p := l.enter(in)
			if (p != nil) != want {
				t.Errorf("%v: %t after %s", in, p != nil, time.Since(since))
			}
			if p == nil {
				return nil
			}
			return p.leave
		}
		first := enters(swift, true)
		enters(swift, false)
		enters(laneOf(&dbmodel.Target{Channel: rule.Slack}, true), true)()
		enters(laneOf(&dbmodel.Target{Channel: rule.Email}, false), true)()
		hangs := enters(failing, true)
		time.Sleep(2 * time.Second) //nolint:forbidigo // in a bubble
		synctest.Wait()
		second := enters(swift, true) // the first one is a long one by now
		enters(failing, false)
		time.Sleep(2 * time.Second) //nolint:forbidigo // in a bubble
		synctest.Wait()
		enters(swift, false) // there is one long one already
		for _, leave := range []func(){first, second, hangs} {
			leave()
		}
		for in, n := range l.running {
			if n != 0 || l.runningLong[in.channel] != 0 {
				t.Errorf("%v: %d are left, and %d long ones", in, n, l.runningLong[in.channel])
			}
		}
	})
}

// TestLongDrainMovesLater: a drain that finds no place among the long ones moves once there is one.
func TestLongDrainMovesLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := laneOf(&dbmodel.Target{Channel: rule.Slack}, false)
		l := newLanes(laneLimits{healthy: 1, patience: time.Second, long: 1})
		pass := func() {
			time.Sleep(3 * time.Second / 2) //nolint:forbidigo // in a bubble
			synctest.Wait()
		}
		first := l.enter(in)
		pass()
		second := l.enter(in)
		pass()
		if second == nil || l.enter(in) != nil {
			t.Fatal("one long drain, and one in the lane, are not all that may run")
		}
		first.leave()
		pass()
		third := l.enter(in)
		if third == nil {
			t.Fatal("the second drain is in its lane still")
		}
		second.leave()
		third.leave()
		if l.running[in] != 0 || l.runningLong[in.channel] != 0 {
			t.Errorf("%d are left, and %d long ones", l.running[in], l.runningLong[in.channel])
		}
	})
}

// TestQueueOfLane: places go to those that wait, in the order in which they came.
func TestQueueOfLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := laneOf(&dbmodel.Target{Channel: rule.Slack}, true)
		l := newLanes(laneLimits{healthy: 1, patience: time.Second / 4, long: 1, waiting: 3, waitingTime: time.Second})
		first, second, third, late := l.enter(in), l.enter(in), l.enter(in), l.enter(in)
		if l.enter(in) != nil {
			t.Error("a fifth one waits")
		}
		if !first.hasEntered() || second.hasEntered() {
			t.Errorf("entered: first %t, second %t", first.hasEntered(), second.hasEntered())
		}
		if !second.wait(nil) || third.hasEntered() { // the first one is a long one by now
			t.Errorf("entered: second %t, third %t", second.hasEntered(), third.hasEntered())
		}
		late.leave()
		second.leave()
		if !third.wait(nil) {
			t.Error("nothing comes after the second")
		}
		if other := l.enter(in); other.wait(nil) { // there is one long one already
			t.Error("two run in a lane for one")
		} else {
			other.leave()
		}
		first.leave()
		third.leave()
		if l.running[in] != 0 || l.runningLong[in.channel] != 0 || len(l.queues[in]) != 0 {
			t.Errorf("left: %d, %d long ones, %d wait", l.running[in], l.runningLong[in.channel], len(l.queues[in]))
		}
	})
}

// TestTargetsWaitForAPlace: targets that find their lane full are tried as soon as there is room, not with the sweeps.
func TestTargetsWaitForAPlace(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, func(w *Worker) {
			w.ShutdownTimeout = time.Second
			w.lanes = newLanes(laneLimits{
				healthy: 2, failing: 2, patience: 20 * time.Millisecond, long: contenders, waiting: 2 * contenders, waitingTime: time.Minute,
			})
		})
		e.scheduler.Shutdown()
		answered := make(chan struct{})
		t.Cleanup(sync.OnceFunc(func() { close(answered) }))
		e.receiver.answer = func(path string, _ int) (int, map[string]string) {
			if strings.HasPrefix(path, "/hangs") {
				<-answered
			}
			return 200, nil
		}
		var list []dbmodel.Observation
		for i := range int64(contenders) {
			e.product(1+i, fmt.Sprint("/hangs", i))
			e.product(101+i, fmt.Sprint("/healthy", i))
			list = append(list, observation(1+i, 1+i, rule.High), observation(101+i, 101+i, rule.High))
		}
		e.accept(list...)
		e.waitFor("all are tried", func() bool { return e.triedAll("/hangs") && e.triedAll("/healthy") })
	})
}

// TestHangingTargetsDelayNoOther has more webhooks hang, and more fail, than a lane has places.
func TestHangingTargetsDelayNoOther(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, func(w *Worker) {
			w.ShutdownTimeout = time.Second
			w.lanes = newLanes(laneLimits{
				healthy: 2, failing: 2, patience: 20 * time.Millisecond, long: 12, waiting: 4, waitingTime: time.Second,
			})
		})
		answered := make(chan struct{})
		t.Cleanup(sync.OnceFunc(func() { close(answered) }))
		e.receiver.answer = func(path string, _ int) (int, map[string]string) {
			switch {
			case strings.HasPrefix(path, "/hangs"):
				<-answered
			case strings.HasPrefix(path, "/fails"):
				return 500, nil
			}
			return 200, nil
		}
		const healthy = 1000
		var list []dbmodel.Observation
		for i := range int64(contenders) {
			e.product(1+i, fmt.Sprint("/hangs", i))
			e.product(101+i, fmt.Sprint("/fails", i))
			list = append(list, observation(1+i, 1+i, rule.High), observation(101+i, 101+i, rule.High))
		}
		e.product(healthy, "/healthy")
		e.accept(list...)
		e.waitFor("all that hang are tried", func() bool { return e.triedAll("/hangs") && e.triedAll("/fails") })
		for i := range int64(3) {
			began := time.Now()
			e.accept(observation(healthy+i, healthy, rule.High))
			e.waitFor("the healthy target", func() bool { return len(e.receiver.headlines("/healthy")) == int(i)+1 })
			t.Log(time.Since(began).Round(time.Millisecond))
		}
	})
}

// contenders is how many targets are of one kind.
const contenders = 10

// triedAll reports whether all paths that begin so were tried.
func (e *env) triedAll(prefix string) bool {
	for i := range contenders {
		if e.receiver.tried(fmt.Sprint(prefix, i)) == 0 {
			return false
		}
	}
	return true
}

func (e *env) waitFor(what string, there func() bool) {
	e.t.Helper()
	testenv.Eventually(e.t, time.Minute, func() error {
		if !there() {
			return errors.New("not yet")
		}
		return nil
	}, what)
}
