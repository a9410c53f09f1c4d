package worker

import (
	"context"
	"maps"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// reading is notifications that were read once for groups whose digests differ in their products alone.
type reading struct {
	digests *rule.NetDigests
	unsent  map[int64][]int64 // by product: ids of what signed webhooks get
}

// inReadings puts together the groups that one reading serves, in the order of the first of each.
func inReadings(groups []*slotGroup) [][]*slotGroup {
	var out [][]*slotGroup
	at := map[string]int{}
	for _, g := range groups {
		i, found := at[g.reading]
		if !found {
			i = len(out)
			at[g.reading], out = i, append(out, nil)
		}
		out[i] = append(out[i], g)
	}
	return out
}

// endTogether ends the slots of groups that one reading serves.
func (d *digests) endTogether(ctx context.Context, groups []*slotGroup) error {
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
func (d *digests) read(ctx context.Context, groups []*slotGroup) (*reading, error) {
	first := groups[0]
	all := first.notifications
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
	passes, wasSent := first.subscriptions[0].Filter.Passes, first.wasSent()
	var err error
	out.digests = rule.NewNetDigests(func(yield func(*rule.Notification) bool) {
		err = dbmodel.EachNotification(ctx, d.w.DB.Reader, all, func(n *rule.Notification) bool {
			if !passes(n) {
				return true
			}
			if ofSignedWebhooks[n.Product] && !wasSent(n) {
				out.unsent[n.Product] = append(out.unsent[n.Product], n.ID)
			}
			return yield(n)
		})
	}, wasSent)
	return out, err
}

// of returns what the digest of a group says, and the ids of what its signed webhooks get.
func (r *reading) of(g *slotGroup) (net rule.NetDigest, unsent []int64) {
	products := make(map[int64]bool, len(g.notifications.Products))
	for _, p := range g.notifications.Products {
		products[p] = true
		unsent = append(unsent, r.unsent[p]...)
	}
	slices.Sort(unsent)
	return r.digests.In(products), unsent
}
