package dbmodel

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// NotificationForDelivery is VisibleNotificationByID that locks the notification until the transaction ends: nobody
// deletes it, resends one of its deliveries or adds others meanwhile.
func NotificationForDelivery(ctx context.Context, tx bun.Tx, v Viewer, id int64) (*Notification, error) {
	n := new(Notification)
	q := tx.NewSelect().Model(n).Where("id = ?", id).Where(VisibleNotifications(tx, v, "notifications"))
	if !isSQLite(tx) {
		q = q.For("UPDATE")
	}
	err := q.Scan(ctx)
	n.hide(v)
	return n, Translate(err)
}

const (
	deliveryStates = `SELECT id, target_id, state FROM deliveries WHERE notification_id = @notification ORDER BY id`

	deliverAgain = `
		UPDATE deliveries SET state = 'pending', batch = NULL, accepted_at = NULL, digest_id = NULL,
			source_kind = d.source_kind, source_id = d.source_id, user_id = d.user_id, masked = d.masked
		FROM @deliveries AS d WHERE deliveries.id = d.id AND deliveries.state = 'failed' RETURNING deliveries.id`

	addDeliveries = `
		INSERT INTO deliveries (notification_id, target_id, source_kind, source_id, user_id, masked, product_id, type)
		SELECT n.id, d.target, d.source_kind, d.source_id, d.user_id, d.masked, n.product_id, n.type
		FROM @deliveries AS d JOIN notifications n ON n.id = @notification ORDER BY d.ord`
)

// AddDeliveries adds pending deliveries to a notification, which NotificationForDelivery has locked. It passes over
// recipients whose target has a pending or a sent delivery of it, and returns the others. Where a delivery to a target
// failed, it becomes pending again, and no other is added. The failures of the targets are forgotten, see startAnew.
func AddDeliveries(
	ctx context.Context, tx bun.Tx, notification int64, recipients []rule.Recipient,
) ([]rule.Recipient, error) {
	list, err := queryAll[Delivery](ctx, tx, deliveryStates, args{"notification": notification})
	if err != nil {
		return nil, fmt.Errorf("load deliveries: %w", err)
	}
	failed, covered := map[int64]int64{}, map[int64]bool{} // by target
	for _, d := range list {
		if d.State == Failed {
			failed[d.TargetID] = d.ID
		} else {
			covered[d.TargetID] = true
		}
	}
	var all, added, retried []rule.Recipient
	var ids []int64
	for _, r := range recipients {
		switch id, found := failed[r.Target]; {
		case covered[r.Target]:
			continue
		case found:
			retried, ids = append(retried, r), append(ids, id)
		default:
			added = append(added, r)
		}
		all = append(all, r)
	}
	if len(retried) > 0 {
		deliveries := append(deliveryCols([]NewNotification{{Recipients: retried}}), col{"id", "bigint", ids})
		waiting, err := queryAll[int64](ctx, tx, deliverAgain, args{"deliveries": deliveries})
		if err != nil {
			return nil, fmt.Errorf("have failed deliveries wait: %w", err)
		}
		all = slices.DeleteFunc(all, func(r rule.Recipient) bool { // sent after all, by now
			id, found := failed[r.Target]
			return found && !slices.Contains(waiting, id)
		})
	}
	if len(added) > 0 {
		deliveries := deliveryCols([]NewNotification{{Recipients: added}})
		a := args{"deliveries": deliveries, "notification": notification}
		if _, err := exec(ctx, tx, addDeliveries, a); err != nil {
			return nil, fmt.Errorf("store deliveries: %w", err)
		}
	}
	targets := make([]int64, len(all))
	for i, r := range all {
		targets[i] = r.Target
	}
	return all, startAnew(ctx, tx, targets)
}
