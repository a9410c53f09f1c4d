package dbmodel

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// DigestGroup is how many deliveries of a digest have the same type, event and severity.
type DigestGroup struct {
	Type     rule.Type
	Event    rule.Event
	Severity rule.Severity `bun:"after_severity"` // empty for what has none
	Count    int
}

// Digest is what a digest is about.
type Digest struct {
	Groups   []DigestGroup
	Products int            // different products
	Named    []Notification // gates and exceptions, oldest first, cut at the limit
	Worst    []Notification // observations and titles, the worst first, cut at the limit
}

const (
	digestGroups = `
		SELECT n.type, n.event, n.after_severity, count(*) AS count
		FROM deliveries d JOIN notifications n ON n.id = d.notification_id
		WHERE d.target_id = @target AND d.id = ANY (@ids) AND d.state = 'pending'
		GROUP BY n.type, n.event, n.after_severity ORDER BY 1, 2, 3`

	digestProducts = `
		SELECT count(DISTINCT n.product_id) FROM deliveries d JOIN notifications n ON n.id = d.notification_id
		WHERE d.target_id = @target AND d.id = ANY (@ids) AND d.state = 'pending'`

	digestFirst = `
		SELECT id FROM (
			SELECT id, named, row_number() OVER (PARTITION BY named ORDER BY
				CASE WHEN named THEN 0 ELSE @severity_rank END, CASE WHEN event = 'dropped' THEN 1 ELSE 0 END,
				coalesce(after_priority, 100), id) AS place
			FROM (
				SELECT n.id, n.event, n.after_severity, n.after_priority,
					n.type NOT IN ('observation', 'observation_title') AS named
				FROM deliveries d JOIN notifications n ON n.id = d.notification_id
				WHERE d.target_id = @target AND d.id = ANY (@ids) AND d.state = 'pending'
			) AS waiting
		) AS ranked WHERE place <= @limit ORDER BY named, place`
)

// DigestOf reads what a digest is about; at most limit notifications of each sort are named.
func DigestOf(ctx context.Context, db bun.IDB, t DeliverySet, limit int) (*Digest, error) {
	out := new(Digest)
	var err error
	out.Groups, err = queryAll[DigestGroup](ctx, db, digestGroups, args{"target": t.TargetID, "ids": numbers(t.IDs)})
	if err != nil || len(out.Groups) == 0 {
		return out, err
	}
	out.Products, err = queryOne[int](ctx, db, digestProducts, args{"target": t.TargetID, "ids": numbers(t.IDs)})
	if err != nil {
		return nil, err
	}
	ids, err := queryAll[int64](ctx, db, digestFirst, args{
		"target": t.TargetID, "ids": numbers(t.IDs), "limit": limit,
		"severity_rank": bun.Safe(severityRank("after_severity")),
	})
	if err != nil {
		return nil, err
	}
	byID, err := NotificationsByID(ctx, db, ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		n := byID[id]
		switch {
		case n == nil: // deleted meanwhile
		case n.Type == rule.TypeObservation || n.Type == rule.TypeObservationTitle:
			out.Worst = append(out.Worst, *n)
		default:
			out.Named = append(out.Named, *n)
		}
	}
	return out, nil
}
