package dbmodel

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// A preview asks of very many rows whether each meets conditions that are not stored. Few of them differ in what decides, so
// the database counts those that do not, and the caller decides about the groups.

// RecentScope says which notifications RecentGroups counts; with Since alone, all that the viewer sees.
type RecentScope struct {
	ProductID   int64
	GroupID     int64 // that the product belongs to today
	Type        rule.Type
	ParserTypes bool // the groups differ in the parser type, too
	Since       time.Time
}

// Group is a number of notifications, or of observations, that do not differ in what conditions and filters read.
type Group struct {
	rule.Notification      // of an observation, After alone
	Day               int  // whole days since RecentScope.Since; -1: before it
	Remembered        bool // of observations: something was notified of them, and not dropped since
	Dropped           bool // of observations: a notification since RecentScope.Since says that they were dropped
	Count             int
	Newest            time.Time // of the notifications, or when the state of an observation was reported

	key []any // what the columns of the group have
}

const (
	daySeconds = 24 * 60 * 60
	// previewKnown is a truth or NULL as a number, which can be compared.
	previewKnown = "CASE WHEN %[1]s IS NULL THEN -1 WHEN %[1]s THEN 1 ELSE 0 END"
)

// dayOf is the number of whole days from the argument $1 to the time at; -1 where that was before, or is not known.
func dayOf(db bun.IDB, at string) string {
	if isSQLite(db) {
		return fmt.Sprintf("CASE WHEN %[1]s IS NULL OR %[1]s < $1 THEN -1 ELSE (%[1]s - $1) / %[2]d END", at, daySeconds*1_000_000)
	}
	return fmt.Sprintf("CASE WHEN %[1]s IS NULL OR %[1]s < $1::timestamptz THEN -1 ELSE (extract(epoch FROM %[1]s - $1::timestamptz) / %[2]d)::int END", at, daySeconds)
}

// recent is the columns by which notifications are grouped, and where they come from.
func (s *RecentScope) recent(db bun.IDB, v Viewer) (columns []string, from string) {
	table, condition := "notifications AS n"+indexed(db, "notifications_created_at"), VisibleProducts(v, "n.product_id")
	switch {
	case s.ProductID != 0:
		table = "notifications AS n" + indexed(db, "notifications_product_id")
		condition += fmt.Sprintf(" AND n.product_id = %d", s.ProductID)
	case s.GroupID != 0:
		table = "notifications AS n" + indexed(db, "notifications_product_id")
		condition += " AND " + among(db, "n.product_id", fmt.Sprintf("SELECT id FROM products WHERE product_group_id = %d", s.GroupID))
	}
	if s.Type != "" {
		condition += " AND n.type = '" + string(s.Type) + "'"
	}
	parserType := "''"
	if s.ParserTypes {
		parserType = "coalesce(n.facts ->> 'parser_type', '')"
	}
	columns = []string{"n.type", "coalesce(n.event, '')", parserType}
	for _, of := range []string{"n.before_", "n.after_"} {
		columns = append(columns, "coalesce("+of+"severity, '')", "coalesce("+of+"status, '')", "coalesce("+of+"priority, 0)", fmt.Sprintf(previewKnown, of+"known_exploited"))
	}
	return append(columns, dayOf(db, "n.created_at")), table + " WHERE n.created_at >= $1 AND " + condition + " AND " + liveNotifications("n")
}

// RecentGroups groups the notifications of products that v sees; those without a product are an administrator's.
func RecentGroups(ctx context.Context, db bun.IDB, v Viewer, s RecentScope) ([]Group, error) {
	columns, from := s.recent(db, v)
	return collect(ctx, db, func(rows *sql.Rows) (Group, error) {
		var g Group
		var at instant
		var before, after groupedValues
		key := append([]any{&g.Type, &g.Event, &g.ParserType}, append(before.dest(), after.dest()...)...)
		err := rows.Scan(append(key, &g.Day, &g.Count, &at)...)
		g.Before, g.After, g.Newest = before.values(), after.values(), at.Time
		g.key = append(append([]any{string(g.Type), string(g.Event), string(g.ParserType)}, append(before.args(), after.args()...)...), g.Day)
		return g, err
	}, "SELECT "+strings.Join(columns, ", ")+", count(*), max(n.created_at) FROM "+from+" GROUP BY "+ordinals(len(columns)), timeArg(db, s.Since))
}

