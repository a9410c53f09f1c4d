package dbmodel

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Position is a place in a list that is sorted by time: behind the notification with this time and id.
type Position struct {
	CreatedAt time.Time
	ID        int64
}

// NotificationFilter says which notifications are wanted; the zero value wants all, newest first.
type NotificationFilter struct {
	Type        rule.Type
	Event       rule.Event
	Severities  []rule.Severity // one of these in After, which every notification with a severity has; empty: any
	ProductID   int64
	GroupID     int64 // of the product group that the product belongs to today
	Digest      int64 // of the StoredNetDigest in whose Notifications they are; 0: any
	User        string
	Contains    string    // part of the name, without case
	Viewed      *bool     // by the viewer; nil: either
	Since       time.Time // included
	Until       time.Time // excluded
	OldestFirst bool
	Behind      *Position
}

// likeEscaper makes a text mean itself in a LIKE pattern.
var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// Notifications lists up to limit notifications as v sees them.
func Notifications(ctx context.Context, db bun.IDB, v Viewer, f NotificationFilter, limit int) ([]Notification, error) {
	l := listing{
		table: "notifications", keys: []string{"created_at", "id"}, direction: "DESC", limit: limit,
		choice: f.choice, index: f.index(), few: f.Digest != 0,
	}
	if f.OldestFirst {
		l.direction = "ASC"
	}
	if slices.Contains(rule.Types, f.Type) {
		l.onlyType = quoted([]rule.Type{f.Type}) // so PostgreSQL knows before it reads rows whether members see any
	}
	var err error
	l.group = f.GroupID
	l.byProduct = (v.isMember() || f.GroupID != 0) && f.ProductID == 0 && f.User == "" && f.Digest == 0
	if l.byProduct && f.Contains != "" {
		if l, err = l.searched(ctx, db, v); err != nil {
			return nil, err
		}
	}
	ids := ""
	switch until := viewedUntil(db, v.UserID); {
	case f.Viewed == nil:
		ids = l.ids(db, v)
	case *f.Viewed:
		// Two lists: one index has the notifications viewed until a time, another one those viewed one by one since then.
		oneByOne := l.and(`notifications.created_at >= ?
			AND notifications.id IN (SELECT notification_id FROM notification_views WHERE user_id = ?)`, until, v.UserID)
		oneByOne.byProduct, oneByOne.index, oneByOne.few = false, "", true
		ids = "SELECT id FROM (" + l.and("notifications.created_at < ?", until).ids(db, v) +
			") AS a UNION ALL SELECT id FROM (" + oneByOne.ids(db, v) + ") AS b"
	default:
		ids = l.and("notifications.created_at >= ? AND NOT ?", until, hasViewRow(v.UserID, "notifications")).ids(db, v)
	}
	var list []Notification
	err = db.NewSelect().Model(&list).
		Where("notifications.id IN (?)", bun.Safe(ids)).Where(VisibleNotifications(db, v, "notifications")).
		OrderExpr(l.order(l.table)).Limit(int64(limit)).Scan(ctx)
	for i := range list {
		list[i].hide(v)
	}
	return list, Translate(err)
}

// choice restricts q to the notifications that f wants, whatever f.Viewed says.
func (f *NotificationFilter) choice(q *bun.SelectQuery) *bun.SelectQuery {
	if f.Type != "" {
		q = q.Where("notifications.type = ?", f.Type)
	}
	if f.Event != "" {
		q = q.Where("notifications.event = ?", f.Event)
	}
	if len(f.Severities) > 0 {
		q = q.Where("notifications.after_severity IN (?)", bun.List(f.Severities))
	}
	if f.ProductID != 0 {
		q = q.Where("notifications.product_id = ?", f.ProductID)
	}
	if f.GroupID != 0 {
		q = q.Where("notifications.product_id IN (SELECT p.id FROM products p WHERE "+inProductGroup("p", "?")+")", f.GroupID)
	}
	if f.Digest != 0 {
		q = q.Where("notifications.id IN (?)", bun.Safe(notificationsOfDigest(q.DB(), f.Digest)))
	}
	if f.User != "" {
		q = q.Where("notifications.username = ? AND notifications.username <> ''", f.User)
	}
	if f.Contains != "" {
		q = q.Where(insensitive(q.DB(), "notifications.name", "?"), "%"+likeEscaper.Replace(f.Contains)+"%")
	}
	if !f.Since.IsZero() {
		q = q.Where("notifications.created_at >= ?", f.Since)
	}
	if !f.Until.IsZero() {
		q = q.Where("notifications.created_at < ?", f.Until)
	}
	if f.Behind != nil {
		beyond := "<"
		if f.OldestFirst {
			beyond = ">"
		}
		q = q.Where("(notifications.created_at, notifications.id) ? (?, ?)",
			bun.Safe(beyond), f.Behind.CreatedAt, f.Behind.ID)
	}
	return q
}

// Unindexed names a condition of f, as its parameter in the API, for which there is no index, so that a list for v may
// read all rows that the other conditions leave; empty: there is none.
func (f *NotificationFilter) Unindexed(v Viewer) string {
	switch {
	case f.Contains != "":
		return "q"
	case len(f.Severities) > 1 || len(f.Severities) == 1 && v.isMember():
		return "severity"
	}
	return ""
}

// index is the index that leaves the fewest rows to look through; empty: the primary key.
func (f *NotificationFilter) index() string {
	switch {
	case f.Digest != 0:
		return ""
	case f.ProductID != 0:
		return "notifications_product_id"
	case f.User != "":
		return "notifications_username"
	case f.Event != "":
		return "notifications_event"
	case len(f.Severities) == 1: // of several, its order is not that of the list
		return "notifications_severity"
	case f.Type != "":
		return "notifications_type"
	}
	return "notifications_created_at"
}
