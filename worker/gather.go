package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
)

const (
	// gatherTime is how long new deliveries of an import wait at the most for others to the same target, and how long a
	// target rests after much was sent at once, so that deliveries that come meanwhile go together.
	gatherTime = time.Second
	// importRest is how long a target rests while an import goes on, after much was sent or while little waits.
	importRest = 2 * gatherTime
	// manyAtOnce is a number of observations: after a bulk event that has at least as many, another one is likely to
	// follow, unless the event is marked as the last one of its import.
	manyAtOnce = accept.FirstChunkSize
	// pokedAtOnce is how many targets are poked in one call of Redis.
	pokedAtOnce = 1_000
)

// gathering delays the pokes of targets that bulk events have new deliveries for, up to gatherTime, so that a target
// gets the deliveries of one import in few messages. The delay ends at once where no bulk event is expected any more.
type gathering struct {
	waits   func() bool                          // reports whether bulk events wait for a worker
	reserve func(targets []int64) (mine []int64) // keeps others from poking targets
	poke    func(targets []int64)                // pokes targets that reserve returned
	most    time.Duration                        // the longest delay: gatherTime
	rest    time.Duration                        // how long drains have a target of an import rest: importRest

	mu       sync.Mutex
	running  int       // evaluations of bulk events
	doneAt   time.Time // when an evaluation of a bulk event last ended
	ended    bool      // an import's last event was tried; false again once no bulk event runs or waits
	expected time.Time // until when the next evaluation is expected to begin
	targets  map[int64]bool
	since    time.Time // when the first of targets was added
	timer    *time.Timer
	calm     chan struct{} // closed while no bulk event runs or is expected: see untilCalm
}

func newGathering(q *queue.Queue) *gathering {
	g := &gathering{targets: map[int64]bool{}, calm: make(chan struct{}), most: gatherTime, rest: importRest}
	close(g.calm)
	ctx := context.Background()
	g.waits = func() bool {
		tasks, _, err := q.Size(ctx, queue.Bulk)
		return err == nil && tasks > 0
	}
	g.reserve = func(targets []int64) (mine []int64) {
		for some := range slices.Chunk(targets, pokedAtOnce) {
			mine = append(mine, q.ReserveBulk(ctx, some, 2*g.most)...)
		}
		return mine
	}
	g.poke = func(targets []int64) {
		for some := range slices.Chunk(targets, pokedAtOnce) {
			q.PokeReserved(ctx, some)
		}
	}
	return g
}

// begin notes that the evaluation of a bulk event begins; done follows.
func (g *gathering) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running++
	if isClosed(g.calm) {
		g.calm = make(chan struct{})
	}
}

// done notes that the evaluation of a bulk event with the payload p has ended, and which targets have new deliveries of
// it.
func (g *gathering) done(p *dbmodel.EventPayload, targets []int64) {
	waits := g.waits()
	targets = g.reserve(targets)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if len(g.targets) == 0 {
		g.since = now
	}
	for _, id := range targets {
		g.targets[id] = true
	}
	g.running--
	g.ended = g.ended || p.Last
	switch {
	case g.running > 0 || waits:
		g.expected = now.Add(g.most)
	case len(p.IDs) >= manyAtOnce && !g.ended: // the events of an import follow each other at about equal intervals
		g.expected = now.Add(g.most)
		if interval := now.Sub(g.doneAt); interval < g.most/2 { // before the first event it is long
			g.expected = now.Add(2 * interval)
		}
	default:
		g.expected = now
	}
	g.doneAt = now
	next := g.expected
	if end := g.since.Add(g.most); len(g.targets) > 0 && end.Before(next) {
		next = end
	}
	g.pokeAt(now, next)
}

// pokeAtOnce pokes targets that wait for no others.
func (g *gathering) pokeAtOnce(targets []int64) { g.poke(g.reserve(targets)) }

// pokeAt pokes the gathered targets at the time next, and closes calm once no bulk event runs or is expected. The
// caller holds the mutex.
func (g *gathering) pokeAt(now, next time.Time) {
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if now.Before(next) {
		var timer *time.Timer
		timer = time.AfterFunc(next.Sub(now), func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.timer == timer {
				g.pokeAt(time.Now(), next)
			}
		})
		g.timer = timer
		return
	}
	if len(g.targets) > 0 {
		go g.poke(g.take())
	}
	switch {
	case g.running > 0: // done comes back to it
	case now.Before(g.expected):
		g.pokeAt(now, g.expected)
	case !isClosed(g.calm):
		close(g.calm)
		g.ended = false
	}
}

// take returns the gathered targets, and leaves it to the caller to poke them; the caller holds the mutex.
func (g *gathering) take() []int64 {
	targets := slices.Sorted(maps.Keys(g.targets))
	clear(g.targets)
	return targets
}

// end pokes the gathered targets, so that another process goes on with them.
func (g *gathering) end() {
	g.mu.Lock()
	targets := g.take()
	g.mu.Unlock()
	g.poke(targets)
}

// untilCalm returns a channel that is closed once no bulk event runs or is expected.
func (g *gathering) untilCalm() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calm
}
