package dbmodel

import (
	"context"

	"github.com/uptrace/bun"
)

// A target that fails is found by its time, through an index of failing targets. The others that deliveries wait for
// are found by stepping from target to target through the index of pending deliveries, however many each target has.
// ORDER BY and LIMIT say what min() means: for min() PostgreSQL reads all of the index where its statistics say that
// little waits.
const (
	waitingTargets = `
		WITH RECURSIVE waiting(id, step) AS (
			SELECT (SELECT target_id FROM deliveries WHERE state = 'pending' AND target_id > @after
				ORDER BY target_id LIMIT 1), 1
			UNION ALL
			SELECT (SELECT target_id FROM deliveries WHERE state = 'pending' AND target_id > waiting.id
				ORDER BY target_id LIMIT 1), step + 1
			FROM waiting WHERE waiting.id IS NOT NULL AND step < @limit
		)
		SELECT waiting.id, t.id IS NOT NULL AS due
		FROM waiting LEFT JOIN targets AS t ON t.id = waiting.id AND t.failing_since IS NULL
			AND t.next_at <= clock_timestamp()
			AND (t.owner IS NULL OR t.lease_until <= clock_timestamp())
		WHERE waiting.id IS NOT NULL ORDER BY waiting.id`

	failingTargetsDue = `
		SELECT id FROM targets INDEXED BY targets_failing
		WHERE failing_since IS NOT NULL AND next_at <= clock_timestamp()
			AND (owner IS NULL OR lease_until <= clock_timestamp())
		ORDER BY next_at LIMIT @limit`
)

// WaitingTargets looks at the next limit targets with ids above after that have pending deliveries, and returns those
// that do not fail, are due, and that nobody delivers to. next is where the following call goes on; 0: from the start.
func WaitingTargets(ctx context.Context, db bun.IDB, after int64, limit int) (ids []int64, next int64, err error) {
	list, err := queryAll[struct {
		ID  int64
		Due bool
	}](ctx, db, waitingTargets, args{"after": after, "limit": limit})
	if err != nil {
		return nil, 0, err
	}
	for _, t := range list {
		if t.Due {
			ids = append(ids, t.ID)
		}
	}
	if len(list) == limit {
		next = list[limit-1].ID
	}
	return ids, next, nil
}

// FailingTargetsDue lists up to limit targets that fail, are due, and that nobody delivers to; the longest due first.
func FailingTargetsDue(ctx context.Context, db bun.IDB, limit int) ([]int64, error) {
	return queryAll[int64](ctx, db, failingTargetsDue, args{"limit": limit})
}
