package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/webhook"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// rotateSecret gives a contact of a subscription a new secret, which it returns.
func (s *server) rotateSecret(ctx context.Context, id, contact int64) (string, error) {
	secret := webhook.NewSecret().Reveal()
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := s.subscriptionToChange(ctx, tx, id); err != nil {
			return err
		}
		err := dbmodel.RotateSecret(ctx, tx, s.vault, id, contact, secret)
		if errors.Is(err, dbmodel.ErrNotFound) {
			return invalid(input.Fault{Location: "contact", Message: "must be the id of a signed webhook of the subscription"})
		}
		return err
	})
	return secret, err
}

// testSubscription sends a test to the contacts of a subscription, by one channel or, where only is empty, by all. A
// receiver that takes it is not gone any more.
func (s *server) testSubscription(ctx context.Context, id int64, only rule.Channel) (*testOutput, error) {
	sub, err := dbmodel.VisibleSubscriptionByID(ctx, s.db.Reader, viewerOf(ctx), id)
	if err != nil {
		return nil, missing(err, "subscription", id)
	}
	if err := mayChange(ctx, s.db.Reader, sub); err != nil {
		return nil, err
	}
	contacts, err := dbmodel.SubscriptionContacts(ctx, s.db.Reader, id)
	if err != nil {
		return nil, err
	}
	all := &rule.Subscription{ID: id, Name: sub.Name, Enabled: true, Whole: true}
	for _, c := range contacts[id] {
		all.Contacts = append(all.Contacts, rule.Contact{
			Holder: sub.Holder(), Channel: c.Channel, Target: c.Target, Address: c.Address,
		})
	}
	return s.test(ctx, only, rule.Applied{
		Subscriptions: []*rule.Subscription{all},
	}, func(b message.Builder, to message.Recipient) *channel.Message {
		return b.SubscriptionTest(sub.Name, id, to)
	})
}

// signTest makes a test one that a signed webhook takes.
func (s *server) signTest(ctx context.Context, target int64, m *channel.Message) error {
	secrets, err := dbmodel.SigningSecrets(ctx, s.db.Reader, s.vault, target)
	if err != nil {
		return fmt.Errorf("load the secrets of target %d: %w", target, err)
	}
	for _, secret := range secrets {
		m.Secrets = append(m.Secrets, channel.Secret(secret))
	}
	m.ID, m.At = "test-"+rand.Text(), time.Now().UTC()
	m.Notifications = []json.RawMessage{message.Data(&dbmodel.Notification{
		Type: rule.TypeTask, Name: "Test", Message: m.Headline, Function: "test", CreatedAt: m.At,
	})}
	return nil
}
