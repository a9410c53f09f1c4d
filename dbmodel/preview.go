package dbmodel

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// A preview asks of very many rows whether each meets conditions that are not stored. Conditions read few columns, and
// many rows have the same values in all of these. So the database counts the rows of each such group, and the caller
// decides once for the whole group. A "group" in this file is one of rows, unless it is called a product group.

// RecentScope says which notifications RecentGroups counts; with Since alone, all that the viewer sees.
type RecentScope struct {
	ProductID   int64
	GroupID     int64 // of a product group: the products that belong to it today
	Type        rule.Type
	ParserTypes bool // the groups differ in the parser type, too
	Since       time.Time
}

// PreviewGroup is a number of notifications, or of observations, that do not differ in the values that conditions and
// filters read.
type PreviewGroup struct {
	rule.Notification      // of an observation: without Before
	Day               int  // whole days since RecentScope.Since; -1: before it
	Remembered        bool // of observations: something was notified of them, and not dropped since
	Dropped           bool // of observations: a notification since RecentScope.Since says that they were dropped
	Count             int
	Newest            time.Time // of the notifications, or when the state of an observation was reported
}

const (
	recentRows = `
		SELECT n.id, n.created_at, n.type, n.event, @parser_type AS parser_type,
			n.before_severity, n.before_status, n.before_priority, n.before_known_exploited,
			n.after_severity, n.after_status, n.after_priority, n.after_known_exploited,
			floor(date_part('epoch', n.created_at - @since::timestamptz) / 86400)::int AS day
		FROM notifications AS n @indexed
		WHERE n.created_at >= @since::timestamptz AND @scope AND (@type::text = '' OR n.type = @type::text)
			AND @visible AND @live`

	recentGroups = `
		SELECT type, event, parser_type, day, count(*) AS count, max(created_at) AS newest,
			before_severity, before_status, before_priority, before_known_exploited,
			after_severity, after_status, after_priority, after_known_exploited
		FROM (` + recentRows + `) AS recent
		GROUP BY type, event, parser_type, day, before_severity, before_status, before_priority, before_known_exploited,
			after_severity, after_status, after_priority, after_known_exploited`

	// PostgreSQL takes "IN … IS TRUE" as a filter of rows that it reads in their order, and not as a join.
	newestOfGroups = `
		SELECT id FROM (` + recentRows + `) AS recent
		WHERE ((type, coalesce(event, ''), parser_type, day, coalesce(before_severity, ''), coalesce(before_status, ''),
			coalesce(before_priority, 0), coalesce(before_known_exploited::integer, -1), coalesce(after_severity, ''),
			coalesce(after_status, ''), coalesce(after_priority, 0), coalesce(after_known_exploited::integer, -1)
		) IN (
			SELECT g.type, g.event, g.parser_type, g.day, g.before_severity, g.before_status, g.before_priority,
				g.before_known_exploited, g.after_severity, g.after_status, g.after_priority, g.after_known_exploited
			FROM @groups AS g
		)) IS TRUE
		ORDER BY created_at DESC, id DESC LIMIT @limit`

	observationRows = `
		SELECT o.id, o.title, o.reported_at, o.parser_type, o.severity, o.status, o.priority, o.known_exploited,
			o.notified_severity IS NOT NULL AS remembered,
			CASE WHEN o.id IN (
				SELECT d.observation_id FROM notifications AS d INDEXED BY notifications_product_id
				WHERE d.product_id = @product AND d.created_at >= @since::timestamptz AND d.event = 'dropped'
			) THEN TRUE ELSE FALSE END AS dropped,
			CASE WHEN o.reported_at >= @since::timestamptz
				THEN floor(date_part('epoch', o.reported_at - @since::timestamptz) / 86400)::int ELSE -1 END AS day
		FROM observations AS o WHERE o.product_id = @product AND @live`

	observationGroups = `
		SELECT parser_type, severity AS after_severity, status AS after_status, priority AS after_priority,
			known_exploited AS after_known_exploited, remembered, dropped, day,
			count(*) AS count, max(reported_at) AS newest
		FROM (` + observationRows + `) AS reported
		GROUP BY parser_type, severity, status, priority, known_exploited, remembered, dropped, day`

	newestObservations = `
		SELECT id, title, severity, status, priority, known_exploited, reported_at
		FROM (` + observationRows + `) AS reported
		WHERE ((parser_type, severity, status, coalesce(priority, 0), coalesce(known_exploited::integer, -1),
			remembered, dropped, day
		) IN (
			SELECT g.parser_type, g.after_severity, g.after_status, g.after_priority, g.after_known_exploited,
				g.remembered, g.dropped, g.day
			FROM @groups AS g
		)) IS TRUE
		ORDER BY reported_at DESC, id DESC LIMIT @limit`
)

// groupRow is a PreviewGroup as it is read.
type groupRow struct {
	Type                rule.Type
	Event               rule.Event
	ParserType          rule.ParserType
	Before              *rule.Values `bun:"embed:before_"`
	After               *rule.Values `bun:"embed:after_"`
	Remembered, Dropped bool
	Day, Count          int
	Newest              time.Time
}

func (r *groupRow) group() PreviewGroup {
	return PreviewGroup{
		Notification: rule.Notification{
			Type: r.Type, Event: r.Event, ParserType: r.ParserType, Before: r.Before, After: r.After,
		},
		Remembered: r.Remembered, Dropped: r.Dropped, Day: r.Day, Count: r.Count, Newest: r.Newest,
	}
}

