package worker

import (
	"sync"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
)

// groupTime is how long a known result may wait for others that are recorded with it. Where the process is lost in
// between, these deliveries are sent again.
const groupTime = 50 * time.Millisecond

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
			mine := g.d.turn.another()
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
