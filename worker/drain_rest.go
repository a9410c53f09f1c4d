package worker

import (
	"context"
	"time"

	"github.com/seed91453169/tocsin/rule"
)

// restTime returns how much longer the target rests, at least and at most, given the time since its last message was
// begun. Once a digest or many deliveries make the target rest, their count begins anew.
func (d *drain) restTime(since time.Duration) (least, most time.Duration) {
	if rate := d.w.Rates[d.target.Channel]; rate > 0 {
		least = time.Duration(float64(time.Second) / rate)
	}
	most = least
	many := d.afterDigest || d.sinceRest > d.settings.DigestThreshold && d.settings.DigestThreshold > 0
	if many && d.target.Channel != rule.Webhook {
		most = gatherTime
		if d.bulk {
			most = d.w.gathering.rest
		}
		most = max(least, most)
		d.sinceRest, d.afterDigest = 0, false
	}
	return least - since, most - since
}

// wait rests for most, with the lease and without a turn at the database. A target of an import rests for least, and
// then for as long as more of the import is expected, up to most. No poke comes through meanwhile: this drain looks
// again by itself. It returns false where the worker stops.
func (d *drain) wait(ctx context.Context, least, most time.Duration) bool {
	d.turn.give() // before Redis is asked, which may hang
	defer d.turn.take()
	if most >= 100*time.Millisecond {
		if err := d.w.Queue.HoldPokes(ctx, d.target.ID, most); err == nil {
			defer d.w.Queue.Unpoke(context.WithoutCancel(ctx), d.target.ID) //nolint:errcheck // it ends by itself
		}
	}
	if least > 0 && !d.w.pause(least) {
		return false
	}
	more := most - max(least, 0)
	if more <= 0 {
		return true
	}
	if !d.bulk {
		return d.w.pause(more)
	}
	calm := d.w.gathering.untilCalm()
	if !d.w.pauseUntil(more, calm) {
		return false
	}
	d.bulk = !isClosed(calm)
	return true
}

// gather waits, once before each message, while an import goes on that may make a digest of the few deliveries that
// wait. It reports whether it waited.
func (d *drain) gather(ctx context.Context) bool {
	if d.gathered || !d.bulk || d.settings.DigestThreshold == 0 || isClosed(d.w.gathering.untilCalm()) {
		d.gathered = false
		return false
	}
	d.gathered = true
	d.wait(ctx, 0, d.w.gathering.rest)
	return true
}
