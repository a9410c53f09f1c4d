package dbmodel_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// subscribers is a database with users and products for subscriptions.
type subscribers struct {
	t     *testing.T
	db    *dbmodel.DB
	vault *dbmodel.Vault
}

func newSubscribers(t *testing.T, db *dbmodel.DB) *subscribers {
	t.Helper()
	s := &subscribers{t: t, db: db, vault: newVault(t, db)}
	s.ok(dbmodel.SaveProductGroup(t.Context(), db, &dbmodel.ProductGroup{ID: 1, Name: "G"}))
	s.ok(dbmodel.SaveProduct(t.Context(), db, &dbmodel.Product{ID: 1, Name: "P", ProductGroupID: new(int64(1))}))
	s.ok(dbmodel.SaveProduct(t.Context(), db, &dbmodel.Product{ID: 2, Name: "Q"}))
	return s
}

func (s *subscribers) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *subscribers) tx(do func(ctx context.Context, tx bun.Tx) error) {
	s.t.Helper()
	s.ok(s.db.InTx(s.t.Context(), do))
}

// user adds a user, whose email may be empty.
func (s *subscribers) user(name, email string) dbmodel.Viewer {
	s.t.Helper()
	_, err := dbmodel.AddUser(s.t.Context(), s.db, name)
	s.ok(err)
	u, err := dbmodel.UserByName(s.t.Context(), s.db, name)
	s.ok(err)
	u.Email = email
	s.ok(dbmodel.SaveUser(s.t.Context(), s.db, u))
	return u.Viewer()
}

// add stores a subscription with contacts.
func (s *subscribers) add(sub *dbmodel.Subscription, contacts ...dbmodel.ContactChange) *dbmodel.Subscription {
	s.t.Helper()
	s.tx(func(ctx context.Context, tx bun.Tx) error {
		if err := dbmodel.AddSubscription(ctx, tx, sub); err != nil {
			return err
		}
		return dbmodel.SetSubscriptionContacts(ctx, tx, s.vault, sub, contacts)
	})
	return sub
}

func (s *subscribers) contacts(id int64) []dbmodel.SubscriptionContact {
	s.t.Helper()
	all, err := dbmodel.SubscriptionContacts(s.t.Context(), s.db, id)
	s.ok(err)
	return all[id]
}

func TestSubscriptionIsStored(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, s := t.Context(), newSubscribers(t, db)
		alice := s.user("alice", "")
		want := &dbmodel.Subscription{
			Name: "Mine", UserID: &alice.UserID, ProductID: new(int64(1)), Types: []rule.Type{rule.TypeObservation},
			Events: []rule.Event{rule.EventNew}, ParserTypes: []rule.ParserType{"SCA"}, MinSeverity: rule.High,
			Statuses: []rule.Status{rule.Open}, MinPriority: new(3), KnownExploited: true, Schedule: "0 8 * * *", Timezone: "Europe/Berlin",
			ImmediateMinSeverity: rule.Critical, Enabled: true,
		}
		s.add(want)
		got, err := dbmodel.VisibleSubscriptionByID(ctx, db, alice, want.ID)
		s.ok(err)
		want.Username = "alice" // she is no member: the name of the product is not hers to see
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}

		// Enabled again it is enabled since then, changed otherwise it is not.
		save := func(change func(*dbmodel.Subscription)) *dbmodel.Subscription {
			t.Helper()
			s.tx(func(ctx context.Context, tx bun.Tx) error {
				sub, err := dbmodel.VisibleSubscriptionForUpdate(ctx, tx, alice, want.ID)
				if err != nil {
					return err
				}
				change(sub)
				return dbmodel.SaveSubscription(ctx, tx, sub)
			})
			sub, err := dbmodel.VisibleSubscriptionByID(ctx, db, alice, want.ID)
			s.ok(err)
			return sub
		}
		if got := save(func(s *dbmodel.Subscription) { s.Name, s.Statuses = "Other", nil }); !got.EnabledAt.Equal(want.EnabledAt) || got.Name != "Other" ||
			len(got.Statuses) != 0 {
			t.Errorf("changed: %+v", got)
		}
		if there, err := dbmodel.DisableSubscription(ctx, db, want.ID); !there || err != nil {
			t.Errorf("disable: %v %v", there, err)
		}
		if got := save(func(s *dbmodel.Subscription) { s.Enabled = true }); !got.Enabled || !got.EnabledAt.After(want.EnabledAt) {
			t.Errorf("enabled again: %+v", got)
		}

		inTx(t, db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteUser(ctx, tx, alice.UserID) })
		if _, err := dbmodel.VisibleSubscriptionByID(ctx, db, dbmodel.AutomationViewer(), want.ID); !errors.Is(err, dbmodel.ErrNotFound) {
			t.Errorf("of a deleted user: %v", err)
		}
		if there, err := dbmodel.DisableSubscription(ctx, db, want.ID); there || err != nil {
			t.Errorf("disable a deleted one: %v %v", there, err)
		}
	})
}

