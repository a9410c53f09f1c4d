package dbmodel

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Notification is one thing that happened and is worth knowing, as it was then.
type Notification struct {
	bun.BaseModel `bun:"table:notifications,alias:notifications"`

	ID                   int64 `bun:",pk,autoincrement"`
	Type                 rule.Type
	Event                rule.Event `bun:",nullzero"`
	Name                 string     // the subject line: title, product, or class of the exception
	ProductID            *int64
	ObservationID        *int64
	BeforeSeverity       rule.Severity `bun:",nullzero"` // before: the values last notified
	BeforeStatus         rule.Status   `bun:",nullzero"`
	BeforePriority       *int
	BeforeKnownExploited *bool
	AfterSeverity        rule.Severity `bun:",nullzero"` // after: the values at its time
	AfterStatus          rule.Status   `bun:",nullzero"`
	AfterPriority        *int
	AfterKnownExploited  *bool
	Facts                Facts `bun:"type:jsonb"`
	Message              string
	Function             string
	Username             string
	Arguments            json.RawMessage `bun:"type:jsonb,nullzero"`
	Trace                string
	Suppressed           int  // equal exceptions that were not notified before it
	Own                  bool // about Tocsin itself
	HeldBack             bool // it waits for the end of a pause
	CreatedAt            time.Time
}

// Facts are the facts that a notification keeps beside its values.
type Facts struct {
	ProductName      string          `json:"product_name"`
	ProductGroupName string          `json:"product_group_name"`
	ObservationTitle string          `json:"observation_title"`
	ParserType       rule.ParserType `json:"parser_type"`
	Details
	Observations int        `json:"observations"` // that bear the title
	Products     int        `json:"products"`     // that these are in
	GateBefore   rule.Event `json:"gate_before"`  // state of a security gate before its change
	TraceParent  string     `json:"trace_parent"` // of its evaluation, for its deliveries; never shown
}

// MarshalJSON implements json.Marshaler. Most facts are empty; these are not stored.
func (f Facts) MarshalJSON() ([]byte, error) { return withoutEmpty(f), nil }

// Before returns the values last notified, nil where there were none.
func (n *Notification) Before() *rule.Values {
	return values(n.BeforeSeverity, n.BeforeStatus, n.BeforePriority, n.BeforeKnownExploited)
}

// After returns the values at the time of the notification, nil where it has none.
func (n *Notification) After() *rule.Values {
	return values(n.AfterSeverity, n.AfterStatus, n.AfterPriority, n.AfterKnownExploited)
}

func values(s rule.Severity, st rule.Status, p *int, exploited *bool) *rule.Values {
	if s == "" {
		return nil
	}
	return &rule.Values{Severity: s, Status: st, Priority: p, KnownExploited: exploited}
}

// SetValues sets the values of Before and After; nil: there are none.
func (n *Notification) SetValues(before, after *rule.Values) {
	b, a := rule.Values{}, rule.Values{}
	if before != nil {
		b = *before
	}
	if after != nil {
		a = *after
	}
	n.BeforeSeverity, n.BeforeStatus = b.Severity, b.Status
	n.BeforePriority, n.BeforeKnownExploited = b.Priority, b.KnownExploited
	n.AfterSeverity, n.AfterStatus = a.Severity, a.Status
	n.AfterPriority, n.AfterKnownExploited = a.Priority, a.KnownExploited
}

// Rule returns n with all that rule must know to decide on its recipients. Net changes need more: see
// summedNotification.
func (n *Notification) Rule() *rule.Notification {
	out := &rule.Notification{
		ID: n.ID, Type: n.Type, Event: n.Event, ParserType: n.Facts.ParserType, Name: n.Name, Occurrences: n.Suppressed + 1,
		Before: n.Before(), After: n.After(),
	}
	if n.ProductID != nil {
		out.Product = *n.ProductID
	}
	return out
}

// NewNotification is a notification to be stored, and the targets that receive it.
type NewNotification struct {
	Notification
	Recipients []rule.Recipient // without those that are passed over
	Targets    []int64          // that receive it beside Recipients, without a holder
	AcceptedAt time.Time        // when the event that it comes from was accepted; zero: it comes from none
}

// InsertNotifications stores notifications that come from one event, with a pending delivery for each of their
// targets, in the given order.
func InsertNotifications(ctx context.Context, tx bun.Tx, list []NewNotification) error {
	if len(list) == 0 {
		return nil
	}
	notifications, deliveries := notificationCols(list), deliveryCols(list)
	if isSQLite(tx) {
		return insertNotificationsSQLite(ctx, tx, notifications, deliveries, acceptedAt(list))
	}
	_, err := exec(ctx, tx, insertNotifications, args{
		"notifications": notifications, "deliveries": deliveries, "accepted": acceptedAt(list),
	})
	return err
}

