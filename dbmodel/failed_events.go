package dbmodel

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// FailedEvent is an event that is set aside.
type FailedEvent struct {
	Event
	FailedAt time.Time
}

const failedEvents = `
	SELECT ` + eventColumns + `, failed_at FROM outbox
	WHERE failed_at IS NOT NULL AND (id < @before OR @before = 0) AND @live
	ORDER BY id DESC LIMIT @limit`

// FailedEvents lists up to limit events that are set aside, with an id below before (0: all), newest first. Here and
// elsewhere a number is compared with its column before it is compared with 0: by its first use PostgreSQL takes it as
// a bigint or as less.
func FailedEvents(ctx context.Context, db bun.IDB, before int64, limit int) ([]FailedEvent, error) {
	return queryAll[FailedEvent](ctx, db, failedEvents,
		args{"before": before, "limit": limit, "live": liveEvents})
}

const dismissFailedEvent = `
	DELETE FROM outbox WHERE id = @id AND failed_at IS NOT NULL AND @live RETURNING ` + eventColumns + `, failed_at`

// DismissFailedEvent deletes an event that is set aside, and returns it: ErrNotFound where there is none with this id.
func DismissFailedEvent(ctx context.Context, db bun.IDB, id int64) (*FailedEvent, error) {
	e, err := queryOne[FailedEvent](ctx, db, dismissFailedEvent, args{"id": id, "live": liveEvents})
	if err != nil {
		return nil, err
	}
	return &e, nil
}

const retryFailedEvents = `
	UPDATE outbox SET failed_at = NULL, failures = 0, processes_lost = 0, claim = 0, queued_at = NULL,
		run_after = clock_timestamp()
	WHERE failed_at IS NOT NULL AND (@all OR id = ANY (@ids)) AND @live`

// RetryFailedEvents makes events that are set aside due again, as if they had just come, and returns how many that
// were: those with the given ids, or all of them. The sweep enqueues them.
func RetryFailedEvents(ctx context.Context, db bun.IDB, all bool, ids []int64) (int64, error) {
	return exec(ctx, db, retryFailedEvents,
		args{"all": all, "ids": numbers(ids), "live": liveEvents})
}
