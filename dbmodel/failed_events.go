package dbmodel

import (
	"context"
	"errors"
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

// FailedEvents lists up to limit events that are set aside, with an id below before (0: all), newest first.
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
	WHERE id IN (
		SELECT id FROM outbox WHERE failed_at IS NOT NULL AND (@all OR id = ANY (@ids)) AND @live
		ORDER BY id FOR NO KEY UPDATE)`

// RetryFailedEvents makes events that are set aside due again, as if they had just come: all of them, or those with
// the given ids. It returns how many there were. The sweep enqueues them.
func RetryFailedEvents(ctx context.Context, db bun.IDB, all bool, ids []int64) (int64, error) {
	return exec(ctx, db, retryFailedEvents,
		args{"all": all, "ids": numbers(ids), "live": liveEvents})
}

// EventState says what became of an event.
type EventState int

// States of events.
const (
	EventGone EventState = iota // evaluated, dismissed, or replaced by other events
	EventWaits
	EventSetAside
)

// StateOfEvent returns what became of the event with the given id.
func StateOfEvent(ctx context.Context, db bun.IDB, id int64) (EventState, error) {
	aside, err := queryOne[bool](ctx, db, `SELECT failed_at IS NOT NULL AS aside FROM outbox WHERE id = @id`,
		args{"id": id})
	switch {
	case errors.Is(err, ErrNotFound):
		return EventGone, nil
	case err != nil:
		return EventGone, err
	case aside:
		return EventSetAside, nil
	}
	return EventWaits, nil
}