func TestVisibleSubscriptions(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, s := t.Context(), newSubscribers(t, db)
		alice, bob, carol := s.user("alice", ""), s.user("bob", ""), s.user("carol", "")
		s.ok(dbmodel.SetMember(ctx, db, dbmodel.InProduct(1), bob.UserID, rule.Reader))
		s.ok(dbmodel.SetMember(ctx, db, dbmodel.InProductGroup(1), carol.UserID, rule.Reader))
		for _, sub := range []dbmodel.Subscription{
			{Name: "product 1", ProductID: new(int64(1))},
			{Name: "product 2", ProductID: new(int64(2))},
			{Name: "group", ProductGroupID: new(int64(1))},
			{Name: "everything"},
			{Name: "alice", UserID: &alice.UserID},
			{Name: "bob", UserID: &bob.UserID, ProductID: new(int64(1))},
		} {
			s.add(&sub)
		}
		for name, c := range map[string]struct {
			v    dbmodel.Viewer
			f    dbmodel.SubscriptionFilter
			want []string
		}{
			"administrator":      {v: dbmodel.AutomationViewer(), want: []string{"product 1", "product 2", "group", "everything", "alice", "bob"}},
			"ingest":             {v: dbmodel.Viewer{UserID: alice.UserID, Ingest: true}},
			"nobody":             {},
			"no member":          {v: alice, want: []string{"alice"}},
			"member":             {v: bob, want: []string{"product 1", "bob"}},
			"member of a group":  {v: carol, want: []string{"product 1", "group"}},
			"of a product":       {v: dbmodel.AutomationViewer(), f: dbmodel.SubscriptionFilter{ProductID: 1}, want: []string{"product 1", "bob"}},
			"of a group":         {v: dbmodel.AutomationViewer(), f: dbmodel.SubscriptionFilter{ProductGroupID: 1}, want: []string{"group"}},
			"everywhere":         {v: dbmodel.AutomationViewer(), f: dbmodel.SubscriptionFilter{Everywhere: true}, want: []string{"everything"}},
			"of a user":          {v: dbmodel.AutomationViewer(), f: dbmodel.SubscriptionFilter{UserID: alice.UserID}, want: []string{"alice"}},
			"of somebody else":   {v: bob, f: dbmodel.SubscriptionFilter{UserID: alice.UserID}},
			"of another product": {v: bob, f: dbmodel.SubscriptionFilter{ProductID: 2}},
		} {
			list, err := dbmodel.Subscriptions(ctx, db, c.v, c.f, 10)
			s.ok(err)
			var names []string
			for _, sub := range list {
				names = append(names, sub.Name)
			}
			if diff := cmp.Diff(c.want, names); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		list, err := dbmodel.Subscriptions(ctx, db, bob, dbmodel.SubscriptionFilter{}, 10)
		s.ok(err)
		if list[0].ProductName != "P" || list[1].Username != "bob" {
			t.Errorf("names: %+v", list)
		}
	})
}

