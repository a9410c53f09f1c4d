package dbmodel_test

import (
	"context"
	"testing"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

const hooks = "https://hooks.slack.com/services/T0/B0/"

// setSlack gives a holder the webhook with this name; empty: none.
func (s *subscribers) setSlack(holder rule.Holder, name string) (target int64) {
	s.t.Helper()
	s.tx(func(ctx context.Context, tx bun.Tx) error {
		var addresses []string
		if name != "" {
			addresses = []string{hooks + name}
		}
		contacts, err := dbmodel.NewContacts(ctx, tx, s.vault, rule.Slack, addresses)
		if err != nil {
			return err
		}
		if len(contacts) > 0 {
			target = contacts[0].Target
		}
		return dbmodel.SetContacts(ctx, tx, holder, rule.Slack, contacts)
	})
	return target
}

// failed stores a failed delivery about product 1 and returns its id.
func (s *subscribers) failed(target int64, source rule.Holder) (id int64) {
	s.t.Helper()
	s.tx(func(ctx context.Context, tx bun.Tx) error {
		n := dbmodel.Notification{Type: rule.TypeSecurityGate, Name: "P", ProductID: new(int64(1))}
		to := rule.Recipient{Contact: rule.Contact{Holder: source, Target: target}}
		return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{{Notification: n, Recipients: []rule.Recipient{to}}})
	})
	s.ok(s.db.NewRaw("UPDATE deliveries SET state = 'failed' WHERE id = (SELECT max(id) FROM deliveries) RETURNING id").
		Scan(s.t.Context(), &id))
	return id
}

func (s *subscribers) goesTo(delivery int64) (target int64) {
	s.t.Helper()
	s.tx(func(ctx context.Context, tx bun.Tx) error {
		r, err := dbmodel.ResendableByID(ctx, tx, everything, delivery)
		if err == nil {
			target = r.GoesTo
		}
		return err
	})
	return target
}

// TestResendFollowsItsSource: a delivery goes to the webhook that the holder of its contact has by then, not to that of another
// holder that the notification reaches as well.
func TestResendFollowsItsSource(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		s := newSubscribers(t, db)
		product, group := rule.Holder{Kind: rule.HolderProduct, ID: 1}, rule.Holder{Kind: rule.HolderGroup, ID: 1}
		own, old := s.setSlack(product, "product"), s.setSlack(group, "old")
		byGroup := s.failed(old, group)
		groups := s.setSlack(group, "new")
		if got := s.goesTo(byGroup); got != groups {
			t.Errorf("the delivery of the group goes to %d, want %d", got, groups)
		}
		s.setSlack(group, "")
		if got := s.goesTo(byGroup); got != own {
			t.Errorf("without a webhook of the group it goes to %d, want %d of the product", got, own)
		}

		sub := s.add(&dbmodel.Subscription{Name: "team", ProductID: new(int64(1)), Enabled: true},
			dbmodel.ContactChange{Channel: rule.Slack, Address: hooks + "first"}, dbmodel.ContactChange{Channel: rule.Slack, Address: hooks + "team"})
		contacts := s.contacts(sub.ID)
		bySubscription := s.failed(contacts[1].Target, sub.Holder())
		if got := s.goesTo(bySubscription); got != contacts[1].Target {
			t.Errorf("the delivery of the subscription goes to %d, want %d as before", got, contacts[1].Target)
		}
		change := func(list ...dbmodel.ContactChange) {
			s.tx(func(ctx context.Context, tx bun.Tx) error {
				return dbmodel.SetSubscriptionContacts(ctx, tx, s.vault, sub, list)
			})
		}
		change(dbmodel.ContactChange{ID: contacts[1].ID, Address: hooks + "team-of-today", Channel: rule.Slack})
		if got, want := s.goesTo(bySubscription), s.contacts(sub.ID)[0].Target; got != want || got == contacts[1].Target {
			t.Errorf("the delivery of the subscription goes to %d, want %d", got, want)
		}
		change()
		if got := s.goesTo(bySubscription); got != 0 {
			t.Errorf("without a webhook of the subscription it goes to %d", got)
		}
	})
}

// TestContactsOfALostKey: where the keys in the database are gone, contacts by email find their targets by the new ones. A
// webhook stays where it is, because its address is lost.
func TestContactsOfALostKey(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		s := newSubscribers(t, db)
		ctx, holder := t.Context(), rule.Holder{Kind: rule.HolderProduct, ID: 1}
		s.tx(func(ctx context.Context, tx bun.Tx) error {
			contacts, err := dbmodel.NewContacts(ctx, tx, s.vault, rule.Email, []string{"a@example.com", " b@example.com"})
			if err != nil {
				return err
			}
			return dbmodel.SetContacts(ctx, tx, holder, rule.Email, contacts)
		})
		slack := s.setSlack(holder, "product")
		viewer := s.user("ada", "ada@example.com")
		personal := s.add(&dbmodel.Subscription{Name: "mine", UserID: &viewer.UserID, Enabled: true},
			dbmodel.ContactChange{Channel: rule.Email})
		before := s.contacts(personal.ID)[0].Target

		_, err := db.ExecContext(ctx, "DELETE FROM secrets")
		s.ok(err)
		s.vault = newVault(t, db)
		want, err := dbmodel.EnsureTargets(ctx, db, s.vault, rule.Email, []string{"a@example.com", "b@example.com", "ada@example.com"})
		s.ok(err)
		all, err := dbmodel.ContactsOf(ctx, db, holder)
		s.ok(err)
		emails := all[holder][rule.Email]
		if len(emails) != 2 || emails[0].Target != want[0] || emails[1].Target != want[1] || emails[1].Written != " b@example.com" {
			t.Errorf("contacts %+v, want the targets %v", emails, want)
		}
		if got := all[holder][rule.Slack]; len(got) != 1 || got[0].Target != slack {
			t.Errorf("webhooks %+v, want the target %d", got, slack)
		}
		if got := s.contacts(personal.ID)[0].Target; got != want[2] || got == before {
			t.Errorf("the email of the subscription goes to %d, want %d", got, want[2])
		}
	})
}
