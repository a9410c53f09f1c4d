package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// targetsAtOnce is to how many targets one transaction gives what a pause held back.
const targetsAtOnce = 200

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

// heldTarget is a target that would have received something, with the recipient of its first source, and all its
// sources in order.
type heldTarget struct {
	recipient rule.Recipient
	order     []rule.Holder
	sources   map[rule.Holder]*heldSource
}

// pausesUntil ends pauses until all slots are made: they end within seconds, however long that takes.
func (d *digests) pausesUntil(ctx context.Context, made <-chan struct{}) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if err := d.pauses(ctx); err != nil {
			return err
		}
		select {
		case <-made:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// pauses ends the pauses that are over: it stores, for each contact that was held back, a digest of what it would have
// received. Subscriptions on a schedule take that into their next slot.
func (d *digests) pauses(ctx context.Context) error {
	p, err := dbmodel.NextEndedPause(ctx, d.w.DB, settleTime)
	if err != nil || p == nil {
		return err
	}
	held, err := d.heldTargets(ctx, p.Products)
	if err != nil {
		return err
	}
	groups, err := pauseGroups(held)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := d.endPause(ctx, p, g); err != nil {
			return fmt.Errorf("end a pause: %w", err)
		}
	}
	if err := d.w.DB.InTx(ctx, p.Done); err != nil {
		return fmt.Errorf("end a pause: %w", err)
	}
	d.unpaused += len(p.Products)
	return nil
}

// pauseGroup is targets that would have received the same.
type pauseGroup struct {
	sources []*heldSource
	to      []rule.Recipient
}

// pauseGroups groups targets that would have received the same, in the order of the first of each group.
func pauseGroups(held map[int64]*heldTarget) ([]*pauseGroup, error) {
	groups, order := map[string]*pauseGroup{}, []*pauseGroup(nil)
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
			g = &pauseGroup{sources: sources}
			groups[string(key)], order = g, append(order, g)
		}
		g.to = append(g.to, t.recipient)
	}
	return order, nil
}

// endPause stores what the targets of a group would have received, a part of them at a time.
func (d *digests) endPause(ctx context.Context, p *dbmodel.EndedPause, g *pauseGroup) error {
	isSigned := func(r rule.Recipient) bool { return r.Channel.Info().Signed }
	content, data, err := d.sum(ctx, dbmodel.NotificationRange{
		Through: p.Through, Types: rule.Types, Products: p.Products, HeldBack: true,
	}, func(n *rule.Notification) bool {
		return slices.ContainsFunc(g.sources, func(s *heldSource) bool { return s.passes(n) })
	}, nil, slices.ContainsFunc(g.to, isSigned))
	if err != nil {
		return err
	}
	content.Occasion = afterPause
	size := targetsAtOnce
	if len(data) > targetsAtOnce {
		size = 1
	}
	for part := range slices.Chunk(g.to, size) {
		if d.w.isStopping() {
			return errStopping
		}
		ids := make([]int64, len(part))
		for i := range part {
			ids[i] = part[i].Target
		}
		err := d.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			claimed, err := p.ClaimTargets(ctx, tx, ids)
			if err != nil || len(claimed) == 0 {
				return err
			}
			return d.store(ctx, tx, content, data, slices.DeleteFunc(slices.Clone(part), func(r rule.Recipient) bool {
				return !slices.Contains(claimed, r.Target)
			}))
		})
		if err != nil {
			return err
		}
		d.w.Queue.PokeBulk(ctx, ids)
	}
	return nil
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
