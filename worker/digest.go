package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// dueAtOnce is how many subscriptions are read at once.
	dueAtOnce = 1_000
	// slotsAtOnce is how many subscriptions one transaction gives their deliveries.
	slotsAtOnce = 200
	// singlesAtOnce is how many deliveries to a signed webhook, each of one notification, one statement adds.
	singlesAtOnce = 10_000
	// settleTime bounds the wait for transactions that store or remove notifications; it is longer than any of them may
	// take.
	settleTime = dbmodel.PeriodicClaimTime
)

// periodicDigests handles queue.TypePeriodicDigests: it makes the digests of the slots that have come. A run that is
// cut short is taken up again, which makes what is left: each slot is noted in the transaction that stores its
// deliveries.
func (w *Worker) periodicDigests(ctx context.Context, run *dbmodel.PeriodicRun) (done string, err error) {
	return w.keepingRun(ctx, run, func(ctx context.Context) (string, error) {
		d := &digests{w: w}
		if err := d.begin(ctx); err != nil {
			return "", err
		}
		ofPauses, slotsEnded := *d, make(chan struct{})
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return ofPauses.endPausesUntil(ctx, slotsEnded) })
		g.Go(func() error {
			defer close(slotsEnded)
			return d.endSlots(ctx)
		})
		err := g.Wait()
		d.unpaused, d.messages = ofPauses.unpaused, d.messages+ofPauses.messages
		return d.summary(), err
	})
}

// digests is a run that makes the digests that are due.
type digests struct {
	w        *Worker
	settings *dbmodel.Settings
	now      time.Time
	through  int64 // the number up to which digests sum up notifications, see settle
	slots    int   // subscriptions whose slot has ended
	unpaused int   // products whose pause has ended
	messages int   // digests for a recipient each
	failure  error // of the first slot that could not end; the others do
}

// summary is what the run did so far, in words.
func (d *digests) summary() string {
	return fmt.Sprintf("%s slots made, pauses of %s products ended, %s messages made",
		thousands(int64(d.slots)), thousands(int64(d.unpaused)), thousands(int64(d.messages)))
}

// begin reads what all digests need.
func (d *digests) begin(ctx context.Context) (err error) {
	if d.settings, err = dbmodel.LoadSettings(ctx, d.w.DB); err != nil {
		return fmt.Errorf("load settings: %w", err)
	}
	if d.now, err = dbmodel.DatabaseNow(ctx, d.w.DB); err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	return nil
}

// endSlots makes the digests of all slots that have come.
func (d *digests) endSlots(ctx context.Context) error {
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
		if err := d.endTogether(ctx, together); err != nil && !d.mayGoOn(ctx, err) {
			return err
		}
	}
	return d.failure
}

// mayGoOn notes the failure of one slot, with which the run ends, and reports whether other slots may still end.
func (d *digests) mayGoOn(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, dbmodel.ErrUnavailable) || errors.Is(err, dbmodel.ErrRunLost) {
		return false
	}
	if d.failure == nil {
		d.failure = err
	}
	return true
}

// settle sets through, once no transaction can add a notification below it any more.
func (d *digests) settle(ctx context.Context) (err error) {
	d.through, err = dbmodel.SettledNumber(ctx, d.w.DB, settleTime)
	return err
}

// slotGroup is subscriptions whose slots are the same, about the same notifications, with the same digest.
type slotGroup struct {
	dbmodel.Slot
	occasion      string
	notifications dbmodel.NotificationRange
	subscriptions []*rule.Subscription
	alone         []int64 // subscriptions without a contact
	reading       string  // groups that share it differ in their products alone
}

// wasSent says which notifications went at once.
func (g *slotGroup) wasSent() func(*rule.Notification) bool {
	if g.notifications.SentTo != 0 {
		return func(n *rule.Notification) bool { return n.Sent }
	}
	return g.subscriptions[0].AtOnce.Takes
}

