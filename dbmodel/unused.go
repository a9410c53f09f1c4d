package dbmodel

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// unusedTime is how long no contact has named a target before it is removed: an evaluation that has read such a
// contact is over by then, and its deliveries are stored.
const unusedTime = time.Hour

const (
	lastOfTargets = `
		SELECT coalesce(max(id), 0) FROM (SELECT id FROM targets WHERE id > @after ORDER BY id LIMIT @limit) AS t`

	lockUnnamedTargets = `
		SELECT id FROM targets WHERE id > @after AND id <= @last AND unused_since IS NULL
		AND NOT EXISTS (SELECT 1 FROM contacts c WHERE c.target_id = targets.id) ORDER BY id FOR UPDATE SKIP LOCKED`

	markUnusedTargets = `
		UPDATE targets SET unused_since = clock_timestamp() WHERE id = ANY (@ids)
		AND NOT EXISTS (SELECT 1 FROM contacts c WHERE c.target_id = targets.id)`
)

// MarkUnusedTargets looks at the next limit targets behind the id after, and sets unused_since of those that no
// contact names. It returns the id of the last one, and 0 at the end.
func MarkUnusedTargets(ctx context.Context, tx bun.Tx, after int64, limit int) (last int64, err error) {
	last, err = queryOne[int64](ctx, tx, lastOfTargets, args{"after": after, "limit": limit})
	if err != nil || last == 0 {
		return 0, err
	}
	ids, err := queryAll[int64](ctx, tx, lockUnnamedTargets, args{"after": after, "last": last})
	if err != nil || len(ids) == 0 {
		return last, err
	}
	// A statement of its own: it sees the contacts that came before the locks.
	_, err = exec(ctx, tx, markUnusedTargets, args{"ids": numbers(ids)})
	return last, err
}

const isUnusedTarget = `unused_since <= clock_timestamp() - @time
	AND NOT EXISTS (SELECT 1 FROM contacts c WHERE c.target_id = targets.id)
	AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.target_id = targets.id AND d.state = 'pending')
	AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.target_id = targets.id AND d.state = 'failed')`

// UnusedTargets lists up to limit targets that no contact has named for a while, and to which no delivery waits or has
// failed. Whether something was sent to them is for TargetsOfDeliveries to find.
func UnusedTargets(ctx context.Context, db bun.IDB, limit int) ([]int64, error) {
	return queryAll[int64](ctx, db, "SELECT id FROM targets WHERE "+isUnusedTarget+" ORDER BY id LIMIT @limit",
		args{"time": unusedTime, "limit": limit})
}

const targetsOfDeliveries = `
	WITH part AS MATERIALIZED (
		SELECT id, target_id FROM deliveries
		WHERE @before::bigint = 0 OR id < @before::bigint ORDER BY id DESC LIMIT @limit)
	SELECT target_id, min(id) AS first FROM part GROUP BY target_id`

// TargetsOfDeliveries lists the targets of the last limit deliveries below the id before (0: of all), and the id of
// the first of these; 0: there are none.
func TargetsOfDeliveries(
	ctx context.Context, db bun.IDB, before int64, limit int,
) (targets []int64, first int64, err error) {
	list, err := queryAll[struct{ TargetID, First int64 }](ctx, db, targetsOfDeliveries,
		args{"before": before, "limit": limit})
	for _, t := range list {
		targets = append(targets, t.TargetID)
		if first == 0 || t.First < first {
			first = t.First
		}
	}
	return targets, first, err
}

// RemoveUnusedTargets removes those of the given targets that UnusedTargets would still list, and returns how many
// that were.
func RemoveUnusedTargets(ctx context.Context, tx bun.Tx, ids []int64) (int64, error) {
	given := args{"ids": numbers(ids), "time": unusedTime}
	free, err := queryAll[int64](ctx, tx,
		"SELECT id FROM targets WHERE id = ANY (@ids) AND "+isUnusedTarget+" ORDER BY id FOR UPDATE SKIP LOCKED", given)
	if err != nil || len(free) == 0 {
		return 0, err
	}
	given["ids"] = numbers(free)
	return exec(ctx, tx, "DELETE FROM targets WHERE id = ANY (@ids) AND "+isUnusedTarget, given)
}

const (
	unusedTitles = `
		SELECT i.hash FROM @titles AS i
		LEFT JOIN LATERAL (SELECT * FROM observations AS o
			WHERE o.title_hash = i.title_hash AND o.title = i.title OFFSET 0 LIMIT 1) AS o ON true
		WHERE o.id IS NULL`
	lockUnusedTitles = `
		SELECT hash, title FROM observation_titles WHERE hash IN (` + unusedTitles + `)
		ORDER BY hash FOR UPDATE SKIP LOCKED`
	removeTitles = "DELETE FROM observation_titles WHERE hash IN (" + unusedTitles + ")"
)

// title is a row of observation_titles.
type title struct {
	Hash  []byte
	Title string
}

// RemoveUnusedTitles looks at the next limit titles behind the hash after (nil: at the first), and forgets those that
// no observation bears. It returns how many that were, and the last one that it looked at: nil at the end.
func RemoveUnusedTitles(
	ctx context.Context, tx bun.Tx, after []byte, limit int,
) (removed int64, last []byte, err error) {
	list, err := queryAll[title](ctx, tx,
		"SELECT hash, title FROM observation_titles WHERE hash > @after ORDER BY hash LIMIT @limit",
		args{"after": append([]byte{}, after...), "limit": limit})
	if err != nil || len(list) == 0 {
		return 0, nil, err
	}
	last = list[len(list)-1].Hash
	unused, err := queryAll[title](ctx, tx, lockUnusedTitles, args{"titles": titleRows(list)})
	if err != nil || len(unused) == 0 {
		return 0, last, err
	}
	// A statement of its own: it sees the observations that came before the locks.
	removed, err = exec(ctx, tx, removeTitles, args{"titles": titleRows(unused)})
	return removed, last, err
}

func titleRows(list []title) rows {
	return rows{
		column(list, "hash", "bytea", func(t *title) []byte { return t.Hash }),
		column(list, "title_hash", "bigint", func(t *title) int64 { return titleIndex(t.Title) }),
		column(list, "title", "text", func(t *title) string { return t.Title }),
	}
}