// insertNotificationRows stores the rows of n, which are notifications with their ids.
const insertNotificationRows = `
	INSERT INTO notifications (id, created_at, type, event, name, product_id, observation_id,
		before_severity, before_status, before_priority, before_known_exploited,
		after_severity, after_status, after_priority, after_known_exploited,
		facts, message, function, username, arguments, trace, suppressed, own, held_back)
	SELECT n.id, clock_timestamp(), n.type, n.event, n.name, n.product_id, n.observation_id,
		n.before_severity, n.before_status, n.before_priority, n.before_known_exploited,
		n.after_severity, n.after_status, n.after_priority, n.after_known_exploited,
		n.facts::jsonb, n.message, n.function, n.username, n.arguments::jsonb, n.trace, n.suppressed, n.own, n.held_back
	FROM n`

const insertNotifications = `
	WITH n AS MATERIALIZED (
		SELECT nextval('notifications_id_seq') AS id, i.* FROM @notifications AS i ORDER BY i.ord
	), stored AS (` + insertNotificationRows + `)
	INSERT INTO deliveries (notification_id, target_id, source_kind, source_id, user_id, masked, product_id, type,
		accepted_at)
	SELECT n.id, d.target, d.source_kind, d.source_id, d.user_id, d.masked, n.product_id, n.type, @accepted::timestamptz
	FROM @deliveries AS d JOIN n ON n.ord = d.notification ORDER BY d.ord`

const insertNumbered = `
	WITH n AS (SELECT @last + i.ord AS id, i.* FROM @notifications AS i)` + insertNotificationRows + ` ORDER BY n.ord`

const insertDeliveries = `
	INSERT INTO deliveries (notification_id, target_id, source_kind, source_id, user_id, masked, product_id, type,
		accepted_at)
	SELECT n.id, d.target, d.source_kind, d.source_id, d.user_id, d.masked, n.product_id, n.type, @accepted::timestamptz
	FROM @deliveries AS d JOIN notifications n ON n.id = @last + d.notification ORDER BY d.ord`

// insertNotificationsSQLite numbers the notifications itself: there is one writer.
func insertNotificationsSQLite(ctx context.Context, tx bun.Tx, notifications, deliveries rows, accepted any) error {
	last, err := queryOne[int64](ctx, tx,
		`SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'notifications'), 0)`, nil)
	if err != nil {
		return err
	}
	if _, err := exec(ctx, tx, insertNumbered, args{"last": last, "notifications": notifications}); err != nil {
		return err
	}
	_, err = exec(ctx, tx, insertDeliveries, args{"last": last, "deliveries": deliveries, "accepted": accepted})
	return err
}

// acceptedAt is the argument for the column of that name, the same for all of list.
func acceptedAt(list []NewNotification) any {
	if at := list[0].AcceptedAt; !at.IsZero() {
		return at
	}
	return nil
}

// deliveryCols are the deliveries of a list of notifications. The column notification is the place of a delivery's
// notification in the list, from 1.
func deliveryCols(list []NewNotification) rows {
	type delivery struct {
		notification int64
		rule.Recipient
	}
	var all []delivery
	for i := range list {
		for _, r := range list[i].Recipients {
			all = append(all, delivery{int64(i + 1), r})
		}
		for _, t := range list[i].Targets { //nolint:gosec // i is an index of list
			all = append(all, delivery{int64(i + 1), rule.Recipient{Contact: rule.Contact{Target: t}}})
		}
	}
	return rows{
		column(all, "notification", "bigint", func(d *delivery) int64 { return d.notification }),
		column(all, "target", "bigint", func(d *delivery) int64 { return d.Target }),
		column(all, "source_kind", "text", func(d *delivery) string { return string(d.Holder.Kind) }),
		column(all, "source_id", "bigint", func(d *delivery) int64 { return d.Holder.ID }),
		column(all, "user_id", "bigint", func(d *delivery) *int64 { return userOf(&d.Recipient) }),
		column(all, "masked", "boolean", func(d *delivery) bool { return d.Masked }),
	}
}

// userOf is the user_id of a delivery to a recipient: the user of a personal subscription, 0 where administrators
// alone see the delivery, nil where all users that see its notification see it, too.
func userOf(r *rule.Recipient) *int64 {
	if r.User == 0 && !r.ForAdministrators {
		return nil
	}
	return &r.User
}

