package dbmodel

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// State is the state of a delivery.
type State string

// States of a delivery.
const (
	Pending State = "pending"
	Sent    State = "sent"
	Failed  State = "failed"
)

// States lists all states of a delivery.
var States = []State{Pending, Sent, Failed}

// Delivery is one notification for one target, as it is shown.
type Delivery struct {
	ID             int64
	NotificationID int64
	TargetID       int64
	State          State
	DigestID       int64 // of the StoredNetDigest that it is delivered in; 0: in none
	Attempts       int
	LastError      string
	SentAt         *time.Time
	Channel        rule.Channel
	Address        []byte     // sealed
	NextAttemptAt  *time.Time // of a pending one whose target waits after a failure
	// Holder has the contact that it goes to, and HolderName is the name that this product, group or subscription has
	// today. A holder that is gone, or that the viewer does not see, has neither id nor name.
	Holder     rule.Holder `bun:"embed:source_"`
	HolderName string      `bun:"source_name"`
}

const (
	// shownDeliveries selects deliveries d as a viewer sees them, see shownTo.
	shownDeliveries = `
		SELECT d.id, d.notification_id, d.target_id, d.state, d.digest_id, d.attempts, d.last_error, d.sent_at,
			t.channel, t.address,
			CASE WHEN d.state = 'pending' AND t.failures > 0 THEN t.next_at END AS next_attempt_at,
			d.source_kind, coalesce(sp.id, sg.id, ss.id, 0) AS source_id,
			coalesce(sp.name, sg.name, ss.name, '') AS source_name
		FROM deliveries d JOIN targets t ON t.id = d.target_id
		LEFT JOIN products sp ON d.source_kind = 'product' AND sp.id = d.source_id AND @product_visible
		LEFT JOIN product_groups sg ON d.source_kind = 'product_group' AND sg.id = d.source_id AND @group_visible
		LEFT JOIN subscriptions ss ON d.source_kind = 'subscription' AND ss.id = d.source_id AND @subscription_visible
		WHERE @visible`

	deliveriesOf = shownDeliveries + ` AND d.notification_id = ANY (@notifications) ORDER BY d.id`

	lastDeliveries = shownDeliveries + ` AND d.id IN (
			SELECT id FROM (
				SELECT x.id, row_number() OVER (PARTITION BY x.target_id ORDER BY x.id DESC) AS place FROM (
					SELECT d.id, d.target_id FROM deliveries d INDEXED BY deliveries_product_id
					WHERE d.product_id = @product AND @visible ORDER BY d.id DESC LIMIT @recent
				) AS x
			) AS ranked WHERE place <= @per_target
		) ORDER BY t.channel, d.target_id, d.id DESC`

	listedDeliveries = shownDeliveries + ` AND d.id IN (@ids) ORDER BY d.id DESC`
)

// shownTo adds to a the conditions of shownDeliveries for what v sees.
func shownTo(db bun.IDB, v Viewer, a args) args {
	a["visible"] = bun.Safe(VisibleDeliveries(db, v, "d"))
	a["product_visible"] = bun.Safe(VisibleProducts(v, "sp.id"))
	a["group_visible"] = bun.Safe(v.groups("sg.id"))
	a["subscription_visible"] = bun.Safe(v.subscriptions("ss"))
	return a
}

// DeliveriesOf lists the deliveries of those notifications that v sees, by notification and id.
func DeliveriesOf(ctx context.Context, db bun.IDB, v Viewer, notificationIDs []int64) (map[int64][]Delivery, error) {
	list, err := queryAll[Delivery](ctx, db, deliveriesOf,
		shownTo(db, v, args{"notifications": numbers(notificationIDs)}))
	out := make(map[int64][]Delivery, len(notificationIDs))
	for _, d := range list {
		out[d.NotificationID] = append(out[d.NotificationID], d)
	}
	return out, err
}

// LastDeliveries lists the newest deliveries about a product for each target, at most perTarget of each, as far as v
// sees them, by channel and target, newest first. It looks for them among the newest deliveries about the product, as
// many as recent says.
func LastDeliveries(
	ctx context.Context, db bun.IDB, v Viewer, productID int64, perTarget, recent int,
) ([]Delivery, error) {
	return queryAll[Delivery](ctx, db, lastDeliveries,
		shownTo(db, v, args{"product": productID, "per_target": perTarget, "recent": recent}))
}

// DeliveryFilter says which deliveries are wanted; the zero value wants all.
type DeliveryFilter struct {
	State     State
	Channel   rule.Channel
	ProductID int64
	Before    int64 // only ids below; 0: all
}

// Deliveries lists up to limit deliveries of notifications that v sees, newest first.
func Deliveries(ctx context.Context, db bun.IDB, v Viewer, f DeliveryFilter, limit int) ([]Delivery, error) {
	l := listing{table: "deliveries", limit: limit, keys: []string{"id"}, direction: "DESC", choice: f.choice}
	switch {
	case f.ProductID != 0:
		l.index = "deliveries_product_id"
	case f.State == Pending || f.State == Failed:
		l.index, l.few = "deliveries_"+string(f.State), true
	default:
		l.byProduct = v.isMember()
	}
	if !v.Admin {
		l = l.and(v.ownDeliveries("deliveries"))
	}
	return queryAll[Delivery](ctx, db, listedDeliveries, shownTo(db, v, args{"ids": bun.Safe(l.ids(db, v))}))
}

// choice restricts q to the deliveries that f wants.
func (f *DeliveryFilter) choice(q *bun.SelectQuery) *bun.SelectQuery {
	if f.State != "" {
		q = q.Where("deliveries.state = ?", f.State)
	}
	if f.Channel != "" {
		// The first condition spares the search for a delivery where no target has this channel.
		q = q.Where(`EXISTS (SELECT 1 FROM targets WHERE channel = ?0)
			AND deliveries.target_id IN (SELECT id FROM targets WHERE channel = ?0)`, f.Channel)
	}
	if f.ProductID != 0 {
		q = q.Where("deliveries.product_id = ?", f.ProductID)
	}
	if f.Before != 0 {
		q = q.Where("deliveries.id < ?", f.Before)
	}
	return q
}
