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

// afterPause is the occasion of the digest of a pause that is over.
const afterPause = "After the pause"

// pausedSource is why a target would have received notifications of products: it is a contact of these, or of a
// subscription.
type pausedSource struct {
	Contact  bool        // of the products: all their notifications are for it, and Filter, Sees and Whole are empty
	Filter   rule.Filter // of the subscription, like Sees and Whole
	Sees     []rule.Type
	Whole    bool
	Products map[int64]bool
}

func (s *pausedSource) passes(n *rule.Notification) bool {
	return s.Products[n.Product] && (s.Contact || (s.Whole || slices.Contains(s.Sees, n.Type)) && s.Filter.Passes(n))
}

// pausedTarget is a target that would have received something but for a pause, with the recipient of its first source,
// and all its sources in order.
type pausedTarget struct {
	recipient rule.Recipient
	order     []rule.Holder
	sources   map[rule.Holder]*pausedSource
}

// endPausesUntil ends pauses, each within seconds, until slotsEnded is closed: the slots may take longer than a pause
// may wait.
func (d *digestRun) endPausesUntil(ctx context.Context, slotsEnded <-chan struct{}) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if err := d.endPauses(ctx); err != nil {
			return err
		}
		select {
		case <-slotsEnded:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// endPauses ends the pauses that are over or, where an earlier call was cut short, those that it began to end. It
// stores, for each target that would have received notifications but for a pause, a digest of them. Subscriptions on a
// schedule take them into their next slot.
func (d *digestRun) endPauses(ctx context.Context) error {
	p, err := dbmodel.NextEndedPause(ctx, d.w.DB, settleTime)
	if err != nil || p == nil {
		return err
	}
	targets, err := d.pausedTargets(ctx, p.Products)
	if err != nil {
		return err
	}
	groups, err := pauseGroups(targets)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := d.giveHeldBack(ctx, p, g); err != nil {
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
	sources []*pausedSource
	to      []rule.Recipient
}

// pauseGroups groups targets that would have received the same, in the order of the first of each group.
func pauseGroups(targets map[int64]*pausedTarget) ([]*pauseGroup, error) {
	groups, order := map[string]*pauseGroup{}, []*pauseGroup(nil)
	for _, id := range slices.Sorted(maps.Keys(targets)) {
		t := targets[id]
		sources := make([]*pausedSource, len(t.order))
		for i, h := range t.order {
			sources[i] = t.sources[h]
		}
		key, err := json.Marshal(sources)
		if err != nil {
			return nil, fmt.Errorf("group the targets of a pause: %w", err)
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

// giveHeldBack stores for the targets of a group, a part of them at a time, the digest of the notifications that a
// pause held back, and deliveries of these to signed webhooks.
func (d *digestRun) giveHeldBack(ctx context.Context, p *dbmodel.EndedPause, g *pauseGroup) error {
	isSigned := func(r rule.Recipient) bool { return r.Channel.Info().Signed }
	net, unsent, err := d.sum(ctx, selection{
		NotificationRange: dbmodel.NotificationRange{
			Through: p.Through, Types: rule.Types, Products: p.Products, HeldBack: true,
		},
		passes: func(n *rule.Notification) bool {
			return slices.ContainsFunc(g.sources, func(s *pausedSource) bool { return s.passes(n) })
		},
	}, slices.ContainsFunc(g.to, isSigned))
	if err != nil {
		return err
	}
	content := &dbmodel.StoredNetDigest{Occasion: afterPause, NetDigest: net}
	if err := d.nameProducts(ctx, content); err != nil {
		return err
	}
	for _, part := range inParts(g.to, isSigned, len(unsent)) {
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
			return d.store(ctx, tx, content, unsent, slices.DeleteFunc(slices.Clone(part), func(r rule.Recipient) bool {
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

// pausedTargets finds the targets that would have received notifications of products: those of their contacts, and of
// subscriptions without a schedule.
func (d *digestRun) pausedTargets(ctx context.Context, products []int64) (map[int64]*pausedTarget, error) {
	contexts, err := dbmodel.ProductContexts(ctx, d.w.DB, products)
	if err != nil {
		return nil, fmt.Errorf("load products: %w", err)
	}
	memberTypes := d.settings.MemberNotificationTypes
	subscribers, err := dbmodel.EnabledSubscribers(ctx, d.w.DB, products, rule.Types, memberTypes, "")
	if err != nil {
		return nil, fmt.Errorf("load subscriptions: %w", err)
	}
	targets := map[int64]*pausedTarget{}
	add := func(product int64, list []rule.Recipient, source pausedSource) {
		for _, r := range list {
			t := targets[r.Target]
			if t == nil {
				t = &pausedTarget{recipient: r, sources: map[rule.Holder]*pausedSource{}}
				targets[r.Target] = t
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
		add(id, recipients(rule.Applied{Contacts: applied.Contacts}, d.settings), pausedSource{Contact: true})
	}
	for _, personal := range []bool{false, true} {
		for _, id := range slices.Sorted(maps.Keys(contexts)) {
			for _, s := range subscribers.Of(id) {
				if (s.User != 0) == personal && s.Schedule == "" && !s.Ends {
					add(id, recipients(rule.Applied{Subscriptions: []*rule.Subscription{s}}, d.settings),
						pausedSource{Filter: s.Filter, Sees: s.Sees, Whole: s.Whole})
				}
			}
		}
	}
	return targets, nil
}
