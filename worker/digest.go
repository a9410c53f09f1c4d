package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// dueAtOnce is how many subscriptions are read at once.
	dueAtOnce = 1_000
	// settleTime bounds the wait for transactions that store or remove notifications; it is longer than any of them may
	// take.
	settleTime = dbmodel.PeriodicClaimTime
)

// periodicDigests handles queue.TypePeriodicDigests: it makes the digests of the slots that have come, and of pauses
// that are over. The next try of a run that is cut short makes the rest: each slot is noted in the transaction that
// stores its deliveries.
func (w *Worker) periodicDigests(ctx context.Context, _ *dbmodel.PeriodicRun) (done string, err error) {
	d := &digestRun{w: w}
	if err := d.begin(ctx); err != nil {
		return "", err
	}
	ofPauses, slotsEnded := *d, make(chan struct{}) // each goroutine has counts of its own
	var pauses sync.WaitGroup
	pauses.Go(func() { // a pause that fails stops no slot
		ofPauses.failure = w.catch("ends of pauses", func() error { return ofPauses.endPausesUntil(ctx, slotsEnded) })
	})
	err = w.catch("ends of slots", func() error { return d.endSlots(ctx) })
	close(slotsEnded)
	pauses.Wait()
	d.unpaused, d.messages = ofPauses.unpaused, d.messages+ofPauses.messages
	return d.summary(), errors.Join(err, ofPauses.failure)
}

// digestRun is a run that makes the digests that are due.
type digestRun struct {
	w        *Worker
	settings *dbmodel.Settings
	now      time.Time
	through  int64 // the number up to which digests sum up notifications, see settle
	slots    int   // slots that it ended, one for each subscription
	unpaused int   // products whose pause it ended
	messages int   // digests, counted for each recipient
	failure  error // of the first slot that could not end; in the copy that ends pauses, that of the pauses
}

// summary says, in words, what the run did so far.
func (d *digestRun) summary() string {
	return fmt.Sprintf("%s slots ended, pauses of %s products ended, %s messages made",
		thousands(int64(d.slots)), thousands(int64(d.unpaused)), thousands(int64(d.messages)))
}

// begin reads the settings and the time, which all digests of a run share.
func (d *digestRun) begin(ctx context.Context) (err error) {
	if d.settings, err = dbmodel.LoadSettings(ctx, d.w.DB); err != nil {
		return fmt.Errorf("load settings: %w", err)
	}
	if d.now, err = dbmodel.DatabaseNow(ctx, d.w.DB); err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	return nil
}

// endSlots makes the digests of all slots that had come when the run began. A slot that comes while settle waits is for
// the next run, so that its digest has all that was notified before it. What a digest is about is read after settle: a
// change that decides about a notification up to through, such as one of the filter, is stored by then.
func (d *digestRun) endSlots(ctx context.Context) error {
	if err := d.settle(ctx); err != nil {
		return err
	}
	groups, err := d.dueGroups(ctx)
	if err != nil {
		return err
	}
	for _, together := range inReadings(groups) {
		if d.w.isStopping() {
			return errStopping
		}
		err := d.w.catch("end of a slot", func() error { return d.endTogether(ctx, together) })
		if err != nil && !d.mayGoOn(ctx, err) {
			return err
		}
	}
	return d.failure
}

// mayGoOn reports whether other slots may still end after one failed, and notes the first failure, which the run
// returns in the end.
func (d *digestRun) mayGoOn(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, dbmodel.ErrUnavailable) || errors.Is(err, errStopping) {
		return false
	}
	if d.failure == nil {
		d.failure = err
	}
	return true
}

// settle sets through to the newest number, and waits until no transaction can store a notification with that number or
// a lower one any more.
func (d *digestRun) settle(ctx context.Context) (err error) {
	d.through, err = dbmodel.SettledNumber(ctx, d.w.DB, settleTime)
	return err
}

// endSlot ends the slot of a group: it stores the digest, and the deliveries to the contacts of its subscriptions. read
// is nil where no reading serves the group.
func (d *digestRun) endSlot(ctx context.Context, g *slotGroup, read *reading) error {
	content, unsent, err := d.contentOf(ctx, g, read)
	if err != nil {
		return err
	}
	ids := slices.Clone(g.withoutContact)
	byID := make(map[int64]*rule.Subscription, len(g.subscriptions))
	for _, s := range g.subscriptions {
		ids, byID[s.ID] = append(ids, s.ID), s
	}
	getsSingles := func(id int64) bool { return byID[id] != nil && hasSignedWebhook(byID[id]) }
	for _, part := range inParts(ids, getsSingles, len(unsent)) {
		err := d.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			ended, err := dbmodel.EndSlot(ctx, tx, part, g.Slot)
			if err != nil || len(ended) == 0 {
				return err
			}
			var to []rule.Recipient
			for _, id := range ended {
				if s := byID[id]; s != nil {
					to = append(to, recipients(rule.Applied{Subscriptions: []*rule.Subscription{s}}, d.settings)...)
				}
			}
			dbmodel.AfterCommit(ctx, func() { d.slots += len(ended) })
			return d.store(ctx, tx, content, unsent, to)
		})
		if err != nil {
			return fmt.Errorf("end a slot: %w", err)
		}
		d.poke(ctx, byID, part)
	}
	return nil
}

// contentOf returns the digest of a group, and the ids of the notifications that its signed webhooks get.
func (d *digestRun) contentOf(
	ctx context.Context, g *slotGroup, read *reading,
) (content *dbmodel.StoredNetDigest, unsent []int64, err error) {
	content = &dbmodel.StoredNetDigest{Occasion: g.occasion}
	switch {
	case len(g.subscriptions) == 0:
		return content, nil, nil
	case read != nil:
		content.NetDigest, unsent = read.of(g)
	default:
		content.NetDigest, unsent, err = d.sum(ctx, g.selection(), slices.ContainsFunc(g.subscriptions, hasSignedWebhook))
	}
	if err != nil {
		return nil, nil, err
	}
	return content, unsent, d.nameProducts(ctx, content)
}

// poke pokes the targets of subscriptions.
func (d *digestRun) poke(ctx context.Context, subscriptions map[int64]*rule.Subscription, ids []int64) {
	targets := map[int64]bool{}
	for _, id := range ids {
		if s := subscriptions[id]; s != nil {
			for _, c := range s.Contacts {
				targets[c.Target] = true
			}
		}
	}
	d.w.Queue.PokeBulk(ctx, slices.Sorted(maps.Keys(targets)))
}
