package dbmodel

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"
)

// FailedEvent is an event that is set aside.
type FailedEvent struct {
	Event
	FailedAt time.Time
}

// FailedEvents lists up to limit events that are set aside, with an id below before (0: all), newest first. Here and elsewhere
// a number is compared with its column before it is compared with 0: by its first use PostgreSQL takes it as a bigint or as
// less.
func FailedEvents(ctx context.Context, db bun.IDB, before int64, limit int) ([]FailedEvent, error) {
	return collect(ctx, db, scanFailedEvent, "SELECT "+eventColumns+
		", failed_at FROM outbox WHERE failed_at IS NOT NULL AND (id < $1 OR $1 = 0) AND "+
		liveEvents("outbox")+" ORDER BY id DESC LIMIT $2", before, limit)
}

func scanFailedEvent(rows *sql.Rows) (e FailedEvent, err error) {
	var created, failed instant
	err = rows.Scan(&e.ID, &e.Kind, &e.Bulk, &e.ProductID, &e.Payload, &e.Attempts, &e.Failures, &e.ProcessesLost, &e.Claim, &e.Reason,
		&created, &failed)
	e.CreatedAt, e.FailedAt = created.Time, failed.Time
	return e, err
}

// DismissFailedEvent deletes an event that is set aside, and returns it: ErrNotFound where there is none with this id.
func DismissFailedEvent(ctx context.Context, db bun.IDB, id int64) (*FailedEvent, error) {
	list, err := collect(ctx, db, scanFailedEvent,
		"DELETE FROM outbox WHERE id = $1 AND failed_at IS NOT NULL AND "+liveEvents("outbox")+" RETURNING "+eventColumns+", failed_at", id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return &list[0], nil
}

// RetryFailedEvents makes events that are set aside due again, as if they had just come, and returns how many that were:
// those with the given ids, or all of them. The sweep enqueues them.
func RetryFailedEvents(ctx context.Context, db bun.IDB, all bool, ids []int64) (int64, error) {
	in, arg := anyOf(db, "id", 2, ids)
	return execCount(ctx, db, "UPDATE outbox SET failed_at = NULL, failures = 0, processes_lost = 0, claim = 0, queued_at = NULL, run_after = "+now(db)+
		" WHERE failed_at IS NOT NULL AND ($1 OR "+in+") AND "+liveEvents("outbox"), all, arg)
}
