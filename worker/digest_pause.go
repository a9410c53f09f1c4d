package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// afterPause is the occasion of a digest of what a pause held back.
const afterPause = "After the pause"

// heldSource is why a target would have received notifications of products: a contact of these, or a subscription.
type heldSource struct {
	Contact  bool
	Filter   rule.Filter
	Sees     []rule.Type
	Whole    bool
	Products map[int64]bool
}

func (s *heldSource) passes(n *rule.Notification) bool {
	return s.Products[n.Product] && (s.Contact || (s.Whole || slices.Contains(s.Sees, n.Type)) && s.Filter.Passes(n))
}

// heldTarget is a target that would have received something, by its first source, and all of these.
type heldTarget struct {
	recipient rule.Recipient
	order     []rule.Holder
	sources   map[rule.Holder]*heldSource
}

// pauses ends the pauses that are over: it stores, for each contact that was held back, a digest of what it would have
// received. Subscriptions on a schedule take that into their next slot.
func (d *digests) pauses(ctx context.Context) error {
	products, err := dbmodel.EndedPauses(ctx, d.w.DB)
	if err != nil || len(products) == 0 {
		return err
	}
	slots := d.through
	if err := d.settle(ctx); err != nil {
		return err
	}
	through := d.through
	if slots > 0 { // the slots of this run go on to where they began
		d.through = slots
	}
	held, err := d.heldTargets(ctx, products)
	if err != nil {
		return err
	}
	groups, err := d.pauseGroups(ctx, held, dbmodel.NotificationRange{
		Through: through, Types: rule.Types, Products: products, HeldBack: true,
	})
	if err != nil {
		return err
	}
	var targets []int64
	err = d.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		released, err := dbmodel.Release(ctx, tx, products, through)
		if err != nil || released == 0 {
			return err
		}
		d.slots += len(products)
		for _, key := range slices.Sorted(maps.Keys(groups)) {
			g := groups[key]
			if err := d.store(ctx, tx, g.content, g.data, g.to); err != nil {
				return err
			}
			for _, r := range g.to {
				targets = append(targets, r.Target)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("end a pause: %w", err)
	}
	d.w.Queue.Poke(ctx, targets)
	return nil
}

// pauseGroup is the digest of what targets with equal sources would have received.
type pauseGroup struct {
	content *dbmodel.NetDigest
	data    []int64
	to      []rule.Recipient
}

// pauseGroups makes one digest for all targets that would have received the same.
func (d *digests) pauseGroups(
	ctx context.Context, held map[int64]*heldTarget, all dbmodel.NotificationRange,
) (map[string]*pauseGroup, error) {
	groups := map[string]*pauseGroup{}
	for _, id := range slices.Sorted(maps.Keys(held)) {
		t := held[id]
		sources := make([]*heldSource, len(t.order))
		for i, h := range t.order {
			sources[i] = t.sources[h]
		}
		key, err := json.Marshal(sources)
		if err != nil {
			return nil, fmt.Errorf("group what was held back: %w", err)
		}
		g := groups[string(key)]
		if g == nil {
			g = new(pauseGroup)
			groups[string(key)] = g
			g.content, g.data, err = d.sum(ctx, all, func(n *rule.Notification) bool {
				return slices.ContainsFunc(sources, func(s *heldSource) bool { return s.passes(n) })
			}, nil, true)
			if err != nil {
				return nil, err
			}
			g.content.Occasion = afterPause
		}
		g.to = append(g.to, t.recipient)
	}
	return groups, nil
}

// heldTargets finds who would have received something of products: their contacts, and the subscriptions that take all
// at once. What has a slot to come takes it into that.
func (d *digests) heldTargets(ctx context.Context, products []int64) (map[int64]*heldTarget, error) {
	contexts, err := dbmodel.ProductContexts(ctx, d.w.DB, products)
	if err != nil {
		return nil, fmt.Errorf("load products: %w", err)
	}
	memberTypes := d.settings.MemberNotificationTypes
	subscribers, err := dbmodel.EnabledSubscribers(ctx, d.w.DB, products, rule.Types, memberTypes, "")
	if err != nil {
		return nil, fmt.Errorf("load subscriptions: %w", err)
	}
	held := map[int64]*heldTarget{}
	add := func(product int64, list []rule.Recipient, source heldSource) {
		for _, r := range list {
			t := held[r.Target]
			if t == nil {
				t = &heldTarget{recipient: r, sources: map[rule.Holder]*heldSource{}}
				held[r.Target] = t
			}
			t.recipient.Masked = t.recipient.Masked && r.Masked
			s := t.sources[r.Holder]
			if s == nil {
				s = new(source)
				s.Products = map[int64]bool{}
				t.sources[r.Holder], t.order = s, append(t.order, r.Holder)
			}
			s.Products[product] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(contexts)) {
		applied := rule.Effective(contexts[id].Product, contexts[id].Group)
		add(id, recipients(rule.Applied{Contacts: applied.Contacts}, d.settings), heldSource{Contact: true})
	}
	for _, personal := range []bool{false, true} {
		for _, id := range slices.Sorted(maps.Keys(contexts)) {
			for _, s := range subscribers.Of(id) {
				if (s.User != 0) == personal && s.Schedule == "" && !s.Ends {
					add(id, recipients(rule.Applied{Subscriptions: []*rule.Subscription{s}}, d.settings),
						heldSource{Filter: s.Filter, Sees: s.Sees, Whole: s.Whole})
				}
			}
		}
	}
	return held, nil
}