// NewestOfGroups returns the newest notifications of groups that RecentGroups has returned, limit at most, whole.
func NewestOfGroups(ctx context.Context, db bun.IDB, v Viewer, s RecentScope, groups []Group, limit int) ([]Notification, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	columns, from := s.recent(db, v)
	condition, args := isOfGroups(columns, groups, []any{timeArg(db, s.Since)})
	ids, err := collect(ctx, db, scanID, fmt.Sprintf("SELECT n.id FROM %s AND %s ORDER BY n.created_at DESC, n.id DESC LIMIT %d", from, condition, limit), args...)
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

func observationGroups(db bun.IDB, product int64) (columns []string, from string) {
	dropped := fmt.Sprintf("o.id IN (SELECT d.observation_id FROM notifications AS d%s WHERE d.product_id = %d AND d.created_at >= $1 AND d.event = 'dropped')",
		indexed(db, "notifications_product_id"), product)
	return []string{
		"o.parser_type", "o.severity", "o.status", "coalesce(o.priority, 0)", fmt.Sprintf(previewKnown, "o.known_exploited"),
		"CASE WHEN o.notified_severity IS NULL THEN 0 ELSE 1 END", "CASE WHEN " + dropped + " THEN 1 ELSE 0 END", dayOf(db, "o.reported_at"),
	}, fmt.Sprintf("observations AS o WHERE o.product_id = %d AND %s", product, liveObservations("o"))
}

// ObservationGroups groups the observations of a product.
func ObservationGroups(ctx context.Context, db bun.IDB, product int64, since time.Time) ([]Group, error) {
	columns, from := observationGroups(db, product)
	return collect(ctx, db, func(rows *sql.Rows) (Group, error) {
		g := Group{Notification: rule.Notification{Type: rule.TypeObservation, Event: rule.EventNew, Product: product}}
		var at instant
		var after groupedValues
		var remembered, dropped int
		err := rows.Scan(append(append([]any{&g.ParserType}, after.dest()...), &remembered, &dropped, &g.Day, &g.Count, &at)...)
		g.After, g.Newest, g.Remembered, g.Dropped = after.values(), at.Time, remembered == 1, dropped == 1
		g.key = append(append([]any{string(g.ParserType)}, after.args()...), remembered, dropped, g.Day)
		return g, err
	}, "SELECT "+strings.Join(columns, ", ")+", count(*), max(o.reported_at) FROM "+from+" GROUP BY "+ordinals(len(columns)), timeArg(db, since))
}

// ReportedObservation is an observation and when its state of now was reported.
type ReportedObservation struct {
	ID         int64
	Title      string
	Values     rule.Values
	ReportedAt time.Time
}

// NewestObservationsOf returns the observations of groups that ObservationGroups has returned which were reported last, limit
// at most.
func NewestObservationsOf(ctx context.Context, db bun.IDB, product int64, since time.Time, groups []Group, limit int) ([]ReportedObservation, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	columns, from := observationGroups(db, product)
	condition, args := isOfGroups(columns, groups, []any{timeArg(db, since)})
	return collect(ctx, db, func(rows *sql.Rows) (o ReportedObservation, err error) {
		var at instant
		err = rows.Scan(&o.ID, &o.Title, &o.Values.Severity, &o.Values.Status, &o.Values.Priority, &o.Values.KnownExploited, &at)
		o.ReportedAt = at.Time
		return o, err
	}, fmt.Sprintf(`SELECT o.id, o.title, o.severity, o.status, o.priority, o.known_exploited, o.reported_at FROM %s AND %s
		ORDER BY o.reported_at DESC, o.id DESC LIMIT %d`, from, condition, limit), args...)
}

// isOfGroups is the condition that a row is of one of the groups, and the arguments with those that are there already.
func isOfGroups(columns []string, groups []Group, args []any) (string, []any) {
	all := make([]string, len(groups))
	for i, g := range groups {
		parts := make([]string, len(columns))
		for j, c := range columns {
			args = append(args, g.key[j])
			parts[j] = fmt.Sprintf("%s = $%d", c, len(args))
		}
		all[i] = strings.Join(parts, " AND ")
	}
	return "(" + strings.Join(all, " OR ") + ")", args
}

// ordinals is "1, 2, …, n".
func ordinals(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i + 1)
	}
	return strings.Join(out, ", ")
}

// groupedValues takes values from columns without NULL.
type groupedValues struct {
	severity, status    string
	priority, exploited int
}

func (g *groupedValues) dest() []any { return []any{&g.severity, &g.status, &g.priority, &g.exploited} }

func (g *groupedValues) args() []any { return []any{g.severity, g.status, g.priority, g.exploited} }

func (g *groupedValues) values() *rule.Values {
	var priority *int
	if g.priority != 0 {
		priority = &g.priority
	}
	var exploited *bool
	if g.exploited >= 0 {
		exploited = new(g.exploited == 1)
	}
	return values(rule.Severity(g.severity), rule.Status(g.status), priority, exploited)
}
