package web

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/webhook"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// maxSubscriptionName is how many characters the name of a subscription has at most.
const maxSubscriptionName = 200

// maxSubscriptions is how many subscriptions one user, and the team of one product or group, has at most.
const maxSubscriptions = 1_000

// noSuchUser is said of a user who does not exist, and to all others but administrators of every user but themselves.
const noSuchUser = "there is no such user"

// subscriptionMerge puts what was sent into a subscription.
type subscriptionMerge struct {
	s      *server
	sub    *dbmodel.Subscription
	isNew  bool
	sent   *subscriptionFields
	faults input.Faults
	user   *dbmodel.User // of a personal one
	// noContacts: it is not to be stored, and has no contacts.
	noContacts bool

	contacts []dbmodel.ContactChange // nil: nothing of them was sent
	secrets  map[int]string          // of new signed webhooks, by their place
}

// run merges all fields. Its error is what to answer where something is wrong with them, or the caller may not do this.
func (m *subscriptionMerge) run(ctx context.Context, tx bun.Tx) error {
	if err := m.owner(ctx, tx); err != nil {
		return err
	}
	if err := m.scope(ctx, tx); err != nil {
		return err
	}
	if !slices.ContainsFunc(m.faults, func(f input.Fault) bool {
		return f.Location == "product_id" || f.Location == "product_group_id" || f.Location == "username"
	}) {
		if err := mayChange(ctx, tx, m.sub); err != nil {
			return err
		}
	}
	m.values()
	if err := m.mergeContacts(ctx, tx); err != nil {
		return err
	}
	if m.faults != nil {
		return invalid(m.faults...)
	}
	return nil
}

// subscriber returns the user whose subscriptions a name is about, nil where the caller knows none.
func (s *server) subscriber(ctx context.Context, db bun.IDB, name string) (*dbmodel.User, error) {
	v := viewerOf(ctx)
	if name == "me" {
		name = v.Username
	}
	if !v.Admin && name != v.Username {
		return nil, nil //nolint:nilnil // as for an unknown one
	}
	u, err := dbmodel.UserByName(ctx, db, name)
	if errors.Is(err, dbmodel.ErrNotFound) {
		return nil, nil //nolint:nilnil // unknown
	}
	if err != nil {
		return nil, fmt.Errorf("load user %s: %w", name, err)
	}
	return u, nil
}

// owner finds whose the subscription is. That never changes.
func (m *subscriptionMerge) owner(ctx context.Context, tx bun.Tx) error {
	name := m.sent.Username
	switch {
	case m.isNew && (!name.Set || name.Empty):
		return nil
	case m.isNew:
		u, err := m.s.subscriber(ctx, tx, name.Value)
		if err != nil {
			return err
		}
		if u == nil {
			m.faults.AddOnce("username", noSuchUser)
			return nil
		}
		m.user, m.sub.UserID = u, &u.ID
		return nil
	}
	v := viewerOf(ctx)
	if name.Set && name.Value != m.sub.Username && (name.Value != "me" || m.sub.Username != v.Username) {
		m.faults.AddOnce("username", "cannot be changed: make another subscription")
	}
	if m.sub.UserID != nil {
		var err error
		if m.user, err = dbmodel.UserByName(ctx, tx, m.sub.Username); err != nil {
			return fmt.Errorf("load user %s: %w", m.sub.Username, err)
		}
	}
	return nil
}

// scope finds the product or group that the subscription is about.
func (m *subscriptionMerge) scope(ctx context.Context, tx bun.Tx) error {
	v, before := viewerOf(ctx), *m.sub
	input.Apply(m.sent.ProductID.Field, &m.sub.ProductID, nil, input.Pointer)
	input.Apply(m.sent.ProductGroupID.Field, &m.sub.ProductGroupID, nil, input.Pointer)
	if m.sub.ProductID != nil && m.sub.ProductGroupID != nil {
		m.faults.AddOnce("product_group_id", "must be empty where product_id is filled: "+
			"a subscription is about one of both, or about everything")
	}
	if p := m.sub.ProductID; p != nil && !equal(p, before.ProductID) {
		if _, err := dbmodel.VisibleProductByID(ctx, tx, v, *p); errors.Is(err, dbmodel.ErrNotFound) {
			m.faults.AddOnce("product_id", "there is no such product")
		} else if err != nil {
			return fmt.Errorf("load product %d: %w", *p, err)
		}
	}
	if g := m.sub.ProductGroupID; g != nil && !equal(g, before.ProductGroupID) {
		if _, err := dbmodel.VisibleProductGroupByID(ctx, tx, v, *g); errors.Is(err, dbmodel.ErrNotFound) {
			m.faults.AddOnce("product_group_id", "there is no such product group")
		} else if err != nil {
			return fmt.Errorf("load product group %d: %w", *g, err)
		}
	}
	return nil
}

