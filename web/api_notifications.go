package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

type notificationParams struct {
	ListParams
	Type      notificationType  `query:"type"`
	Event     notificationEvent `query:"event"`
	Severity  []severity        `query:"severity,explode" doc:"Of after; several: one of them"`
	ProductID int64             `query:"product_id"`
	GroupID   int64             `query:"product_group_id" doc:"That the product belongs to today"`
	Digest    int64             `query:"digest" doc:"The number in the link of a digest on a schedule: what it sums up"`
	User      string            `query:"user" doc:"The user named in an exception or a task"`
	Viewed    truth             `query:"viewed" doc:"By the caller"`
	Q         string            `query:"q" doc:"Part of the name, without case"`
	Since     string            `query:"since" doc:"Included; a time with a zone as in RFC 3339"`
	Until     string            `query:"until" doc:"Excluded; a time with a zone as in RFC 3339"`
	Sort      string            `query:"sort" enum:"-created_at,created_at" default:"-created_at"`
}

// inboxAnswer is a notification with what the caller is to it.
type inboxAnswer struct {
	message.Shown
	Viewed     bool             `json:"viewed"`
	Deliveries []DeliveryAnswer `json:"deliveries" nullable:"false"`
}

// TransformSchema implements huma.SchemaTransformer: huma knows no objects that may be null.
func (inboxAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	for _, name := range []string{"product", "observation", "facts"} {
		s.Properties[name] = &huma.Schema{OneOf: []*huma.Schema{s.Properties[name], {Type: "null"}}}
	}
	return s
}

// The types that describe those of message.
type (
	inboxProduct     message.Product
	inboxObservation message.Observation
	inboxFacts       struct{ dbmodel.Details }
	inboxValues      struct{ rule.Values }
	inboxState       message.State
	arguments        json.RawMessage // an object, or null; "..." for callers who may not see them
)

// Schema implements huma.SchemaProvider.
func (inboxState) Schema(r huma.Registry) *huma.Schema {
	s := *r.SchemaFromRef(r.Schema(reflect.TypeFor[inboxValues](), true, "").Ref)
	s.Description = "Of observations and titles, severity, status, priority and known_exploited; of security gates, passed"
	s.Properties = maps.Clone(s.Properties)
	s.Properties["passed"] = &huma.Schema{Type: huma.TypeBoolean, Nullable: true}
	s.Required = nil
	return nullable(r, "NotificationState", &s)
}

// TransformSchema implements huma.SchemaTransformer.
func (inboxValues) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return filledWords(r, s)
}

// Schema implements huma.SchemaProvider.
func (arguments) Schema(r huma.Registry) *huma.Schema {
	return nullable(r, "Arguments", &huma.Schema{
		OneOf: []*huma.Schema{{Type: huma.TypeObject, AdditionalProperties: true}, {Type: huma.TypeString}},
	})
}

type notificationOutput struct{ Body inboxAnswer }

func (s *server) apiListNotifications(ctx context.Context, in *notificationParams) (*listOutput[inboxAnswer], error) {
	list, err := s.listNotifications(ctx, in)
	if err != nil {
		return nil, err
	}
	return pageOf(list, in.Limit, func(n *listedNotification) inboxAnswer { return s.showNotification(n) },
		func(n *listedNotification) string {
			return positionCursorOf(dbmodel.Position{CreatedAt: n.CreatedAt, ID: n.ID}, in.Sort)
		}), nil
}

// listedNotification is a notification with what the caller is to it.
type listedNotification struct {
	dbmodel.Notification
	viewed     bool
	deliveries []dbmodel.Delivery
}

