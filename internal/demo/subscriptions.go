package demo

import (
	"context"

	"github.com/seed91453169/tocsin/client"
)

// subscriptions are what teams and users want beside the contacts of products: of the repositories what is Critical by
// mail and everything in Slack, never that something is dropped; and for one user a digest at 8 in Berlin, with what is
// Critical at once.
func subscriptions(to *Receiver) []client.SubscriptionFields {
	group, events := new(int64(repositories)), &[]client.NotificationEvent{
		client.NotificationEventNew, client.NotificationEventChanged,
		client.NotificationEventPassed, client.NotificationEventFailed, client.NotificationEventNone,
	}
	contact := func(channel client.Channel, address *string) *[]client.ContactFields {
		return &[]client.ContactFields{{Channel: &channel, Address: address}}
	}
	return []client.SubscriptionFields{
		{
			Name: new("Critical by mail"), ProductGroupID: group, Events: events,
			MinSeverity: new(client.OptionalSeverityCritical),
			Contacts:    contact(client.ChannelEmail, new("on-call@demo.example")),
		},
		{
			Name: new("Everything in Slack"), ProductGroupID: group, Events: events,
			Contacts: contact(client.ChannelSlack, new(to.slackURL("repositories"))),
		},
		{
			Name: new("Every morning at 8"), Username: new(readerName), Schedule: new("0 8 * * *"),
			Timezone: new("Europe/Berlin"), ImmediateMinSeverity: new(client.OptionalSeverityCritical),
			Contacts: contact(client.ChannelEmail, nil),
		},
	}
}

// subscribe makes the subscriptions that are not there yet.
func subscribe(ctx context.Context, api tocsin, to *Receiver) error {
	known := map[string]bool{}
	for s, err := range api.Subscriptions(ctx, client.ListSubscriptionsParams{}) {
		if err != nil {
			return err
		}
		known[s.Name] = true
	}
	for _, s := range subscriptions(to) {
		if known[*s.Name] {
			continue
		}
		if _, err := api.PostSubscription(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