func notificationCols(list []NewNotification) rows {
	return rows{
		column(list, "type", "text", func(n *NewNotification) string { return string(n.Type) }),
		column(list, "event", "text", func(n *NewNotification) *string { return nilIfEmpty(n.Event) }),
		column(list, "name", "text", func(n *NewNotification) string { return n.Name }),
		column(list, "product_id", "bigint", func(n *NewNotification) *int64 { return n.ProductID }),
		column(list, "observation_id", "bigint", func(n *NewNotification) *int64 { return n.ObservationID }),
		column(list, "before_severity", "text", func(n *NewNotification) *string { return nilIfEmpty(n.BeforeSeverity) }),
		column(list, "before_status", "text", func(n *NewNotification) *string { return nilIfEmpty(n.BeforeStatus) }),
		column(list, "before_priority", "smallint", func(n *NewNotification) *int { return n.BeforePriority }),
		column(list, "before_known_exploited", "boolean", func(n *NewNotification) *bool { return n.BeforeKnownExploited }),
		column(list, "after_severity", "text", func(n *NewNotification) *string { return nilIfEmpty(n.AfterSeverity) }),
		column(list, "after_status", "text", func(n *NewNotification) *string { return nilIfEmpty(n.AfterStatus) }),
		column(list, "after_priority", "smallint", func(n *NewNotification) *int { return n.AfterPriority }),
		column(list, "after_known_exploited", "boolean", func(n *NewNotification) *bool { return n.AfterKnownExploited }),
		column(list, "facts", "text", func(n *NewNotification) string { return string(withoutEmpty(n.Facts)) }),
		column(list, "message", "text", func(n *NewNotification) string { return n.Message }),
		column(list, "function", "text", func(n *NewNotification) string { return n.Function }),
		column(list, "username", "text", func(n *NewNotification) string { return n.Username }),
		column(list, "arguments", "text", func(n *NewNotification) *string { return nilIfEmpty(string(n.Arguments)) }),
		column(list, "trace", "text", func(n *NewNotification) string { return n.Trace }),
		column(list, "suppressed", "integer", func(n *NewNotification) int { return n.Suppressed }),
		column(list, "own", "boolean", func(n *NewNotification) bool { return n.Own }),
		column(list, "held_back", "boolean", func(n *NewNotification) bool { return n.HeldBack }),
	}
}

// nilIfEmpty returns s, nil where it is empty.
func nilIfEmpty[T ~string](s T) *string {
	if s == "" {
		return nil
	}
	return new(string(s))
}

// hiddenText stands where a notification says something that is for administrators only.
const hiddenText = "..."

// hide replaces the fields that v may not read: texts and arguments of exceptions and tasks may hold anything.
func (n *Notification) hide(v Viewer) {
	if v.Admin {
		return
	}
	if n.Message != "" {
		n.Message = hiddenText
	}
	if n.Trace != "" {
		n.Trace = hiddenText
	}
	if len(n.Arguments) > 0 {
		n.Arguments = json.RawMessage(`"` + hiddenText + `"`)
	}
}

// Masked returns n as members read it.
func (n *Notification) Masked() *Notification {
	masked := *n
	masked.hide(Viewer{})
	return &masked
}

// VisibleNotificationByID returns a notification as v sees it, ErrNotFound where there is none that v sees.
func VisibleNotificationByID(ctx context.Context, db bun.IDB, v Viewer, id int64) (*Notification, error) {
	n := new(Notification)
	err := db.NewSelect().Model(n).Where("id = ?", id).Where(VisibleNotifications(db, v, "notifications")).Scan(ctx)
	n.hide(v)
	return n, Translate(err)
}

const notificationsByID = `SELECT @columns FROM notifications WHERE id = ANY (@ids)`

// columnsOf lists the columns of a model for SQL.
func columnsOf[T any](db bun.IDB) bun.Safe {
	table := db.Dialect().Tables().Get(reflect.TypeFor[T]())
	names := make([]string, len(table.Fields))
	for i, field := range table.Fields {
		names[i] = field.Name
	}
	return bun.Safe(strings.Join(names, ", "))
}

// NotificationsByID returns the notifications with the given ids by id; those that do not exist are left out.
func NotificationsByID(ctx context.Context, db bun.IDB, ids []int64) (map[int64]*Notification, error) {
	list, err := queryAll[Notification](ctx, db, notificationsByID,
		args{"columns": columnsOf[Notification](db), "ids": numbers(ids)})
	if err != nil {
		return nil, err
	}
	out := make(map[int64]*Notification, len(list))
	for i := range list {
		out[list[i].ID] = &list[i]
	}
	return out, nil
}

// NotificationByID returns a notification in full, whatever a viewer may see of it; ErrNotFound where there is none.
func NotificationByID(ctx context.Context, db bun.IDB, id int64) (*Notification, error) {
	n := new(Notification)
	return n, Translate(db.NewSelect().Model(n).Where("id = ?", id).Scan(ctx))
}

// NotificationHeads returns notifications by id, with no more fields than a list of deliveries shows: type, event,
// name, function, product, facts and time, and the message where it is about Tocsin itself. Notifications that v does
// not see are left out.
func NotificationHeads(ctx context.Context, db bun.IDB, v Viewer, ids []int64) (map[int64]Notification, error) {
	var list []Notification
	err := db.NewSelect().Model(&list).
		Column("id", "type", "event", "name", "function", "product_id", "facts", "own", "created_at").
		ColumnExpr("CASE WHEN own THEN message ELSE '' END AS message").
		Where("id IN (?)", bun.List(ids)).Where(VisibleNotifications(db, v, "notifications")).Scan(ctx)
	out := make(map[int64]Notification, len(list))
	for i := range list {
		out[list[i].ID] = list[i]
	}
	return out, Translate(err)
}