// groupCols are groups as rows. A missing value is empty, 0 or -1, which can be compared.
func groupCols(groups []PreviewGroup) rows {
	before, after := make([]rule.Values, len(groups)), make([]rule.Values, len(groups))
	for i, g := range groups {
		if g.Before != nil {
			before[i] = *g.Before
		}
		if g.After != nil {
			after[i] = *g.After
		}
	}
	severity := func(v *rule.Values) string { return string(v.Severity) }
	status := func(v *rule.Values) string { return string(v.Status) }
	priority := func(v *rule.Values) int {
		if v.Priority == nil {
			return 0
		}
		return *v.Priority
	}
	exploited := func(v *rule.Values) int {
		switch {
		case v.KnownExploited == nil:
			return -1
		case *v.KnownExploited:
			return 1
		}
		return 0
	}
	return rows{
		column(groups, "type", "text", func(g *PreviewGroup) string { return string(g.Type) }),
		column(groups, "event", "text", func(g *PreviewGroup) string { return string(g.Event) }),
		column(groups, "parser_type", "text", func(g *PreviewGroup) string { return string(g.ParserType) }),
		column(groups, "day", "integer", func(g *PreviewGroup) int { return g.Day }),
		column(groups, "remembered", "boolean", func(g *PreviewGroup) bool { return g.Remembered }),
		column(groups, "dropped", "boolean", func(g *PreviewGroup) bool { return g.Dropped }),
		column(before, "before_severity", "text", severity), column(before, "before_status", "text", status),
		column(before, "before_priority", "integer", priority),
		column(before, "before_known_exploited", "integer", exploited),
		column(after, "after_severity", "text", severity), column(after, "after_status", "text", status),
		column(after, "after_priority", "integer", priority),
		column(after, "after_known_exploited", "integer", exploited),
	}
}

// args returns the arguments of recentRows, for what v sees.
func (s *RecentScope) args(db bun.IDB, v Viewer) args {
	index, scope, parserType := "notifications_created_at", "TRUE", "''"
	switch {
	case s.ProductID != 0:
		index, scope = "notifications_product_id", fmt.Sprintf("n.product_id = %d", s.ProductID)
	case s.GroupID != 0:
		products := fmt.Sprintf("SELECT p.id FROM products p WHERE "+inProductGroup("p", "%d"), s.GroupID)
		index, scope = "notifications_product_id", among(db, "n.product_id", products)
	}
	if s.ParserTypes {
		parserType = "coalesce(n.facts ->> 'parser_type', '')"
	}
	return args{
		"since": s.Since, "type": string(s.Type), "parser_type": bun.Safe(parserType),
		"indexed": bun.Safe(indexed(db, index)), "scope": bun.Safe(scope),
		"visible": bun.Safe(VisibleProducts(v, "n.product_id")), "live": bun.Safe(liveNotifications("n")),
	}
}

// RecentGroups groups the notifications of products that v sees; those without a product are an administrator's.
func RecentGroups(ctx context.Context, db bun.IDB, v Viewer, s RecentScope) ([]PreviewGroup, error) {
	list, err := queryAll[groupRow](ctx, db, recentGroups, s.args(db, v))
	out := make([]PreviewGroup, len(list))
	for i := range list {
		out[i] = list[i].group()
	}
	return out, err
}

// NewestOfGroups returns the newest notifications of groups that RecentGroups has returned, limit at most, with all
// their fields.
func NewestOfGroups(
	ctx context.Context, db bun.IDB, v Viewer, s RecentScope, groups []PreviewGroup, limit int,
) ([]Notification, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	a := s.args(db, v)
	a["groups"], a["limit"] = groupCols(groups), limit
	ids, err := queryAll[int64](ctx, db, newestOfGroups, a)
	if err != nil {
		return nil, err
	}
	byID, err := NotificationsByID(ctx, db, ids)
	out := make([]Notification, 0, len(ids))
	for _, id := range ids {
		if n := byID[id]; n != nil {
			out = append(out, *n)
		}
	}
	return out, err
}

// ObservationGroups groups the observations of a product.
func ObservationGroups(ctx context.Context, db bun.IDB, product int64, since time.Time) ([]PreviewGroup, error) {
	list, err := queryAll[groupRow](ctx, db, observationGroups,
		args{"product": product, "since": since, "live": bun.Safe(liveObservations("o"))})
	out := make([]PreviewGroup, len(list))
	for i := range list {
		out[i] = list[i].group()
		out[i].Type, out[i].Event, out[i].Product = rule.TypeObservation, rule.EventNew, product
	}
	return out, err
}

// ReportedObservation is an observation, and the time at which its present state was reported.
type ReportedObservation struct {
	ID         int64
	Title      string
	Values     rule.Values `bun:"embed:"`
	ReportedAt time.Time
}

// NewestObservationsOf returns those observations that were reported last, limit at most, of groups that
// ObservationGroups has returned.
func NewestObservationsOf(
	ctx context.Context, db bun.IDB, product int64, since time.Time, groups []PreviewGroup, limit int,
) ([]ReportedObservation, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	return queryAll[ReportedObservation](ctx, db, newestObservations, args{
		"product": product, "since": since, "live": bun.Safe(liveObservations("o")),
		"groups": groupCols(groups), "limit": limit,
	})
}
