package worker

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// gatherer is a gathering whose pokes are kept with their time.
type gatherer struct {
	*gathering
	began time.Time
	waits bool
	pokes []poked
}

type poked struct {
	targets []int64
	after   time.Duration
}

func newGatherer() *gatherer {
	g := &gatherer{began: time.Now()}
	g.gathering = newGathering(nil)
	g.gathering.waits = func() bool { return g.waits }
	g.reserve = func(targets []int64) []int64 { return targets }
	g.poke = func(targets []int64) {
		if len(targets) > 0 {
			g.pokes = append(g.pokes, poked{targets, time.Since(g.began)})
		}
	}
	return g
}

// event has an event of an import evaluated, which takes so long.
func (g *gatherer) event(took time.Duration, observations int, targets ...int64) {
	g.evaluated(took, eventOf(observations), targets)
}

// lastEvent is event for the last one of an import.
func (g *gatherer) lastEvent(took time.Duration, targets ...int64) {
	e := eventOf(5_000)
	e.Last = true
	g.evaluated(took, e, targets)
}

func (g *gatherer) evaluated(took time.Duration, e *dbmodel.EventPayload, targets []int64) {
	g.begin()
	<-time.After(took)
	g.done(e, targets)
	synctest.Wait()
}

func eventOf(observations int) *dbmodel.EventPayload {
	return &dbmodel.EventPayload{IDs: make([]int64, observations)}
}

func (g *gatherer) want(t *testing.T, want ...poked) {
	t.Helper()
	synctest.Wait()
	if !slices.EqualFunc(g.pokes, want, func(a, b poked) bool { return a.after == b.after && slices.Equal(a.targets, b.targets) }) {
		t.Errorf("poked %v, want %v", g.pokes, want)
	}
}

// A small import is sent at once.
func TestGatheringEndsWithASmallImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGatherer()
		g.event(50*time.Millisecond, 50, 1, 2)
		g.want(t, poked{[]int64{1, 2}, 50 * time.Millisecond})
		if !isClosed(g.untilCalm()) {
			t.Error("more is expected")
		}
	})
}

// While events of an import wait or come one after the other, a target is poked once in gatherTime; the last ones wait
// for no longer than another would have taken to come.
func TestGatheringOfAnImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGatherer()
		for i := range 20 { // one each 190 ms
			g.event(130*time.Millisecond, 5_000, 1, int64(i+2))
			if isClosed(g.untilCalm()) {
				t.Error("no more is expected")
			}
			<-time.After(60 * time.Millisecond)
		}
		<-time.After(time.Minute)
		ms := time.Millisecond
		g.want(t, poked{[]int64{1, 2, 3, 4, 5, 6, 7}, 1130 * ms}, poked{[]int64{1, 8, 9, 10, 11, 12, 13}, 2270 * ms},
			poked{[]int64{1, 14, 15, 16, 17, 18, 19}, 3410 * ms}, poked{[]int64{1, 20, 21}, 4120 * ms})
		if !isClosed(g.untilCalm()) {
			t.Error("more is expected")
		}
	})
}

// The last event of an import ends it, also where one of the events before it takes longer.
func TestGatheringEndsWithTheLastEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGatherer()
		for i := range int64(3) { // an event before the last one is under way for 200 ms more
			g.event(100*time.Millisecond, 5_000, 1)
			g.begin()
			g.lastEvent(100*time.Millisecond, 2)
			<-time.After(200 * time.Millisecond)
			if isClosed(g.untilCalm()) {
				t.Error("no more is expected while an event is evaluated")
			}
			g.done(eventOf(5_000), []int64{3})
			synctest.Wait()
			if !isClosed(g.untilCalm()) {
				t.Error("more is expected")
			}
			if n := int64(len(g.pokes)); n != i+1 {
				t.Errorf("poked %v after %d imports", g.pokes, i+1)
			}
		}
	})
}

// An import whose last event is evaluated while others wait, which other workers take, says nothing about the next one.
func TestGatheringForgetsTheLastEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGatherer()
		g.waits = true
		g.lastEvent(100*time.Millisecond, 1)
		<-time.After(time.Minute)
		g.waits = false
		g.event(100*time.Millisecond, 5_000, 2)
		if isClosed(g.untilCalm()) {
			t.Error("no more of the next import is expected")
		}
		<-time.After(time.Minute)
	})
}

// Small events that wait are an import, too; the last one ends it.
func TestGatheringOfWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGatherer()
		g.waits = true
		for range 3 {
			g.event(100*time.Millisecond, 1, 1)
		}
		g.want(t)
		g.waits = false
		g.event(100*time.Millisecond, 1, 2)
		g.want(t, poked{[]int64{1, 2}, 400 * time.Millisecond})
	})
}

// What is gathered while the process ends is poked.
func TestGatheringEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGatherer()
		g.event(0, 5_000, 1)
		g.want(t)
		g.end()
		g.want(t, poked{[]int64{1}, 0})
		<-time.After(time.Minute)
		g.want(t, poked{[]int64{1}, 0})
	})
}

// An event that is evaluated for long keeps nothing back for longer than gatherTime.
func TestGatheringBesideALongEvaluation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGatherer()
		g.begin()
		g.event(100*time.Millisecond, 1, 1)
		<-time.After(10 * time.Second)
		g.want(t, poked{[]int64{1}, 1100 * time.Millisecond})
		if isClosed(g.untilCalm()) {
			t.Error("no more is expected")
		}
		g.done(eventOf(1), nil)
		if !isClosed(g.untilCalm()) {
			t.Error("more is expected")
		}
	})
}

// TestImportIsGathered: the few deliveries of a part of an import wait for those of the next parts, and go with them as
// one digest as soon as it ends.
func TestImportIsGathered(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, func(w *Worker) { w.gathering.rest = time.Hour })
		e.product(1, "/import")
		goesOn := e.worker.gathering
		goesOn.begin()
		store := func(first int64) {
			list := make([]dbmodel.NewNotification, 6)
			for i := range list {
				list[i].Notification = dbmodel.Notification{
					Type: rule.TypeObservation, Event: rule.EventNew, Name: fmt.Sprintf("CVE-%d", first+int64(i)), ProductID: new(int64(1)),
				}
				list[i].Targets = []int64{1}
			}
			err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				return dbmodel.InsertNotifications(ctx, tx, list)
			})
			if err != nil {
				t.Fatal(err)
			}
			e.queue.PokeBulk(t.Context(), []int64{1})
		}
		store(1)
		client, _ := e.byHand()
		e.waitFor("a drain waits for more, and holds pokes meanwhile", func() bool {
			n, err := client.Exists(t.Context(), "tocsin:poke:"+queue.Drains+":1").Result()
			return err == nil && n == 1
		})
		store(7)
		goesOn.done(eventOf(1), nil)
		e.idle(20 * time.Second)
		if n := e.receiver.tried("/import"); n != 1 {
			t.Errorf("%d messages, want one digest", n)
		}
	})
}

// TestWithoutDigestsNothingIsGathered: where each delivery is a message of its own, those of an import go at once.
func TestWithoutDigestsNothingIsGathered(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, func(w *Worker) { w.gathering.most = time.Hour })
		e.product(1, "/import")
		e.settings(func(s *dbmodel.Settings) { s.DigestThreshold = 0 })
		e.worker.gathering.begin() // the import goes on
		e.accept(observation(1, 1, rule.Critical), observation(2, 1, rule.Critical))
		e.waitFor("both messages", func() bool { return e.receiver.tried("/import") == 2 })
	})
}
