package dbmodel

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// MarkedDelivery is a delivery that was recorded as tried or as failed.
type MarkedDelivery struct {
	ID, NotificationID int64
	Attempts           int
}

// SentDelivery is a delivery that was recorded as sent.
type SentDelivery struct {
	ID         int64
	AcceptedAt time.Time // of its event; zero where it comes from no event, or somebody had it sent again
	SentAt     time.Time // by the database's clock, as AcceptedAt
}

const (
	markSent = `
		UPDATE deliveries SET state = 'sent', attempts = attempts + 1, last_error = '', sent_at = clock_timestamp()
		WHERE id = ANY (@ids) AND target_id = @target AND state <> 'sent'
		RETURNING id, accepted_at, sent_at`

	markFailed = `
		UPDATE deliveries SET state = 'failed', attempts = attempts + 1, last_error = @reason
		WHERE target_id = @target AND id = ANY (@ids) AND state = 'pending'
			AND EXISTS (SELECT 1 FROM targets WHERE id = @target AND owner = @owner)
		RETURNING id, notification_id, attempts`

	markTried = `
		UPDATE deliveries SET attempts = attempts + 1, last_error = @reason,
			batch = CASE WHEN @batch::bigint = 0 THEN batch ELSE @batch::bigint END
		WHERE target_id = @target AND id = ANY (@ids) AND state = 'pending'
			AND EXISTS (SELECT 1 FROM targets WHERE id = @target AND owner = @owner)
		RETURNING id, notification_id, attempts`
)

// MarkSent records that the receiver took the message, even where the lease is lost by now or the deliveries were
// recorded as failed.
func MarkSent(ctx context.Context, db bun.IDB, set DeliverySet) ([]SentDelivery, error) {
	return queryAll[SentDelivery](ctx, db, markSent, args{"target": set.TargetID, "ids": numbers(set.IDs)})
}

// MarkFailed records that the message was refused for good, where owner still has the lease.
func MarkFailed(ctx context.Context, db bun.IDB, set DeliverySet, owner, reason string) ([]MarkedDelivery, error) {
	return queryAll[MarkedDelivery](ctx, db, markFailed,
		args{"target": set.TargetID, "ids": numbers(set.IDs), "owner": owner, "reason": reason})
}

// MarkTried records that the message was not taken this time, where owner still has the lease. Deliveries of a digest
// or batch are marked with its number, so that the next try is about the same ones.
func MarkTried(ctx context.Context, db bun.IDB, set DeliverySet, owner, reason string) ([]MarkedDelivery, error) {
	return queryAll[MarkedDelivery](ctx, db, markTried, args{
		"target": set.TargetID, "ids": numbers(set.IDs), "owner": owner, "reason": reason, "batch": set.Number(),
	})
}
