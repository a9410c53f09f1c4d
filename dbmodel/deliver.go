package dbmodel

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// NotificationForDelivery is VisibleNotificationByID that keeps the notification until the transaction ends: nobody deletes it,
// resends one of its deliveries or adds others meanwhile.
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

// AddDeliveries gives a notification, which NotificationForDelivery keeps, a pending delivery for each of the recipients whose
// target has none that waits or was sent: one that failed waits again. It returns these recipients. Their targets start anew.
func AddDeliveries(ctx context.Context, tx bun.Tx, notification int64, recipients []rule.Recipient) ([]rule.Recipient, error) {
	failed, done := map[int64]int64{}, map[int64]bool{} // by target
	_, err := collect(ctx, tx, func(rows *sql.Rows) (struct{}, error) {
		var id, target int64
		var state State
		err := rows.Scan(&id, &target, &state)
		if state == Failed {
			failed[target] = id
		} else {
			done[target] = true
		}
		return struct{}{}, err
	}, "SELECT id, target_id, state FROM deliveries WHERE notification_id = $1 ORDER BY id", notification)
	if err != nil {
		return nil, fmt.Errorf("load deliveries: %w", err)
	}
	var all, anew, again []rule.Recipient
	var ids, targets []int64
	for _, r := range recipients {
		switch id, found := failed[r.Target]; {
		case done[r.Target]:
			continue
		case found:
			again, ids = append(again, r), append(ids, id)
		default:
			anew = append(anew, r)
		}
		all, targets = append(all, r), append(targets, r.Target)
	}
	if len(all) == 0 {
		return nil, nil
	}
	from, args := rowsFrom(tx, "d", 1, append(deliveryCols([]NewNotification{{Recipients: again}}), col{"id", "bigint", ids})...)
	if len(again) > 0 {
		_, err = execCount(ctx, tx, `UPDATE deliveries SET state = 'pending', batch = NULL, accepted_at = NULL, source_kind = d.source_kind, source_id = d.source_id,
			user_id = d.user_id, masked = d.masked FROM `+from+" WHERE deliveries.id = d.id", args...)
		if err != nil {
			return nil, fmt.Errorf("have failed deliveries wait: %w", err)
		}
	}
	from, args = rowsFrom(tx, "d", 2, deliveryCols([]NewNotification{{Recipients: anew}})...)
	if len(anew) > 0 {
		_, err = execCount(ctx, tx, `INSERT INTO deliveries (notification_id, target_id, source_kind, source_id, user_id, masked, product_id, type)
			SELECT n.id, d.target, d.source_kind, d.source_id, d.user_id, d.masked, n.product_id, n.type
			FROM `+from+" JOIN notifications n ON n.id = $1 ORDER BY d.ord", append([]any{notification}, args...)...)
		if err != nil {
			return nil, fmt.Errorf("store deliveries: %w", err)
		}
	}
	return all, startAnew(ctx, tx, targets)
}
