package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// slotGroup is a group of subscriptions whose slots end at the same time with the same digest.
type slotGroup struct {
	dbmodel.Slot
	occasion      string
	notifications dbmodel.NotificationRange
	subscriptions []*rule.Subscription
	// withoutContact are the ids of further subscriptions: those without a contact, to which nothing is sent.
	withoutContact []int64
	readingKey     string // groups that share it differ in their products alone
}

// selection selects the notifications that the digest of the group is about.
func (g *slotGroup) selection() selection {
	first := g.subscriptions[0]
	s := selection{NotificationRange: g.notifications, passes: first.Filter.Passes, wasSent: first.AtOnce.Takes}
	if g.notifications.SentTo != 0 {
		s.wasSent = func(n *rule.Notification) bool { return n.Sent }
	}
	return s
}

// dueGroups groups the subscriptions whose slot had come when the run began.
func (d *digestRun) dueGroups(ctx context.Context) ([]*slotGroup, error) {
	groups, order := map[string]*slotGroup{}, []*slotGroup(nil)
	for after := int64(0); ; {
		due, err := dbmodel.DueSubscriptions(ctx, d.w.DB, d.now, after, dueAtOnce)
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
				known.subscriptions = append(known.subscriptions, g.subscriptions...)
				known.withoutContact = append(known.withoutContact, g.withoutContact...)
			}
		}
		if len(due) < dueAtOnce {
			return order, nil
		}
		after = ids[len(ids)-1]
	}
}

// groupOf returns a group of one subscription, and the key that subscriptions of one group share. of is the same
// subscription for package rule; nil: it has no contact.
func (d *digestRun) groupOf(
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
		if at := slots.Last(d.now); at.After(g.At) { // slots that were missed are made up as one
			g.At = at.UTC()
		}
		g.Next, g.occasion = new(slots.Next(g.At).UTC()), occasion(slots, g.At)
	}
	if of == nil {
		g.withoutContact = []int64{s.ID}
		key, err := json.Marshal(g.Slot)
		g.readingKey = string(key)
		return g, string(key), err
	}
	if of.Ends { // also where it is disabled: its deliveries are stored, and say why they are not sent
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
	groupedBy := struct {
		Slot          dbmodel.Slot
		Notifications dbmodel.NotificationRange
		Filter        rule.Filter
		AtOnce        rule.AtOnce
		Occasion      string
	}{g.Slot, g.notifications, of.Filter, of.AtOnce, g.occasion}
	key, err := json.Marshal(groupedBy)
	if err != nil {
		return nil, "", err
	}
	groupedBy.Notifications.Products = nil
	readingKey, err := json.Marshal(groupedBy)
	g.readingKey = string(readingKey)
	return g, string(key), err
}

// lastDigest is the occasion of the digest that a subscription gets when its schedule is removed.
const lastDigest = "Last digest"

// occasion names the digest of a slot by the shorter one of the two intervals between the slot, the next one and the
// one after that; at is the time of the slot.
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