// dueGroups groups the subscriptions whose slot has come.
func (d *digests) dueGroups(ctx context.Context) ([]*slotGroup, error) {
	groups, order := map[string]*slotGroup{}, []*slotGroup(nil)
	for after := int64(0); ; {
		due, err := dbmodel.DueSubscriptions(ctx, d.w.DB, after, dueAtOnce)
		if err != nil {
			return nil, fmt.Errorf("find slots that have come: %w", err)
		}
		ids := make([]int64, len(due))
		for i := range due {
			ids[i] = due[i].ID
		}
		subscribed, err := dbmodel.Subscribed(ctx, d.w.DB, ids, d.settings.MemberNotificationTypes)
		if err != nil {
			return nil, fmt.Errorf("load subscriptions: %w", err)
		}
		for i := range due {
			g, key, err := d.groupOf(ctx, &due[i], subscribed[due[i].ID])
			if err != nil && d.mayGoOn(ctx, err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if known := groups[key]; known == nil {
				groups[key], order = g, append(order, g)
			} else {
				known.subscriptions, known.alone = append(known.subscriptions, g.subscriptions...), append(known.alone, g.alone...)
			}
		}
		if len(due) < dueAtOnce {
			return order, nil
		}
		after = ids[len(ids)-1]
	}
}

// groupOf returns a group of this one subscription, and the key that subscriptions of one group share. of is the same
// subscription as rules see it, nil where it has no contact.
func (d *digests) groupOf(
	ctx context.Context, s *dbmodel.Subscription, of *rule.Subscription,
) (*slotGroup, string, error) {
	g := &slotGroup{
		Slot:     dbmodel.Slot{Due: *s.NextSlotAt, At: *s.NextSlotAt, Reported: s.Reported, Through: d.through},
		occasion: lastDigest,
	}
	if !s.Ends() {
		slots, refused := rule.Schedule{Line: s.Schedule, Timezone: s.Timezone}.Slots()
		if len(refused) > 0 {
			return nil, "", fmt.Errorf("read the schedule of subscription %d: %s", s.ID, refused[0].Reason)
		}
		if at := slots.Last(d.now); at.After(g.At) { // else the clock was set back a moment ago
			g.At = at.UTC()
		}
		g.Next, g.occasion = new(slots.Next(g.At).UTC()), occasion(slots, g.At)
	}
	if of == nil {
		g.alone = []int64{s.ID}
		key, err := json.Marshal(g.Slot)
		g.reading = string(key)
		return g, string(key), err
	}
	if of.Ends { // what waits for one that is disabled is stored, too: the reason why it is not sent shows there
		of.Enabled = true
	}
	g.subscriptions = []*rule.Subscription{of}
	g.notifications = dbmodel.NotificationRange{After: s.Reported, Through: d.through, Types: of.Sees}
	if of.Whole {
		g.notifications.Types = rule.Types
	}
	var err error
	if g.notifications.Products, g.notifications.AllProducts, err = s.ProductsOf(ctx, d.w.DB, of.Whole); err != nil {
		return nil, "", fmt.Errorf("find the products of subscription %d: %w", s.ID, err)
	}
	if s.IsUnsettled() {
		g.notifications.SentTo = s.ID
	}
	what := struct {
		Slot          dbmodel.Slot
		Notifications dbmodel.NotificationRange
		Filter        rule.Filter
		AtOnce        rule.AtOnce
		Occasion      string
	}{g.Slot, g.notifications, of.Filter, of.AtOnce, g.occasion}
	key, err := json.Marshal(what)
	if err != nil {
		return nil, "", err
	}
	what.Notifications.Products = nil
	reading, err := json.Marshal(what)
	g.reading = string(reading)
	return g, string(key), err
}

// lastDigest is the occasion of what waited for a schedule when that was removed.
const lastDigest = "Last digest"

// occasion names a schedule by how long it is from one slot to the next.
func occasion(slots rule.Slots, at time.Time) string {
	next := slots.Next(at)
	between := min(next.Sub(at), slots.Next(next).Sub(next))
	const day = 24 * time.Hour
	switch {
	case between == time.Hour:
		return "Hourly"
	case between > day-2*time.Hour && between < day+2*time.Hour:
		return "Daily"
	case between > 7*day-2*time.Hour && between < 7*day+2*time.Hour:
		return "Weekly"
	case between > 27*day && between < 32*day:
		return "Monthly"
	}
	return "On schedule"
}

// endSlot ends the slot of a group: it stores the digest, and the deliveries to the contacts of its subscriptions. read
// is nil where nobody has read the notifications yet.
func (d *digests) endSlot(ctx context.Context, g *slotGroup, read *reading) error {
	content := &dbmodel.StoredNetDigest{Occasion: g.occasion}
	var unsent []int64
	var err error
	switch {
	case len(g.subscriptions) == 0:
	case read != nil:
		content.NetDigest, unsent = read.of(g)
	default:
		content.NetDigest, unsent, err = d.sum(ctx, g.notifications, g.subscriptions[0].Filter.Passes, g.wasSent(),
			slices.ContainsFunc(g.subscriptions, hasSignedWebhook))
	}
	if err != nil {
		return err
	}
	if err := d.nameProducts(ctx, content); err != nil {
		return err
	}
	ids := slices.Clone(g.alone)
	byID := make(map[int64]*rule.Subscription, len(g.subscriptions))
	for _, s := range g.subscriptions {
		ids, byID[s.ID] = append(ids, s.ID), s
	}
	for part := range slices.Chunk(ids, slotsAtOnce) {
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
			d.slots += len(ended)
			return d.store(ctx, tx, content, unsent, to)
		})
		if err != nil {
			return fmt.Errorf("end a slot: %w", err)
		}
		d.poke(ctx, byID, part)
	}
	return nil
}