func TestSubscriptionContacts(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, s := t.Context(), newSubscribers(t, db)
		team := s.add(&dbmodel.Subscription{Name: "Team", ProductID: new(int64(1))},
			dbmodel.ContactChange{Channel: rule.Webhook, Address: "https://a.example/1", Secret: "one"},
			dbmodel.ContactChange{Channel: rule.Webhook, Address: "https://a.example/1", Secret: "two"},
			dbmodel.ContactChange{Channel: rule.Email, Address: "Team@example.com"})
		before := s.contacts(team.ID)
		if len(before) != 3 || before[0].Target == before[1].Target || before[2].Address != "Team@example.com" || before[0].Address != "" {
			t.Fatalf("contacts: %+v", before)
		}
		address, err := s.vault.OpenAddress(rule.Webhook, before[0].Sealed)
		if err != nil || address != "https://a.example/1" {
			t.Errorf("address %q %v", address, err)
		}

		// What keeps its id keeps its target; a webhook also with another address, and that enables it.
		s.ok(dbmodel.DisableContacts(ctx, db, before[0].Target))
		if s.contacts(team.ID)[0].DisabledAt == nil || s.contacts(team.ID)[1].DisabledAt != nil {
			t.Errorf("disabled: %+v", s.contacts(team.ID))
		}
		s.ok(dbmodel.EnableContacts(ctx, db, before[0].Target))
		if s.contacts(team.ID)[0].DisabledAt != nil {
			t.Error("enabled it is disabled")
		}
		s.ok(dbmodel.DisableContacts(ctx, db, before[0].Target))
		s.tx(func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.SetSubscriptionContacts(ctx, tx, s.vault, team, []dbmodel.ContactChange{
				{ID: before[2].ID, Channel: rule.Email},
				{ID: before[0].ID, Channel: rule.Webhook, Address: "https://b.example/2"},
			})
		})
		after := s.contacts(team.ID)
		want := []dbmodel.SubscriptionContact{before[2], before[0]}
		if diff := cmp.Diff(want, after, cmpopts.IgnoreFields(dbmodel.SubscriptionContact{}, "Sealed")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if address, err := s.vault.OpenAddress(rule.Webhook, after[1].Sealed); err != nil || address != "https://b.example/2" {
			t.Errorf("address %q %v", address, err)
		}

		secrets := func(target int64) []string {
			t.Helper()
			list, err := dbmodel.SigningSecrets(ctx, db, s.vault, target)
			s.ok(err)
			return list
		}
		webhook := before[0]
		if got := secrets(webhook.Target); !cmp.Equal(got, []string{"one"}) {
			t.Errorf("secrets %v", got)
		}
		s.ok(dbmodel.RotateSecret(ctx, db, s.vault, team.ID, webhook.ID, "three"))
		if got := secrets(webhook.Target); !cmp.Equal(got, []string{"three", "one"}) {
			t.Errorf("secrets after a rotation: %v", got)
		}
		_, err = db.ExecContext(ctx, "UPDATE targets SET previous_secret_until = next_at")
		s.ok(err)
		if got := secrets(webhook.Target); !cmp.Equal(got, []string{"three"}) {
			t.Errorf("secrets a day after: %v", got)
		}
		for _, id := range []int64{before[2].ID, 99} {
			if err := dbmodel.RotateSecret(ctx, db, s.vault, team.ID, id, "x"); !errors.Is(err, dbmodel.ErrNotFound) {
				t.Errorf("rotate contact %d: %v", id, err)
			}
		}
		if err := dbmodel.RotateSecret(ctx, db, s.vault, team.ID+1, webhook.ID, "x"); !errors.Is(err, dbmodel.ErrNotFound) {
			t.Errorf("rotate that of another subscription: %v", err)
		}
		if got := secrets(before[2].Target); got != nil {
			t.Errorf("secrets of an address: %v", got)
		}

		s.ok(dbmodel.DeleteSubscription(ctx, db, team.ID))
		if err := dbmodel.DeleteSubscription(ctx, db, team.ID); !errors.Is(err, dbmodel.ErrNotFound) {
			t.Errorf("delete twice: %v", err)
		}
		if got := s.contacts(team.ID); got != nil {
			t.Errorf("contacts of a deleted one: %+v", got)
		}
	})
}

