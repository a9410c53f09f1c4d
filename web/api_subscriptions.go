package web

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

type subscriptionParams struct {
	ListParams
	ProductID      int64  `query:"product_id"`
	ProductGroupID int64  `query:"product_group_id"`
	Username       string `query:"username" doc:"Whose they are; me: the caller's"`
}

type subscriptionFields struct {
	ID                   input.Field[int64]             `json:"id" doc:"May be sent back, and changes nothing"`
	Name                 input.Field[string]            `json:"name"`
	Username             input.Field[string]            `json:"username" doc:"Of a personal one: its user; me is the caller"`
	ProductID            input.ID                       `json:"product_id"`
	ProductGroupID       input.ID                       `json:"product_group_id"`
	Types                input.Field[input.AnyTypes]    `json:"types"`
	Events               input.Field[[]rule.Event]      `json:"events"`
	ParserTypes          input.Field[[]rule.ParserType] `json:"parser_types"`
	MinSeverity          input.Field[rule.Severity]     `json:"min_severity"`
	Statuses             input.Field[[]rule.Status]     `json:"statuses"`
	MinPriority          input.Priority                 `json:"min_priority"`
	KnownExploited       input.Field[bool]              `json:"known_exploited"`
	Contacts             input.Field[input.ContactList] `json:"contacts"`
	Schedule             input.Field[string]            `json:"schedule" doc:"A cron line, read in the time zone; empty: at once"`
	Timezone             input.Field[string]            `json:"timezone" doc:"A name of the IANA database, like Europe/Berlin"`
	ImmediateMinSeverity input.Field[rule.Severity]     `json:"immediate_min_severity" doc:"Of one with a schedule: what goes at once"`
	Enabled              input.Field[bool]              `json:"enabled"`
}

type subscriptionAnswer struct {
	ID                   int64             `json:"id"`
	Name                 string            `json:"name"`
	Username             string            `json:"username" doc:"Empty: it is a team's"`
	ProductID            *int64            `json:"product_id"`
	ProductGroupID       *int64            `json:"product_group_id"`
	Types                []rule.Type       `json:"types" nullable:"false"`
	Events               []rule.Event      `json:"events" nullable:"false"`
	ParserTypes          []rule.ParserType `json:"parser_types" nullable:"false"`
	MinSeverity          rule.Severity     `json:"min_severity"`
	Statuses             []rule.Status     `json:"statuses" nullable:"false"`
	MinPriority          *int              `json:"min_priority"`
	KnownExploited       bool              `json:"known_exploited"`
	Contacts             []ContactAnswer   `json:"contacts" nullable:"false"`
	Schedule             string            `json:"schedule"`
	Timezone             string            `json:"timezone"`
	ImmediateMinSeverity rule.Severity     `json:"immediate_min_severity"`
	Enabled              bool              `json:"enabled"`
}

// ContactAnswer is a contact of a subscription.
type ContactAnswer struct {
	ID         int64        `json:"id"`
	Channel    rule.Channel `json:"channel"`
	Address    string       `json:"address" doc:"An email address, or the redacted URL of a webhook; empty: that of the user"`
	DisabledAt *time.Time   `json:"disabled_at" doc:"Since when its receiver is gone"`
	Secret     string       `json:"secret,omitempty" doc:"Of a new signed webhook, in the answer that creates it and nowhere else"`
}

type subscriptionOutput struct{ Body subscriptionAnswer }

