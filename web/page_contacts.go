package web

import (
	"context"
	"fmt"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// contactRow is a contact with its last deliveries.
type contactRow struct {
	Channel    string
	Target     string
	From       linkTo
	Hindrance  string
	Deliveries []deliveryRow
}

// loadContacts fills in the contacts with their last deliveries.
func (s *server) loadContacts(ctx context.Context, p *holderPage) error {
	settings, err := dbmodel.LoadSettings(ctx, s.db.Reader)
	if err != nil {
		return fmt.Errorf("load the settings: %w", err)
	}
	applied := p.settings.applied
	applied.Paused = false // the page says so by itself
	if applied.Subscriptions, err = s.subscribersOf(ctx, p, settings); err != nil {
		return err
	}
	contacts, err := s.recipients(ctx, s.db.Reader, applied, nil, settings)
	if err != nil {
		return err
	}
	rows := map[string]int{} // in Contacts, by channel and target
	for _, c := range contacts {
		row := contactRow{
			Channel: channelName(c.Channel), Target: c.shown, From: linkTo{Text: "set here"}, Hindrance: c.Reason.Sentence(),
		}
		switch {
		case c.Holder.Kind == rule.HolderSubscription:
			for _, sub := range applied.Subscriptions {
				if sub.ID == c.Holder.ID {
					row.From = linkTo{subscriptionPath(sub.ID), "subscription " + shortened(sub.Name)}
				}
			}
		case c.Holder != p.settings.holder:
			row.From = p.settings.fromGroup()
		}
		if _, known := rows[row.Channel+row.Target]; !known {
			rows[row.Channel+row.Target] = len(p.Contacts)
		}
		p.Contacts = append(p.Contacts, row)
		if c.Holder.Kind != rule.HolderSubscription && !slices.ContainsFunc(p.Channels, func(o option) bool {
			return o.Value == string(c.Channel)
		}) {
			p.Channels = append(p.Channels, option{Value: string(c.Channel), Label: channelName(c.Channel)})
		}
	}
	if p.IsGroup {
		return nil
	}
	return s.loadLastDeliveries(ctx, p, rows)
}

// loadLastDeliveries adds the last deliveries to the contacts of a product. rows is where each stands in Contacts, by
// channel and target.
func (s *server) loadLastDeliveries(ctx context.Context, p *holderPage, rows map[string]int) error {
	const perTarget, recent = 3, 200
	deliveries, err := dbmodel.LastDeliveries(ctx, s.db.Reader, viewerOf(ctx), p.ID, perTarget, recent)
	if err != nil {
		return fmt.Errorf("list the last deliveries of product %d: %w", p.ID, err)
	}
	shown, err := s.deliveryRows(ctx, deliveries)
	if err != nil {
		return err
	}
	for _, d := range shown {
		i, there := rows[d.Channel+d.Target]
		if !there {
			i = len(p.Contacts)
			rows[d.Channel+d.Target] = i
			row := contactRow{Channel: d.Channel, Target: d.Target, From: linkTo{Text: "no contact any more"}}
			switch from := d.Source; {
			case d.Type == rule.TypeTask:
				row.From.Text = "contact for background tasks, in the settings"
			case from != nil && from.Kind == contactHolder(rule.FromSubscription) && from.ID != nil &&
				slices.Contains(p.Others, *from.ID):
				row.From = d.From
			}
			p.Contacts = append(p.Contacts, row)
		}
		p.Contacts[i].Deliveries = append(p.Contacts[i].Deliveries, d)
	}
	return nil
}

// subscribersOf returns the subscriptions that the page shows: those of teams, and those of the caller. It notes
// the others.
func (s *server) subscribersOf(
	ctx context.Context, p *holderPage, settings *dbmodel.Settings,
) ([]*rule.Subscription, error) {
	v := viewerOf(ctx)
	load, scope := dbmodel.SubscribersFor, "product"
	if p.IsGroup {
		load, scope = dbmodel.SubscribersOfGroup, "group"
	}
	all, err := load(ctx, s.db.Reader, v, p.ID, settings.MemberNotificationTypes)
	if err != nil {
		return nil, err
	}
	p.Where = fmt.Sprintf("%s-%d", scope, p.ID)
	var shown []*rule.Subscription
	for _, sub := range all {
		switch {
		case sub.User == v.UserID:
			p.Notify = linkTo{subscriptionPath(sub.ID), sub.Name}
		case sub.User != 0:
			p.Others = append(p.Others, sub.ID)
			continue
		}
		shown = append(shown, sub)
	}
	return shown, nil
}