// TestSecretAfterTheKeyIsLost: one rotation is enough, although nobody can read the previous secret.
func TestSecretAfterTheKeyIsLost(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, s := t.Context(), newSubscribers(t, db)
		team := s.add(&dbmodel.Subscription{Name: "Team", ProductID: new(int64(1))},
			dbmodel.ContactChange{Channel: rule.Webhook, Address: "https://a.example/1", Secret: "one"})
		webhook := s.contacts(team.ID)[0]
		_, err := db.ExecContext(ctx, "DELETE FROM secrets")
		s.ok(err)
		vault := newVault(t, db)
		if got, err := dbmodel.SigningSecrets(ctx, db, vault, webhook.Target); !errors.Is(err, dbmodel.ErrSecretLost) {
			t.Errorf("secrets %v, %v; want ErrSecretLost", got, err)
		}
		s.ok(dbmodel.RotateSecret(ctx, db, vault, team.ID, webhook.ID, "two"))
		if got, err := dbmodel.SigningSecrets(ctx, db, vault, webhook.Target); err != nil || !cmp.Equal(got, []string{"two"}) {
			t.Errorf("secrets after a rotation: %v, %v; want the new one", got, err)
		}
	})
}

// TestPersonalEmail has the email of a personal subscription follow the address of its user.
func TestPersonalEmail(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		s := newSubscribers(t, db)
		alice := s.user("alice", "")
		mine := s.add(&dbmodel.Subscription{Name: "Mine", UserID: &alice.UserID}, dbmodel.ContactChange{Channel: rule.Email})
		if got := s.contacts(mine.ID); len(got) != 1 || got[0].Target != 0 || got[0].Sealed != nil {
			t.Fatalf("without an address: %+v", got)
		}
		for _, email := range []string{"alice@example.com", "Alice@Example.com", "other@example.com", ""} {
			s.user("alice", email)
			s.tx(func(ctx context.Context, tx bun.Tx) error { return dbmodel.FollowEmail(ctx, tx, s.vault, alice.UserID) })
			got := s.contacts(mine.ID)[0]
			if (got.Target == 0) != (email == "") || got.Address != "" {
				t.Errorf("%q: %+v", email, got)
			}
		}
		s.user("alice", "alice@example.com")
		second := s.add(&dbmodel.Subscription{Name: "Second", UserID: &alice.UserID}, dbmodel.ContactChange{Channel: rule.Email})
		if first := s.contacts(mine.ID)[0].Target; first == 0 || first != s.contacts(second.ID)[0].Target {
			t.Errorf("targets %d, %d", first, s.contacts(second.ID)[0].Target)
		}
	})
}

// TestAllSubscribersOfGroup: none is left out, however many there are.
func TestAllSubscribersOfGroup(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		s := newSubscribers(t, db)
		targets, err := dbmodel.EnsureTargets(t.Context(), db, s.vault, rule.Email, []string{"team@example.com"})
		s.ok(err)
		const all = 2_001
		_, err = db.ExecContext(t.Context(), `INSERT INTO subscriptions (name, product_group_id) WITH RECURSIVE s(i) AS (
			SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < ?) SELECT 'team', 1 FROM s`, all)
		s.ok(err)
		_, err = db.ExecContext(t.Context(), `INSERT INTO contacts (kind, subscription_id, channel, position, target_id)
			SELECT 'subscription', id, 'email', 0, ? FROM subscriptions`, targets[0])
		s.ok(err)
		list, err := dbmodel.SubscribersOfGroup(t.Context(), db, dbmodel.Viewer{Admin: true}, 1, nil)
		if err != nil || len(list) != all {
			t.Errorf("%d of %d subscriptions, %v", len(list), all, err)
		}
	})
}