// poke pokes the targets of subscriptions.
func (d *digests) poke(ctx context.Context, subscriptions map[int64]*rule.Subscription, ids []int64) {
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

// hasSignedWebhook reports whether s has a contact that takes notifications one by one.
func hasSignedWebhook(s *rule.Subscription) bool {
	return slices.ContainsFunc(s.Contacts, func(c rule.Contact) bool { return c.Channel.Info().Signed })
}

// recipients returns the contacts of a, less those to which nothing can be delivered.
func recipients(a rule.Applied, settings *dbmodel.Settings) []rule.Recipient {
	all := rule.Recipients(a, nil, rule.Ability{EmailFrom: settings.EmailFrom})
	return slices.DeleteFunc(all, func(r rule.Recipient) bool { return r.Reason != "" })
}

// sum reads notifications, and sums up those that pass. Where ids are wanted it returns, too, those of the
// notifications that pass and were not sent.
func (d *digests) sum(
	ctx context.Context, r dbmodel.NotificationRange, passes, wasSent func(*rule.Notification) bool, idsWanted bool,
) (net rule.NetDigest, unsent []int64, err error) {
	net = rule.NewNetDigest(func(yield func(*rule.Notification) bool) {
		err = dbmodel.EachNotification(ctx, d.w.DB.Reader, r, func(n *rule.Notification) bool {
			if !passes(n) {
				return true
			}
			if idsWanted && (wasSent == nil || !wasSent(n)) {
				unsent = append(unsent, n.ID)
			}
			return yield(n)
		})
	}, wasSent)
	slices.Sort(unsent)
	return net, unsent, err
}

// nameProducts gives a digest the names of its products.
func (d *digests) nameProducts(ctx context.Context, content *dbmodel.StoredNetDigest) (err error) {
	products := make([]int64, 0, len(content.Products))
	for _, p := range content.Products {
		products = append(products, p.Product)
	}
	if len(products) == 0 {
		return nil
	}
	content.Names, err = dbmodel.NamesOf(ctx, d.w.DB, dbmodel.Viewer{Admin: true}, dbmodel.InProduct(0), products)
	if err != nil {
		return fmt.Errorf("name the products of a digest: %w", err)
	}
	return nil
}

// store adds pending deliveries: of the digest to recipients that read messages, of each unsent notification to signed
// webhooks.
func (d *digests) store(
	ctx context.Context, tx bun.Tx, content *dbmodel.StoredNetDigest, unsent []int64, to []rule.Recipient,
) error {
	var readers, signed []rule.Recipient
	for _, r := range to {
		if r.Channel.Info().Signed {
			signed = append(signed, r)
		} else {
			readers = append(readers, r)
		}
	}
	for _, one := range signed {
		for part := range slices.Chunk(unsent, singlesAtOnce) {
			if err := dbmodel.AddDigestDeliveries(ctx, tx, part, []rule.Recipient{one}, 0); err != nil {
				return fmt.Errorf("store deliveries to a webhook: %w", err)
			}
		}
	}
	if len(readers) == 0 || content.Empty() {
		return nil
	}
	id, err := dbmodel.AddDigest(ctx, tx, content)
	if err != nil {
		return fmt.Errorf("store a digest: %w", err)
	}
	if err := dbmodel.AddDigestDeliveries(ctx, tx, content.Named(message.MaxNetItems), readers, id); err != nil {
		return fmt.Errorf("store deliveries of a digest: %w", err)
	}
	d.messages += len(readers)
	return nil
}
