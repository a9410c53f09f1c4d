package web

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

type previewFields struct {
	Settings     input.Field[input.Object] `json:"settings" doc:"Fields of PUT /products/{id}; those left out are as they are stored. Or subscription"`
	Subscription input.Field[input.Object] `json:"subscription" doc:"Fields of POST /subscriptions, without contacts too; of the product where no scope is given"`
	Days         input.Field[int]          `json:"days" minimum:"1" maximum:"30" doc:"Dates in UTC, the last one is today; default 7"`
}

type previewAnswer struct {
	Matching int           `json:"matching" doc:"Observations that match now"`
	Days     []dayCount    `json:"days" nullable:"false"`
	First    []PreviewItem `json:"first" doc:"The newest, ten at most" nullable:"false"`
}

type dayCount struct {
	Date  string `json:"date" format:"date"`
	Count int    `json:"count"`
}

// PreviewItem is a notification that there would have been.
type PreviewItem struct {
	Type        rule.Type            `json:"type"`
	Event       *rule.Event          `json:"event" nullable:"true"`
	Name        string               `json:"name"`
	Observation *message.Observation `json:"observation"`
	Before      message.State        `json:"before"`
	After       message.State        `json:"after"`
	CreatedAt   time.Time            `json:"created_at"`
}

// TransformSchema implements huma.SchemaTransformer: huma knows no objects that may be null.
func (PreviewItem) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["observation"] = &huma.Schema{OneOf: []*huma.Schema{s.Properties["observation"], {Type: "null"}}}
	return s
}

type previewOutput struct{ Body previewAnswer }

var errPreviewTime = invalid(input.Fault{Location: "days", Message: "are too many to look through: ask for fewer"})

func (s *server) apiPreview(ctx context.Context, in *IDParam) (*previewOutput, error) {
	role, err := dbmodel.RoleIn(ctx, s.db.Reader, viewerOf(ctx), in.ID)
	if err != nil {
		return nil, missing(err, "product", in.ID)
	}
	var sent previewFields
	if err := readJSON(ctx, &sent); err != nil {
		return nil, err
	}
	bySettings := sent.Settings.Set && !sent.Settings.Null
	bySubscription := sent.Subscription.Set && !sent.Subscription.Null
	if bySettings == bySubscription {
		return nil, invalid(input.Fault{Location: "settings", Message: "either settings or subscription must be given"})
	}
	days := previewDays
	input.Apply(sent.Days, &days, previewDays, input.Same)
	var p *preview
	if bySettings {
		if err := needs(role, rule.Maintainer); err != nil {
			return nil, err
		}
		var draft productFields
		faults, err := input.ReadJSON(bytes.NewReader(sent.Settings.Value), &draft)
		if err != nil {
			return nil, err
		}
		if p, err = s.previewSettings(ctx, in.ID, &draft, faults, days); err != nil {
			return nil, below("settings", err)
		}
	} else {
		var draft subscriptionFields
		faults, err := input.ReadJSON(bytes.NewReader(sent.Subscription.Value), &draft)
		if err != nil {
			return nil, err
		}
		if p, err = s.previewDraft(ctx, in.ID, &draft, faults, days); err != nil {
			return nil, below("subscription", err)
		}
	}
	return p.output(), nil
}

// below names faults as those of fields of a field.
func below(field string, err error) error {
	p, is := err.(*problem) //nolint:errorlint // as it was made
	if !is || p == errPreviewTime {
		return err
	}
	out := *p
	out.Errors = nil
	for _, f := range p.Errors {
		f.Location = strings.TrimSuffix(field+"."+f.Location, ".")
		out.Errors = append(out.Errors, f)
	}
	return &out
}

// previewSettings previews settings of a product that are not stored. It refuses faults that were found before
// together with its own.
func (s *server) previewSettings(
	ctx context.Context, id int64, sent *productFields, faults input.Faults, days int,
) (p *preview, err error) {
	err = s.inPreview(ctx, days, func(ctx context.Context, tx bun.Tx, started *preview, now time.Time) error {
		p = started
		v := viewerOf(ctx)
		product, err := dbmodel.VisibleProductByID(ctx, tx, v, id)
		if err != nil {
			return missing(err, "product", id)
		}
		name, group := product.Name, product.ProductGroupID
		sent.merge(id, false, &product.Name, &faults)
		input.Apply(sent.ProductGroupID.Field, &product.ProductGroupID, nil, input.Pointer)
		if err := keepsStructure(v, name == product.Name && equal(group, product.ProductGroupID)); err != nil {
			return err
		}
		if err := knownGroup(ctx, tx, sent.ProductGroupID.Field, &faults); err != nil {
			return err
		}
		sent.NotificationFields.merge(&product.NotificationSettings, &faults)
		if err := s.checkContacts(ctx, tx, &faults, sent.contacts(productHolder(id))); err != nil {
			return err
		}
		if faults != nil {
			return invalid(faults...)
		}
		var inherited *rule.Settings
		if g := product.ProductGroupID; g != nil {
			group, err := dbmodel.ProductGroupByID(ctx, tx, *g) // what applies to a product is seen with the product
			if err != nil {
				return fmt.Errorf("load product group %d: %w", *g, err)
			}
			inherited = new(group.Rule(nil, now))
		}
		return p.fillSettings(ctx, tx, id, rule.Effective(product.Rule(nil, now), inherited).Conditions)
	})
	return p, err
}

