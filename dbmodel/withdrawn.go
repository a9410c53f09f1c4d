package dbmodel

import (
	"context"

	"github.com/uptrace/bun"
)

// WithdrawnReason is why a delivery whose subscription was disabled or deleted fails without an attempt.
const WithdrawnReason = "Its subscription was disabled or deleted before it was sent."

// Another enabled subscription with the same target and at least the scope and the rights of the one that is gone
// keeps a delivery: it may have been a source, too. One of a user without a target delivers to the address of its
// user.
const failWithdrawn = `
	UPDATE deliveries SET state = 'failed', last_error = @reason
	WHERE target_id = @target AND state = 'pending' AND source_kind = 'subscription'
		AND NOT EXISTS (SELECT 1 FROM subscriptions AS s WHERE s.id = deliveries.source_id AND s.enabled)
		AND NOT EXISTS (
			SELECT 1 FROM contacts AS c JOIN subscriptions AS s ON s.id = c.subscription_id
			WHERE c.target_id = @target AND c.disabled_at IS NULL AND s.enabled
				AND (s.user_id IS NULL OR s.user_id = deliveries.user_id)
				AND (s.product_id IS NULL OR s.product_id = deliveries.product_id)
				AND (s.product_group_id IS NULL OR s.product_group_id = (
					SELECT p.product_group_id FROM products AS p WHERE p.id = deliveries.product_id)))
		AND NOT EXISTS (
			SELECT 1 FROM subscriptions AS s JOIN contacts AS c ON c.subscription_id = s.id
			WHERE s.user_id = deliveries.user_id AND s.enabled AND c.target_id IS NULL AND c.disabled_at IS NULL
				AND c.channel = (SELECT t.channel FROM targets AS t WHERE t.id = @target)
				AND (s.product_id IS NULL OR s.product_id = deliveries.product_id)
				AND (s.product_group_id IS NULL OR s.product_group_id = (
					SELECT p.product_group_id FROM products AS p WHERE p.id = deliveries.product_id)))
		AND EXISTS (SELECT 1 FROM targets AS t WHERE t.id = @target AND t.owner = @owner)
	RETURNING id, notification_id, attempts`

// FailWithdrawn fails what waits for a target because of subscriptions alone that were disabled or deleted meanwhile,
// where owner has the lease, and returns it.
func FailWithdrawn(ctx context.Context, db bun.IDB, targetID int64, owner string) ([]MarkedDelivery, error) {
	return queryAll[MarkedDelivery](ctx, db, failWithdrawn,
		args{"target": targetID, "owner": owner, "reason": WithdrawnReason})
}