// listNotifications returns what the caller sees of what is asked for, and one more where there is more.
func (s *server) listNotifications(ctx context.Context, in *notificationParams) ([]listedNotification, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	var list []dbmodel.Notification
	err = s.list(ctx, filter.Unindexed(viewerOf(ctx)), func(ctx context.Context) (err error) {
		list, err = dbmodel.Notifications(ctx, s.db.Reader, viewerOf(ctx), filter, in.Limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list notifications: %w", err)
	}
	ids := make([]int64, 0, len(list))
	for i := range list[:min(len(list), in.Limit)] {
		ids = append(ids, list[i].ID)
	}
	deliveries, err := dbmodel.DeliveriesOf(ctx, s.db.Reader, viewerOf(ctx), ids)
	if err != nil {
		return nil, fmt.Errorf("list the deliveries of notifications: %w", err)
	}
	viewed, err := dbmodel.ViewedBy(ctx, s.db.Reader, viewerOf(ctx), ids)
	if err != nil {
		return nil, fmt.Errorf("ask which notifications are viewed: %w", err)
	}
	out := make([]listedNotification, len(list))
	for i := range list {
		out[i] = listedNotification{list[i], viewed[list[i].ID], deliveries[list[i].ID]}
	}
	return out, nil
}

// filter makes a filter of the parameters.
func (in *notificationParams) filter() (dbmodel.NotificationFilter, error) {
	f := dbmodel.NotificationFilter{
		Type: rule.Type(in.Type), Event: rule.Event(in.Event),
		Severities: wordsOf[rule.Severity](in.Severity), ProductID: in.ProductID,
		GroupID: in.GroupID, Digest: in.Digest, User: in.User, Contains: in.Q,
		OldestFirst: in.Sort == "created_at", Viewed: in.Viewed.pointer(),
	}
	var faults input.Faults
	for _, p := range []struct{ name, text string }{{"q", in.Q}, {"user", in.User}} {
		if message := accept.ValidateText(p.text, accept.MaxText); message != "" {
			faults.Add("query."+p.name, message)
		}
	}
	for _, p := range []struct {
		name, text string
		to         *time.Time
	}{{"since", in.Since, &f.Since}, {"until", in.Until, &f.Until}} {
		if p.text == "" {
			continue
		}
		var ok bool
		if *p.to, ok = input.ParseTime(strings.ReplaceAll(p.text, " ", "+")); !ok { // + means a space in a query
			faults.Add("query."+p.name, input.MustBeTime)
		}
	}
	if faults != nil {
		return f, invalid(faults...)
	}
	var err error
	f.Behind, err = positionCursor(in.Cursor, in.Sort)
	return f, err
}

func (s *server) apiGetNotification(ctx context.Context, in *IDParam) (*notificationOutput, error) {
	n, err := s.loadNotification(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &notificationOutput{s.showNotification(n)}, nil
}

// loadNotification returns a notification as the caller sees it.
func (s *server) loadNotification(ctx context.Context, id int64) (*listedNotification, error) {
	n, err := dbmodel.VisibleNotificationByID(ctx, s.db.Reader, viewerOf(ctx), id)
	if errors.Is(err, dbmodel.ErrNotFound) && !viewerOf(ctx).Admin {
		sight, err := s.memberSight(ctx)
		if err != nil {
			return nil, err
		}
		p := notFound("notification")
		p.Detail += " " + sight // the same whatever the id is
		return nil, p
	}
	if err != nil {
		return nil, missing(err, "notification", id)
	}
	deliveries, err := dbmodel.DeliveriesOf(ctx, s.db.Reader, viewerOf(ctx), []int64{id})
	if err != nil {
		return nil, fmt.Errorf("list the deliveries of notification %d: %w", id, err)
	}
	viewed, err := dbmodel.ViewedBy(ctx, s.db.Reader, viewerOf(ctx), []int64{id})
	if err != nil {
		return nil, fmt.Errorf("ask whether notification %d is viewed: %w", id, err)
	}
	return &listedNotification{*n, viewed[id], deliveries[id]}, nil
}

func (s *server) showNotification(n *listedNotification) inboxAnswer {
	out := inboxAnswer{message.Show(&n.Notification), n.viewed, make([]DeliveryAnswer, len(n.deliveries))}
	for i := range n.deliveries {
		out.Deliveries[i] = s.showDelivery(&n.deliveries[i])
	}
	return out
}