func (s *server) apiListSubscriptions(
	ctx context.Context, in *subscriptionParams,
) (*listOutput[subscriptionAnswer], error) {
	after, err := idCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	f := dbmodel.SubscriptionFilter{ProductID: in.ProductID, ProductGroupID: in.ProductGroupID, After: after}
	if in.Username != "" {
		u, err := s.subscriber(ctx, s.db.Reader, in.Username)
		if err != nil {
			return nil, err
		}
		if u == nil {
			return nil, invalid(input.Fault{Location: "query.username", Message: noSuchUser})
		}
		f.UserID = u.ID
	}
	list, err := dbmodel.Subscriptions(ctx, s.db.Reader, viewerOf(ctx), f, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	contacts, err := dbmodel.SubscriptionContacts(ctx, s.db.Reader, ids...)
	if err != nil {
		return nil, err
	}
	return pageOf(list, in.Limit, func(sub *dbmodel.Subscription) subscriptionAnswer {
		return s.showSubscription(sub, contacts[sub.ID], nil)
	},
		func(sub *dbmodel.Subscription) string { return idCursorOf(sub.ID) }), nil
}

func (s *server) apiGetSubscription(ctx context.Context, in *IDParam) (*subscriptionOutput, error) {
	sub, err := dbmodel.VisibleSubscriptionByID(ctx, s.db.Reader, viewerOf(ctx), in.ID)
	if err != nil {
		return nil, missing(err, "subscription", in.ID)
	}
	return s.subscriptionOutput(ctx, s.db.Reader, sub, nil)
}

func (s *server) apiPostSubscription(ctx context.Context, _ *struct{}) (*subscriptionOutput, error) {
	var sent subscriptionFields
	found, err := readJSONFaults(ctx, &sent)
	if err != nil {
		return nil, err
	}
	return s.addSubscription(ctx, &sent, found)
}

// addSubscription stores a new subscription. It refuses faults that were found before together with its own.
func (s *server) addSubscription(
	ctx context.Context, sent *subscriptionFields, found input.Faults,
) (out *subscriptionOutput, err error) {
	err = s.inTxAgain(ctx, func(ctx context.Context, tx bun.Tx) error {
		sub := &dbmodel.Subscription{Timezone: "UTC", Enabled: true}
		out, err = s.changeSubscription(ctx, tx, sub, sent, found)
		return err
	})
	return out, err
}

// inTxAgain runs fn in a transaction and, where the user, product or product group that a row names was deleted in this
// moment, in another one: there fn finds that out by itself, and says what is unknown.
func (s *server) inTxAgain(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	err := s.db.InTx(ctx, fn)
	if errors.Is(err, dbmodel.ErrConflict) {
		err = s.db.InTx(ctx, fn)
	}
	return err
}

func (s *server) apiPatchSubscription(ctx context.Context, in *IDParam) (*subscriptionOutput, error) {
	if err := s.mayChangeSubscription(ctx, in.ID); err != nil {
		return nil, err
	}
	var sent subscriptionFields
	found, err := readJSONFaults(ctx, &sent)
	if err != nil {
		return nil, err
	}
	return s.patchSubscription(ctx, in.ID, &sent, found)
}

// patchSubscription changes what was sent of a subscription, as addSubscription does.
func (s *server) patchSubscription(
	ctx context.Context, id int64, sent *subscriptionFields, found input.Faults,
) (out *subscriptionOutput, err error) {
	err = s.inTxAgain(ctx, func(ctx context.Context, tx bun.Tx) error {
		sub, err := s.subscriptionToChange(ctx, tx, id)
		if err != nil {
			return err
		}
		out, err = s.changeSubscription(ctx, tx, sub, sent, found)
		return err
	})
	return out, err
}

// subscriptionToChange locks a subscription that the caller may change.
func (s *server) subscriptionToChange(ctx context.Context, tx bun.Tx, id int64) (*dbmodel.Subscription, error) {
	sub, err := dbmodel.VisibleSubscriptionForUpdate(ctx, tx, viewerOf(ctx), id)
	if err != nil {
		return nil, missing(err, "subscription", id)
	}
	return sub, mayChange(ctx, tx, sub)
}

// mayChangeSubscription answers callers who may not change a subscription before their body is read.
func (s *server) mayChangeSubscription(ctx context.Context, id int64) error {
	sub, err := dbmodel.VisibleSubscriptionByID(ctx, s.db.Reader, viewerOf(ctx), id)
	if err != nil {
		return missing(err, "subscription", id)
	}
	return mayChange(ctx, s.db.Reader, sub)
}

// mayChange answers 403 where the caller, who sees a subscription or its scope, may not change it.
func mayChange(ctx context.Context, db bun.IDB, sub *dbmodel.Subscription) error {
	v := viewerOf(ctx)
	if v.Admin || sub.UserID != nil {
		return nil // a caller who sees a personal one may change it
	}
	var role rule.Role
	var err error
	switch {
	case sub.ProductID != nil:
		role, err = dbmodel.RoleIn(ctx, db, v, *sub.ProductID)
	case sub.ProductGroupID != nil:
		role, err = dbmodel.RoleInGroup(ctx, db, v, *sub.ProductGroupID)
	default:
		return forbidden("A subscription to everything is for administrators. One of your own needs the field username: me.")
	}
	if err != nil && !errors.Is(err, dbmodel.ErrNotFound) {
		return fmt.Errorf("load the role of the caller: %w", err)
	}
	return needs(role, rule.Maintainer)
}

// changeSubscription puts what was sent into a subscription, stored or new, and stores it.
func (s *server) changeSubscription(
	ctx context.Context, tx bun.Tx, sub *dbmodel.Subscription, sent *subscriptionFields, found input.Faults,
) (*subscriptionOutput, error) {
	m := subscriptionMerge{s: s, sub: sub, isNew: sub.ID == 0, sent: sent, faults: append(input.Faults(nil), found...)}
	if err := m.run(ctx, tx); err != nil {
		return nil, err
	}
	if err := roomForSubscription(ctx, tx, sub); err != nil {
		return nil, err
	}
	store := dbmodel.SaveSubscription
	if m.isNew {
		store = dbmodel.AddSubscription
	}
	if err := store(ctx, tx, sub); err != nil {
		return nil, fmt.Errorf("store a subscription: %w", err)
	}
	if m.contacts != nil {
		if err := dbmodel.SetSubscriptionContacts(ctx, tx, s.vault, sub, m.contacts); err != nil {
			return nil, err
		}
	}
	stored, err := dbmodel.VisibleSubscriptionByID(ctx, tx, viewerOf(ctx), sub.ID)
	if err != nil {
		return nil, fmt.Errorf("load subscription %d: %w", sub.ID, err)
	}
	return s.subscriptionOutput(ctx, tx, stored, m.secrets)
}

// roomForSubscription refuses a subscription where its owner has as many as one may have: what they take is found anew
// for each part of an import, and everybody waits for that.
func roomForSubscription(ctx context.Context, tx bun.Tx, sub *dbmodel.Subscription) error {
	field, owner := "product_id", "a product"
	switch {
	case sub.UserID != nil:
		field, owner = "username", "a user"
	case sub.ProductGroupID != nil:
		field, owner = "product_group_id", "a product group"
	}
	full, err := dbmodel.HasOtherSubscriptions(ctx, tx, sub, maxSubscriptions)
	if err != nil {
		return fmt.Errorf("count subscriptions: %w", err)
	}
	if full {
		return invalid(input.Fault{Location: field, Message: fmt.Sprintf(
			"%s has at most %d subscriptions: delete one that is not needed", owner, maxSubscriptions)})
	}
	return nil
}

func (s *server) apiDeleteSubscription(ctx context.Context, in *IDParam) (*struct{}, error) {
	return nil, s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := s.subscriptionToChange(ctx, tx, in.ID); err != nil {
			return err
		}
		return missing(dbmodel.DeleteSubscription(ctx, tx, in.ID), "subscription", in.ID)
	})
}

