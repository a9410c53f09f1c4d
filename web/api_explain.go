package web

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

type explainAnswer struct {
	Observation inboxObservation `json:"observation"`
	Product     inboxProduct     `json:"product"`
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
	Conditions []rule.Condition  `json:"conditions" nullable:"false"`
	IsSet      bool              `json:"is_set" doc:"At least one condition is set; else nothing matches"`
	Matches    bool              `json:"matches"`
	Remembered *inboxValues      `json:"remembered" doc:"What was last notified; null: nothing"`
	Event      *rule.Event       `json:"event" doc:"What an evaluation would notify now; null: nothing"`
	Decision   string            `json:"decision" doc:"The same in words"`
	Paused     bool              `json:"paused"`
	Targets    []ExplainedTarget `json:"targets" nullable:"false"`
}

// TransformSchema implements huma.SchemaTransformer.
func (ExplainedAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["remembered"] = &huma.Schema{OneOf: []*huma.Schema{s.Properties["remembered"], {Type: "null"}}}
	return s
}

// ExplainedTarget is a contact with the reason why it receives nothing.
type ExplainedTarget struct {
	Channel rule.Channel `json:"channel"`
	Target  string       `json:"target" doc:"An email address, or the redacted URL of a webhook"`
	Source  rule.Source  `json:"source" doc:"product, product_group or settings"`
	Told    bool         `json:"told"`
	Reason  string       `json:"reason" doc:"Why not"`
}

type explainOutput struct{ Body explainAnswer }

func (s *server) apiExplain(ctx context.Context, in *idParam) (*explainOutput, error) {
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
		e := explainer{s: s, settings: settings, product: product}
		out.Body.Observation, out.Body.Product = inboxObservation{o.ID, o.Title}, inboxProduct{product.ID, product.Name}
		applied := rule.Effective(product.Product, product.Group)
		out.Body.ExplainedAnswer, err = e.explain(ctx, tx, applied, rule.Explain(applied, o.Remembered, o.Rule()), false)
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
		title, err := e.explain(ctx, tx, global, rule.ExplainTitle(global, remembered[hash], o.Rule()), true)
		out.Body.Title = &title
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// explainer puts an explanation into words.
type explainer struct {
	s        *server
	settings *dbmodel.Settings
	product  *dbmodel.ProductContext
}

func (e *explainer) explain(ctx context.Context, db bun.IDB, a rule.Applied, x rule.Explanation, title bool) (ExplainedAnswer, error) {
	out := ExplainedAnswer{
		Conditions: x.Conditions, IsSet: x.IsSet, Matches: x.Matches, Remembered: showValues(x.Remembered), Paused: a.Paused, Targets: []ExplainedTarget{},
	}
	if x.Event != rule.NoEvent {
		out.Event = &x.Event
	}
	contacts, err := e.s.recipients(ctx, db, a, e.settings)
	if err != nil {
		return out, err
	}
	for _, c := range contacts {
		t := ExplainedTarget{Channel: c.Channel, Target: c.shown, Source: c.Holder.Source(), Reason: c.Reason.Sentence()}
		if c.Reason == rule.Paused {
			t.Reason = rule.PausedBy(e.pausedBy()).Sentence()
		}
		t.Told = t.Reason == ""
		out.Targets = append(out.Targets, t)
	}
	out.Decision = e.decision(x, title) + e.audience(out)
	return out, nil
}