// previewDraft previews a new subscription, in a product.
func (s *server) previewDraft(
	ctx context.Context, id int64, sent *subscriptionFields, faults input.Faults, days int,
) (p *preview, err error) {
	err = s.inPreview(ctx, days, func(ctx context.Context, tx bun.Tx, started *preview, _ time.Time) error {
		p = started
		products, err := dbmodel.ProductContexts(ctx, tx, []int64{id})
		if err != nil {
			return fmt.Errorf("load product %d: %w", id, err)
		}
		product := products[id]
		if product == nil {
			return notFound("product")
		}
		draft := &dbmodel.Subscription{Timezone: "UTC", Enabled: true}
		if !sent.ProductGroupID.Set || sent.ProductGroupID.Empty {
			draft.ProductID = &id
		}
		m, err := s.mergeDraft(ctx, tx, draft, sent, faults)
		if err != nil {
			return err
		}
		if p := draft.ProductID; p != nil && *p != id {
			return invalid(input.Fault{Location: "product_id", Message: "must be left out, or the product of the path"})
		}
		if g := draft.ProductGroupID; g != nil && *g != product.GroupID {
			return invalid(input.Fault{Location: "product_group_id", Message: "must be left out, or the group of the product"})
		}
		sub, sight, err := s.ruleOfDraft(ctx, tx, m)
		if err != nil {
			return err
		}
		if _, err := dbmodel.VisibleProductByID(ctx, tx, sight, id); err != nil {
			return missing(err, "product", id)
		}
		if err := p.fillSubscription(ctx, tx, sight, dbmodel.RecentScope{ProductID: id}, sub); err != nil {
			return err
		}
		return p.countMatching(ctx, tx, id, rule.Effective(product.Product, product.Group).Conditions, sub)
	})
	return p, err
}

// inPreview runs a preview over one snapshot of the database.
func (s *server) inPreview(
	ctx context.Context, days int, run func(context.Context, bun.Tx, *preview, time.Time) error,
) error {
	return s.inPreviewTime(ctx, func(ctx context.Context) error {
		return s.db.Snapshot(ctx, func(ctx context.Context, tx bun.Tx) error {
			now, err := dbmodel.DatabaseNow(ctx, tx)
			if err != nil {
				return fmt.Errorf("ask the database for the time: %w", err)
			}
			return run(ctx, tx, newPreview(now, days), now)
		})
	})
}

// mergeDraft puts what was sent into a subscription that is not stored, where the caller might store it.
func (s *server) mergeDraft(
	ctx context.Context, tx bun.Tx, draft *dbmodel.Subscription, sent *subscriptionFields, found input.Faults,
) (*subscriptionMerge, error) {
	m := &subscriptionMerge{
		s: s, sub: draft, isNew: draft.ID == 0, sent: sent, faults: append(input.Faults(nil), found...),
		noContacts: !sent.Contacts.Set,
	}
	return m, m.run(ctx, tx)
}

// ruleOfDraft returns what decides about the notifications of a draft, and what its recipients see.
func (s *server) ruleOfDraft(
	ctx context.Context, tx bun.Tx, m *subscriptionMerge,
) (*rule.Subscription, dbmodel.Viewer, error) {
	settings, err := dbmodel.LoadSettings(ctx, tx)
	if err != nil {
		return nil, dbmodel.Viewer{}, fmt.Errorf("load settings: %w", err)
	}
	sub := &rule.Subscription{Enabled: true, Filter: m.sub.Filter()}
	if u := m.user; u != nil {
		sub.User, sub.Whole, sub.Sees = u.ID, u.IsAdmin, rule.PersonalTypes(settings.MemberNotificationTypes)
		return sub, dbmodel.Viewer{UserID: u.ID, Username: u.Username, Admin: u.IsAdmin}, nil
	}
	sub.Whole, sub.Sees = m.sub.ProductID == nil && m.sub.ProductGroupID == nil, rule.TeamTypes()
	return sub, dbmodel.Viewer{Admin: true}, nil
}

// output answers a preview.
func (p *preview) output() *previewOutput {
	out := &previewOutput{
		previewAnswer{Matching: p.matching, Days: make([]dayCount, len(p.days)), First: noNull(p.newest)},
	}
	for i, n := range p.days {
		out.Body.Days[i] = dayCount{p.since.AddDate(0, 0, i).Format(dateLayout), n}
	}
	return out
}
