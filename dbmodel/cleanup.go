package dbmodel

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// waitsForDigest is the condition that a notification of the table n waits for the end of a pause, or for the slot of
// a subscription in whose scope it is.
const waitsForDigest = `(n.held_back OR EXISTS (
		SELECT 1 FROM subscriptions s WHERE s.next_slot_at IS NOT NULL AND coalesce(n.released, n.id) > s.reported
			AND (s.product_id IS NULL OR s.product_id = n.product_id)
			AND (s.product_group_id IS NULL OR n.product_id IN (
				SELECT p.id FROM products p WHERE p.product_group_id = s.product_group_id))))`

const oldNotifications = `
	SELECT n.id, n.created_at FROM notifications n
	WHERE n.created_at < @before AND (n.created_at, n.id) > (@behind_time, @behind_id)
		AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = n.id AND d.state = 'pending')
		AND NOT ` + waitsForDigest + `
	ORDER BY n.created_at, n.id LIMIT @limit FOR UPDATE OF n SKIP LOCKED`

// OldNotifications returns the ids of up to limit notifications that were created before a time, that have no pending
// delivery, and that wait for no digest, the oldest first, beginning behind a position (nil: at the first); and the
// position of the last. It locks them and passes over those that another transaction has locked.
func OldNotifications(
	ctx context.Context, tx bun.Tx, before time.Time, behind *Position, limit int,
) ([]int64, *Position, error) {
	first := Position{CreatedAt: time.UnixMicro(0), ID: 0} // none is older
	if behind != nil {
		first = *behind
	}
	list, err := queryAll[Position](ctx, tx, oldNotifications,
		args{"before": before, "behind_time": first.CreatedAt, "behind_id": first.ID, "limit": limit})
	if err != nil || len(list) == 0 {
		return nil, behind, err
	}
	ids := make([]int64, len(list))
	for i, p := range list {
		ids[i] = p.ID
	}
	return ids, &list[len(list)-1], nil
}

const deleteQuietNotifications = `
	DELETE FROM notifications AS n WHERE n.id = ANY (@ids)
		AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = n.id AND d.state = 'pending')
		AND NOT ` + waitsForDigest + ` RETURNING id`

// DeleteQuietNotifications deletes those of the given notifications that have no pending delivery and wait for no
// digest, with their deliveries and views, and returns how many it deleted. The caller has locked them: this statement
// sees a resend, or a change of a subscription, that came before the lock.
func DeleteQuietNotifications(ctx context.Context, tx bun.Tx, ids []int64) (int64, error) {
	deleted, err := queryAll[int64](ctx, tx, deleteQuietNotifications, args{"ids": numbers(ids)})
	if err == nil {
		_, err = exec(ctx, tx, deleteDeliveriesOf, args{"ids": numbers(deleted)})
	}
	return int64(len(deleted)), err
}

// DeleteOldSuppressions deletes the counts of suppressed exceptions that are older than age: no notification will
// include them any more.
func DeleteOldSuppressions(ctx context.Context, db bun.IDB, age time.Duration) (int64, error) {
	return exec(ctx, db, `DELETE FROM suppressions WHERE since < clock_timestamp() - @age`, args{"age": age})
}