// subscriptionOutput answers a subscription; secrets are those of new contacts, by their place.
func (s *server) subscriptionOutput(
	ctx context.Context, db bun.IDB, sub *dbmodel.Subscription, secrets map[int]string,
) (*subscriptionOutput, error) {
	contacts, err := dbmodel.SubscriptionContacts(ctx, db, sub.ID)
	if err != nil {
		return nil, err
	}
	return &subscriptionOutput{s.showSubscription(sub, contacts[sub.ID], secrets)}, nil
}

func (s *server) showSubscription(
	sub *dbmodel.Subscription, contacts []dbmodel.SubscriptionContact, secrets map[int]string,
) subscriptionAnswer {
	out := subscriptionAnswer{
		ID: sub.ID, Name: sub.Name, Username: sub.Username, ProductID: sub.ProductID, ProductGroupID: sub.ProductGroupID,
		Types: noNull(sub.Types), Events: noNull(sub.Events), ParserTypes: noNull(sub.ParserTypes),
		MinSeverity: sub.MinSeverity,
		Statuses:    noNull(sub.Statuses),
		MinPriority: sub.MinPriority, KnownExploited: sub.KnownExploited, Contacts: make([]ContactAnswer, 0, len(contacts)),
		Schedule: sub.Schedule, Timezone: sub.Timezone, ImmediateMinSeverity: sub.ImmediateMinSeverity, Enabled: sub.Enabled,
	}
	for i, c := range contacts {
		out.Contacts = append(out.Contacts, ContactAnswer{
			ID: c.ID, Channel: c.Channel, Address: s.shownContact(sub, &c), DisabledAt: utc(c.DisabledAt), Secret: secrets[i],
		})
	}
	return out
}

// noNull is a list that JSON shows as [] where it is empty.
func noNull[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// shownContact is the address of a contact as it is answered; empty for the email of a personal subscription.
func (s *server) shownContact(sub *dbmodel.Subscription, c *dbmodel.SubscriptionContact) string {
	switch {
	case c.Channel.Info().ByAddress && sub.UserID != nil:
		return ""
	case c.Address != "":
		return c.Address
	}
	return s.redacted(c.Channel, c.Sealed)
}

type rotateFields struct {
	Contact input.MustID `json:"contact" doc:"The id of a signed webhook of the subscription"`
}

type secretOutput struct {
	Body struct {
		Secret string `json:"secret" doc:"Shown once. The one before signs too, for 24 hours."`
	}
}

func (s *server) apiRotateSecret(ctx context.Context, in *IDParam) (*secretOutput, error) {
	if err := s.mayChangeSubscription(ctx, in.ID); err != nil {
		return nil, err
	}
	var sent rotateFields
	if err := readJSON(ctx, &sent); err != nil {
		return nil, err
	}
	out := new(secretOutput)
	var err error
	out.Body.Secret, err = s.rotateSecret(ctx, in.ID, sent.Contact.Value)
	return out, err
}

func (s *server) apiTestSubscription(ctx context.Context, in *IDParam) (*testOutput, error) {
	var sent testFields
	if err := readOptionalJSON(ctx, &sent); err != nil {
		return nil, err
	}
	return s.testSubscription(ctx, in.ID, sent.Channel.Value)
}
