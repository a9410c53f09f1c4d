package web

import (
	"context"
	"errors"
	"fmt"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

type explainAnswer struct {
	Observation message.Observation `json:"observation"`
	Product     message.Product     `json:"product"`
	ExplainedAnswer
	Title *ExplainedAnswer `json:"title" doc:"The same for all that bear its title; null except for administrators"`
}

// TransformSchema implements huma.SchemaTransformer: huma knows no objects that may be null.
func (explainAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["title"] = &huma.Schema{OneOf: []*huma.Schema{s.Properties["title"], {Type: "null"}}}
	return s
}

// ExplainedAnswer says why something is, or is not, notified.
type ExplainedAnswer struct {
	Conditions []rule.Condition `json:"conditions" nullable:"false"`
	IsSet      bool             `json:"is_set" doc:"At least one condition is set; else nothing matches"`
	Matches    bool             `json:"matches"`
	Remembered *rule.Values     `json:"remembered" doc:"What was last notified; null: nothing"`
	Event      *rule.Event      `json:"event" nullable:"true" doc:"What an evaluation would notify now; null: nothing"`
	Decision   string           `json:"decision" doc:"The same in words"`
	Paused     bool             `json:"paused"`
	// Recipients are all contacts, those that are passed over too.
	Recipients []ExplainedRecipient `json:"recipients" nullable:"false"`
}

// TransformSchema implements huma.SchemaTransformer.
func (ExplainedAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["remembered"] = &huma.Schema{OneOf: []*huma.Schema{s.Properties["remembered"], {Type: "null"}}}
	return s
}

// ExplainedRecipient is a contact that receives what is notified or, with a reason, is passed over.
type ExplainedRecipient struct {
	Channel   rule.Channel  `json:"channel"`
	Target    string        `json:"target" doc:"An email address, or the redacted URL of a webhook"`
	Source    contactSource `json:"source" doc:"Where the contact is set"`
	Recipient bool          `json:"recipient" doc:"It receives what is notified"`
	Reason    string        `json:"reason" doc:"Why it is passed over; empty for a recipient"`

	target  int64
	from    linkTo // Source in words
	failure string // what is wrong with deliveries to it that the caller sees; empty: nothing
}

type explainOutput struct{ Body explainAnswer }

func (s *server) apiExplain(ctx context.Context, in *IDParam) (*explainOutput, error) {
	out := new(explainOutput)
	v := viewerOf(ctx)
	err := s.db.Snapshot(ctx, func(ctx context.Context, tx bun.Tx) error {
		o, err := dbmodel.VisibleObservationByID(ctx, tx, v, in.ID)
		if err != nil {
			return missing(err, "observation", in.ID)
		}
		products, err := dbmodel.ProductContexts(ctx, tx, []int64{o.ProductID})
		if err != nil {
			return fmt.Errorf("load product %d: %w", o.ProductID, err)
		}
		product := products[o.ProductID]
		if product == nil { // accept keeps products of observations
			return notFound("observation")
		}
		settings, err := dbmodel.LoadSettings(ctx, tx)
		if err != nil {
			return fmt.Errorf("load the settings: %w", err)
		}
		e := explainer{s: s, settings: settings, product: product, viewer: v}
		out.Body.Observation = message.Observation{ID: o.ID, Title: o.Title}
		out.Body.Product = message.Product{ID: product.ID, Name: product.Name}
		applied := rule.Effective(product.Product, product.Group)
		applied.Subscriptions, err = dbmodel.SubscribersFor(ctx, tx, v, product.ID, settings.MemberNotificationTypes)
		if err != nil {
			return err
		}
		explanation := rule.Explain(applied, o.Remembered, o.Rule())
		e.about = wouldBe(rule.TypeObservation, o, explanation)
		e.about.Product = product.ID
		out.Body.ExplainedAnswer, err = e.explain(ctx, tx, applied, explanation, false)
		if err != nil || !v.Admin {
			return err
		}
		hash := dbmodel.TitleHash(o.Title)
		remembered, err := dbmodel.RememberedTitles(ctx, tx, []dbmodel.Hash{hash})
		if err != nil {
			return fmt.Errorf("load a title: %w", err)
		}
		contacts, err := dbmodel.ContactsOf(ctx, tx, titleHolder)
		if err != nil {
			return err
		}
		global := rule.Global(settings.TitleConditions(), contacts[titleHolder])
		if global.Subscriptions, err = dbmodel.SubscribersFor(ctx, tx, v, 0, settings.MemberNotificationTypes); err != nil {
			return err
		}
		explanation = rule.ExplainTitle(global, remembered[hash], o.Rule())
		e.about = wouldBe(rule.TypeObservationTitle, o, explanation)
		title, err := e.explain(ctx, tx, global, explanation, true)
		out.Body.Title = &title
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// wouldBe is what would be notified of an observation: what an evaluation would now or, where that is nothing, what it
// would as soon as a condition is met.
func wouldBe(t rule.Type, o *dbmodel.StoredObservation, x rule.Explanation) *rule.Notification {
	n := &rule.Notification{
		Type: t, Event: x.Event, ParserType: o.ParserType, Before: x.Remembered, After: new(o.Rule().Values),
	}
	if n.Event == rule.NoEvent {
		n.Event = rule.EventNew
		if x.Remembered != nil {
			n.Event = rule.EventChanged
		}
	}
	return n
}

// explainer puts an explanation into words.
type explainer struct {
	s        *server
	settings *dbmodel.Settings
	product  *dbmodel.ProductContext
	viewer   dbmodel.Viewer
	about    *rule.Notification // what would be notified; nil: whatever
}

func (e *explainer) explain(
	ctx context.Context, db bun.IDB, a rule.Applied, x rule.Explanation, title bool,
) (ExplainedAnswer, error) {
	out := ExplainedAnswer{
		Conditions: x.Conditions, IsSet: x.IsSet, Matches: x.Matches, Remembered: x.Remembered,
		Paused: a.Paused,
	}
	if x.Event != rule.NoEvent {
		out.Event = &x.Event
	}
	var err error
	if out.Recipients, err = e.recipients(ctx, db, a); err != nil {
		return out, err
	}
	out.Decision = e.decision(x, title) + e.noRecipient(out)
	return out, nil
}

// recipients says which contacts receive what is notified under the settings that apply, and why others are passed
// over.
func (e *explainer) recipients(ctx context.Context, db bun.IDB, a rule.Applied) ([]ExplainedRecipient, error) {
	contacts, err := e.s.recipients(ctx, db, a, e.about, e.settings)
	if err != nil {
		return nil, err
	}
	out := make([]ExplainedRecipient, 0, len(contacts))
	for _, c := range contacts {
		name := e.nameOf(c.Holder)
		for _, sub := range a.Subscriptions {
			if c.Holder == (rule.Holder{Kind: rule.HolderSubscription, ID: sub.ID}) {
				name = sub.Name
				if c.Reason == rule.Waits {
					c.Reason = sub.WaitsFor(e.about)
				}
			}
		}
		r := ExplainedRecipient{
			Channel: c.Channel, Target: c.shown, Source: *newContactSource(c.Holder, name),
			Recipient: c.Reason == "", Reason: c.Reason.Sentence(), target: c.Target,
			from: sourceLink(e.viewer, c.Holder, name, c.Channel),
		}
		if c.fails {
			if r.failure, err = failureOf(ctx, db, e.viewer, c.Target); err != nil {
				return nil, err
			}
		}
		if c.Reason == rule.Paused {
			r.Reason = rule.PausedBy(e.pausedBy()).Sentence()
		}
		out = append(out, r)
	}
	return out, nil
}

// nameOf is the name of the product or group that has contacts.
func (e *explainer) nameOf(h rule.Holder) string {
	switch h.Kind {
	case rule.HolderProduct:
		return e.product.Name
	case rule.HolderGroup:
		return e.product.GroupName
	case rule.HolderTitles, rule.HolderExceptions, rule.HolderSubscription:
	}
	return ""
}

// failureOf says of a target that fails what is wrong with those deliveries that v sees; empty: nothing.
func failureOf(ctx context.Context, db bun.IDB, v dbmodel.Viewer, target int64) (string, error) {
	t, err := dbmodel.FailingTargetByID(ctx, db, v, rule.Maintainer, target)
	switch {
	case errors.Is(err, dbmodel.ErrNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("load target %d: %w", target, err)
	case t.Failed > 0 && t.FailedLast:
		return "A delivery to it has failed for good, and none has succeeded since.", nil
	}
	return "Deliveries to it fail at present, and are tried again.", nil
}
