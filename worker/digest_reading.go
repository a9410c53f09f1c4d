package worker

import (
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// selection says which notifications a digest is about.
type selection struct {
	dbmodel.NotificationRange
	passes  func(*rule.Notification) bool // reports which of the range it is about
	wasSent func(*rule.Notification) bool // reports which of them went out at once; nil: none did
}

// selected reads the selected notifications, calls noteUnsent for those not sent, and yields all. Where it cannot
// read them all, it sets err; the caller looks at it after the iteration.
func (d *digestRun) selected(
	ctx context.Context, s selection, noteUnsent func(*rule.Notification), err *error,
) iter.Seq[*rule.Notification] {
	return func(yield func(*rule.Notification) bool) {
		*err = dbmodel.EachNotification(ctx, d.w.DB.Reader, s.NotificationRange, func(n *rule.Notification) bool {
			if !s.passes(n) {
				return true
			}
			if s.wasSent == nil || !s.wasSent(n) {
				noteUnsent(n)
			}
			return yield(n)
		})
	}
}

// sum sums up the selected notifications for one digest. Where ids are wanted it returns, too, those of the
// notifications that were not sent.
func (d *digestRun) sum(
	ctx context.Context, s selection, idsWanted bool,
) (net rule.NetDigest, unsent []int64, err error) {
	noteUnsent := func(n *rule.Notification) {
		if idsWanted {
			unsent = append(unsent, n.ID)
		}
	}
	net = rule.NewNetDigest(d.selected(ctx, s, noteUnsent, &err), s.wasSent)
	slices.Sort(unsent)
	return net, unsent, err
}

// reading is notifications that were read once for groups whose digests differ in their products alone. It keeps sums
// for each product. A group that shares its notifications with no other group needs no reading, see sum.
type reading struct {
	digests *rule.NetDigests
	unsent  map[int64][]int64 // by product: ids of the notifications that signed webhooks get
}

// inReadings puts together the groups that one reading serves, in the order of the first group of each reading.
func inReadings(groups []*slotGroup) [][]*slotGroup {
	var out [][]*slotGroup
	at := map[string]int{}
	for _, g := range groups {
		i, found := at[g.readingKey]
		if !found {
			i = len(out)
			at[g.readingKey], out = i, append(out, nil)
		}
		out[i] = append(out[i], g)
	}
	return out
}

// endTogether ends the slots of groups that one reading serves.
func (d *digestRun) endTogether(ctx context.Context, groups []*slotGroup) error {
	var read *reading
	if len(groups) > 1 {
		var err error
		if read, err = d.read(ctx, groups); err != nil {
			return err
		}
	}
	for _, g := range groups {
		if d.w.isStopping() {
			return errStopping
		}
		if err := d.endSlot(ctx, g, read); err != nil && !d.mayGoOn(ctx, err) {
			return err
		}
	}
	return nil
}

// read reads the notifications of all groups.
func (d *digestRun) read(ctx context.Context, groups []*slotGroup) (*reading, error) {
	all := groups[0].selection()
	products := map[int64]bool{}
	ofSignedWebhooks := map[int64]bool{}
	for _, g := range groups {
		signed := slices.ContainsFunc(g.subscriptions, hasSignedWebhook)
		for _, p := range g.notifications.Products {
			products[p] = true
			ofSignedWebhooks[p] = ofSignedWebhooks[p] || signed
		}
	}
	all.Products = slices.Sorted(maps.Keys(products))
	out := &reading{unsent: map[int64][]int64{}}
	noteUnsent := func(n *rule.Notification) {
		if ofSignedWebhooks[n.Product] {
			out.unsent[n.Product] = append(out.unsent[n.Product], n.ID)
		}
	}
	var err error
	out.digests = rule.NewNetDigests(d.selected(ctx, all, noteUnsent, &err), all.wasSent)
	return out, err
}

// of returns the digest of a group, and the ids of the notifications that its signed webhooks get.
func (r *reading) of(g *slotGroup) (net rule.NetDigest, unsent []int64) {
	products := make(map[int64]bool, len(g.notifications.Products))
	for _, p := range g.notifications.Products {
		products[p] = true
		unsent = append(unsent, r.unsent[p]...)
	}
	slices.Sort(unsent)
	return r.digests.In(products), unsent
}
