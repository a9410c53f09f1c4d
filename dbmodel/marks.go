package dbmodel

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"
)

// MarkedDelivery is a delivery of which was recorded that it was tried, or that it failed.
type MarkedDelivery struct {
	ID, NotificationID int64
	Attempts           int
}

// SentDelivery is a delivery of which was recorded that it was sent.
type SentDelivery struct {
	ID         int64
	AcceptedAt time.Time // of the event; zero where the delivery was made, or made to wait again, by something else
	SentAt     time.Time // by the database's clock, as AcceptedAt
}

const markColumns = " RETURNING id, notification_id, attempts"

// mark runs an UPDATE of deliveries, which ends with markColumns.
func mark(ctx context.Context, db bun.IDB, query string, args ...any) ([]MarkedDelivery, error) {
	return collect(ctx, db, func(rows *sql.Rows) (m MarkedDelivery, err error) {
		err = rows.Scan(&m.ID, &m.NotificationID, &m.Attempts)
		return m, err
	}, query+markColumns, args...)
}

// MarkSent records that the receiver took the message; also where the lease is lost by now, and over a failure. The states
// are named one by one, because each has an index of its own.
func MarkSent(ctx context.Context, db bun.IDB, t DeliverySet) ([]SentDelivery, error) {
	these, args := t.these(db, "deliveries")
	return collect(ctx, db, func(rows *sql.Rows) (d SentDelivery, err error) {
		var accepted, sent instant
		err = rows.Scan(&d.ID, &accepted, &sent)
		d.AcceptedAt, d.SentAt = accepted.Time, sent.Time
		return d, err
	}, "UPDATE deliveries SET state = 'sent', attempts = attempts + 1, last_error = '', sent_at = "+now(db)+
		" WHERE "+these+" AND state = 'pending' OR "+these+" AND state = 'failed' RETURNING id, accepted_at, sent_at", args...)
}

// MarkFailed records that the message was refused for good, where owner still has the lease.
func MarkFailed(ctx context.Context, db bun.IDB, t DeliverySet, owner, reason string) ([]MarkedDelivery, error) {
	these, args := t.these(db, "deliveries")
	return mark(ctx, db, "UPDATE deliveries SET state = 'failed', attempts = attempts + 1, last_error = $3 WHERE "+these+
		" AND state = 'pending' AND EXISTS (SELECT 1 FROM targets WHERE id = $1 AND owner = $4)", append(args, reason, owner)...)
}

// MarkTried records that the message was not taken this time, where owner still has the lease. Deliveries of a digest are marked
// with its number, so that the next try is about the same ones.
func MarkTried(ctx context.Context, db bun.IDB, t DeliverySet, owner, reason string) ([]MarkedDelivery, error) {
	these, args := t.these(db, "deliveries")
	return mark(ctx, db, "UPDATE deliveries SET attempts = attempts + 1, last_error = $3, batch = coalesce(CAST($5 AS bigint), batch) WHERE "+
		these+" AND state = 'pending' AND EXISTS (SELECT 1 FROM targets WHERE id = $1 AND owner = $4)",
		append(args, reason, owner, t.batchNumber())...)
}
