package web

import (
	"context"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

type deliveryParams struct {
	ListParams
	State     deliveryState `query:"state"`
	Channel   channelWord   `query:"channel"`
	ProductID int64         `query:"product_id"`
}

// DeliveryAnswer is a delivery as it is shown.
type DeliveryAnswer struct {
	ID      int64        `json:"id"`
	Channel rule.Channel `json:"channel"`
	Target  string       `json:"target" doc:"An email address, or the redacted URL of a webhook"`
	// Source is where the contact was set; nil where that is not known.
	Source        *contactSource `json:"source"`
	State         dbmodel.State  `json:"state"`
	Attempts      int            `json:"attempts"`
	LastError     string         `json:"last_error"`
	NextAttemptAt *time.Time     `json:"next_attempt_at"`
	SentAt        *time.Time     `json:"sent_at"`
}

// TransformSchema implements huma.SchemaTransformer: huma knows no objects that may be null.
func (DeliveryAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["source"] = &huma.Schema{OneOf: []*huma.Schema{s.Properties["source"], {Type: "null"}}}
	return s
}

// listedDelivery is a delivery outside of its notification.
type listedDelivery struct {
	DeliveryAnswer
	NotificationID int64 `json:"notification_id"`
}

func (s *server) apiListDeliveries(ctx context.Context, in *deliveryParams) (*listOutput[listedDelivery], error) {
	before, err := idCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	filter := dbmodel.DeliveryFilter{
		State: dbmodel.State(in.State), Channel: rule.Channel(in.Channel), ProductID: in.ProductID, Before: before,
	}
	list, err := dbmodel.Deliveries(ctx, s.db.Reader, viewerOf(ctx), filter, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return pageOf(list, in.Limit, func(d *dbmodel.Delivery) listedDelivery {
		return listedDelivery{s.showDelivery(d), d.NotificationID}
	},
		func(d *dbmodel.Delivery) string { return idCursorOf(d.ID) }), nil
}

func (s *server) showDelivery(d *dbmodel.Delivery) DeliveryAnswer {
	return DeliveryAnswer{
		ID: d.ID, Channel: d.Channel, Target: s.redacted(d.Channel, d.Address),
		Source: newContactSource(d.Holder, d.HolderName), State: d.State, Attempts: d.Attempts,
		LastError: d.LastError, NextAttemptAt: utc(d.NextAttemptAt), SentAt: utc(d.SentAt),
	}
}