// values merges the name, the filter and the schedule.
func (m *subscriptionMerge) values() {
	sub, sent := m.sub, m.sent
	if sent.ID.Set && !sent.ID.Empty && sent.ID.Value != sub.ID {
		m.faults.AddOnce("id", "must be left out, or the one of the path")
	}
	input.Apply(sent.Name, &sub.Name, "", input.Same)
	input.Apply(sent.Types, &sub.Types, nil, func(t input.AnyTypes) []rule.Type { return t })
	input.Apply(sent.Events, &sub.Events, nil, input.Same)
	input.Apply(sent.ParserTypes, &sub.ParserTypes, nil, input.Same)
	input.Apply(sent.MinSeverity, &sub.MinSeverity, "", input.Same)
	input.Apply(sent.Statuses, &sub.Statuses, nil, input.Same)
	input.Apply(sent.MinPriority.Field, &sub.MinPriority, nil, input.Pointer)
	input.Apply(sent.KnownExploited, &sub.KnownExploited, false, input.Same)
	for _, r := range sub.Filter().Check() {
		m.faults.AddOnce(r.Field, r.Reason)
	}
	input.Apply(sent.Schedule, &sub.Schedule, "", input.Same)
	input.Apply(sent.Timezone, &sub.Timezone, "UTC", input.Same)
	input.Apply(sent.ImmediateMinSeverity, &sub.ImmediateMinSeverity, "", input.Same)
	schedule := rule.Schedule{Line: sub.Schedule, Timezone: sub.Timezone}
	if schedule.Line == "" {
		schedule.Line = "0 0 * * *" // the zone is checked without one, too
	}
	_, refused := schedule.Slots()
	for _, r := range refused {
		m.faults.AddOnce(r.Field, r.Reason)
	}
	input.Apply(sent.Enabled, &sub.Enabled, true, input.Same)
	if sub.Name == "" {
		sub.Name = m.defaultName()
	}
	if len([]rune(sub.Name)) > maxSubscriptionName {
		m.faults.AddOnce("name", fmt.Sprintf("must have at most %d characters", maxSubscriptionName))
	}
}

// defaultName is the name of a subscription that was given none: of a personal one whose it is, of a team's what it
// takes and the ways that were sent with it.
func (m *subscriptionMerge) defaultName() string {
	if m.user != nil {
		return "Notifications for " + m.user.Username
	}
	name := []rune(filterWords(m.sub.Filter()))
	name[0] = unicode.ToUpper(name[0])
	var ways []string
	for _, c := range m.sent.Contacts.Value {
		if way := c.Channel.Info().Name; !slices.Contains(ways, way) {
			ways = append(ways, way)
		}
	}
	if len(ways) > 0 {
		name = append(name, []rune(" by "+strings.Join(ways, ", "))...)
	}
	if len(name) > maxSubscriptionName {
		name = append(name[:maxSubscriptionName-1], '…')
	}
	return string(name)
}

// mergeContacts compares the contacts that were sent with those that are stored.
func (m *subscriptionMerge) mergeContacts(ctx context.Context, tx bun.Tx) error {
	sent := m.sent.Contacts
	if !sent.Set {
		if m.isNew && !m.noContacts {
			m.faults.AddOnce("contacts", "is required")
		}
		return nil
	}
	if sent.Empty {
		m.faults.AddOnce("contacts", fmt.Sprintf("must be a list of 1 to %d contacts", input.MaxContacts))
		return nil
	}
	stored := map[int64]dbmodel.SubscriptionContact{}
	if !m.isNew {
		all, err := dbmodel.SubscriptionContacts(ctx, tx, m.sub.ID)
		if err != nil {
			return err
		}
		for _, c := range all[m.sub.ID] {
			stored[c.ID] = c
		}
	}
	m.secrets = map[int]string{}
	for i, c := range sent.Value {
		change, field, fault := m.contact(i, c, stored)
		if fault != "" {
			m.faults.AddOnce(fmt.Sprintf("contacts[%d].%s", i, field), fault)
		}
		m.contacts = append(m.contacts, change)
		delete(stored, c.ID) // so that none comes twice
	}
	return nil
}

// contact is what becomes of one contact that was sent, or the field that is faulty, and why.
func (m *subscriptionMerge) contact(
	i int, c input.Contact, stored map[int64]dbmodel.SubscriptionContact,
) (change dbmodel.ContactChange, field, fault string) {
	change = dbmodel.ContactChange{ID: c.ID, Channel: c.Channel, Address: c.Address}
	if c.ID != 0 {
		old, found := stored[c.ID]
		switch {
		case !found:
			return change, "id", "must be that of a contact of the subscription, once: leave it out for a new one"
		case c.Channel != "" && c.Channel != old.Channel:
			return change, "channel", "cannot be changed: make another contact"
		}
		change.Channel = old.Channel
		if c.Address == m.s.shownContact(m.sub, &old) {
			change.Address = ""
		}
	}
	if change.Channel.Info().ByAddress {
		if m.user == nil {
			if c.ID == 0 && change.Address == "" {
				return change, "address", "is required"
			}
			return change, "", ""
		}
		if change.Address != "" && !sameMailbox(change.Address, m.user.Email) {
			return change, "address", "must be left out: email of a personal subscription goes to the address of its user"
		}
		change.Address = ""
		return change, "", ""
	}
	switch {
	case change.Address == "" && c.ID != 0:
	case change.Address == "":
		return change, "address", "is required"
	case strings.Contains(change.Address, "…"):
		return change, "address", "is not the shortened form of the stored address: give the whole one, or leave it out"
	default:
		if err := channel.CheckWebhookURL(change.Address, m.s.networks); err != nil {
			return change, "address", err.Error()
		}
	}
	if change.Channel.Info().Signed && c.ID == 0 {
		change.Secret = webhook.NewSecret().Reveal()
		m.secrets[i] = change.Secret
	}
	return change, "", ""
}

// sameMailbox reports whether both are the same email address.
func sameMailbox(a, b string) bool {
	x, err := rule.EmailIdentity(a)
	if err != nil {
		return false
	}
	y, err := rule.EmailIdentity(b)
	return err == nil && x == y
}
