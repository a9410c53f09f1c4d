package dbmodel

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// Counts says how much is left to do.
type Counts struct {
	Outbox            int // events that wait for their evaluation
	FailedEvents      int // events that are set aside
	PendingDeliveries int
	FailedDeliveries  int
}

// ORDER BY has PostgreSQL read the index also where its statistics say that the table is small.
const countWork = `
	SELECT
		(SELECT count(*) FROM (
			SELECT 1 FROM outbox INDEXED BY outbox_waiting WHERE failed_at IS NULL AND @events ORDER BY bulk, id LIMIT @most
		) AS e) AS outbox,
		(SELECT count(*) FROM (
			SELECT 1 FROM outbox INDEXED BY outbox_failed WHERE failed_at IS NOT NULL AND @events ORDER BY id LIMIT @most
		) AS e) AS failed_events,
		(SELECT count(*) FROM (
			SELECT 1 FROM deliveries INDEXED BY deliveries_pending WHERE state = 'pending' AND @live
			ORDER BY target_id, id LIMIT @most
		) AS d) AS pending_deliveries,
		(SELECT count(*) FROM (
			SELECT 1 FROM deliveries INDEXED BY deliveries_failed WHERE state = 'failed' AND @live
			ORDER BY target_id, id LIMIT @most
		) AS d) AS failed_deliveries`

// Count returns all counts as of one moment.
func Count(ctx context.Context, db bun.IDB) (Counts, error) {
	return CountUpTo(ctx, db, 1<<31-1)
}

// CountUpTo returns all counts as of one moment, each at most limit.
func CountUpTo(ctx context.Context, db bun.IDB, limit int) (Counts, error) {
	return queryOne[Counts](ctx, db, countWork, args{
		"events": liveEvents, "live": bun.Safe(liveNotifications("deliveries")), "most": limit,
	})
}

// Oldest is how long the event and the delivery that are due for longest have waited; 0 where none is due.
type Oldest struct {
	Event    time.Duration // since it was accepted
	Delivery time.Duration // since its notification was stored, or since the next try of a target that fails was due
}

// oldestWork finds the oldest of the first events of each queue, and the oldest of the first deliveries of the first
// targets for which any wait. It steps from target to target through the index of pending deliveries, see
// waitingTargets.
const oldestWork = `
	WITH RECURSIVE waiting(id, step) AS (
		SELECT (SELECT target_id FROM deliveries WHERE state = 'pending' ORDER BY target_id LIMIT 1), 1
		UNION ALL
		SELECT (SELECT target_id FROM deliveries WHERE state = 'pending' AND target_id > waiting.id
			ORDER BY target_id LIMIT 1), step + 1
		FROM waiting WHERE waiting.id IS NOT NULL AND step < @most
	), first AS MATERIALIZED (
		SELECT t.failing_since, t.next_at, (
			SELECT n.created_at FROM deliveries INDEXED BY deliveries_pending
			JOIN notifications n ON n.id = deliveries.notification_id
			WHERE deliveries.target_id BETWEEN t.id AND t.id AND deliveries.state = 'pending' AND @live
			ORDER BY deliveries.target_id, deliveries.id LIMIT 1
		) AS created_at
		FROM waiting JOIN LATERAL (SELECT * FROM targets AS t WHERE t.id = waiting.id OFFSET 0) AS t ON true
		WHERE t.failing_since IS NULL OR t.next_at <= clock_timestamp()
	), events AS (
		SELECT created_at FROM (
			SELECT created_at FROM outbox INDEXED BY outbox_waiting
			WHERE failed_at IS NULL AND bulk = false AND run_after <= clock_timestamp() AND @events ORDER BY id LIMIT @most
		) AS single
		UNION ALL
		SELECT created_at FROM (
			SELECT created_at FROM outbox INDEXED BY outbox_waiting
			WHERE failed_at IS NULL AND bulk = true AND run_after <= clock_timestamp() AND @events ORDER BY id LIMIT @most
		) AS imports
	)
	SELECT clock_timestamp() AS now, (SELECT min(created_at) FROM events) AS event,
		(SELECT min(CASE WHEN failing_since IS NULL OR created_at > next_at THEN created_at ELSE next_at END) FROM first
			WHERE created_at IS NOT NULL) AS delivery`

// oldestAmong is how many events of each queue, and how many targets, oldestWork looks at.
const oldestAmong = 2_000

// OldestWork returns how long events and deliveries that are due have waited at the longest.
func OldestWork(ctx context.Context, db bun.IDB) (o Oldest, err error) {
	at, err := queryOne[struct{ Now, Event, Delivery time.Time }](ctx, db, oldestWork, args{
		"live": bun.Safe(liveNotifications("deliveries")), "events": liveEvents, "most": oldestAmong,
	})
	if err != nil {
		return o, err
	}
	age := func(t time.Time) time.Duration {
		if t.IsZero() {
			return 0
		}
		return max(at.Now.Sub(t), 0) // the clock may have been set back
	}
	return Oldest{Event: age(at.Event), Delivery: age(at.Delivery)}, nil
}
