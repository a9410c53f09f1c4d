package dbmodel

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// State of a delivery.
type State string

// States.
const (
	Pending State = "pending"
	Sent    State = "sent"
	Failed  State = "failed"
)

// States lists all states.
var States = []State{Pending, Sent, Failed}

// Delivery is one notification for one target, as it is shown.
type Delivery struct {
	ID             int64
	NotificationID int64
	TargetID       int64
	State          State
	Attempts       int
	LastError      string
	SentAt         *time.Time
	Channel        rule.Channel
	Address        []byte     // sealed
	NextAttemptAt  *time.Time // of a pending one whose target waits after a failure
	// Source is the holder of the contact that it comes from, and SourceName the name of this product, group or
	// subscription today. One that is gone, or that the viewer does not see, has neither id nor name.
	Source     rule.Holder
	SourceName string
}

func scanDelivery(rows *sql.Rows) (d Delivery, err error) {
	var sent, next instant
	err = rows.Scan(&d.ID, &d.NotificationID, &d.TargetID, &d.State, &d.Attempts, &d.LastError, &sent, &d.Channel, &d.Address, &next,
		&d.Source.Kind, &d.Source.ID, &d.SourceName)
	d.SentAt, d.NextAttemptAt = sent.pointer(), next.pointer()
	return d, err
}

// shownDeliveries selects deliveries for scanDelivery as v sees them. Which ones v sees is for the caller to add.
func shownDeliveries(v Viewer) string {
	return `SELECT d.id, d.notification_id, d.target_id, d.state, d.attempts, d.last_error, d.sent_at, t.channel, t.address,
			CASE WHEN d.state = 'pending' AND t.failures > 0 THEN t.next_at END,
			d.source_kind, coalesce(sp.id, sg.id, ss.id, 0), coalesce(sp.name, sg.name, ss.name, '')
		FROM deliveries d JOIN targets t ON t.id = d.target_id
		LEFT JOIN products sp ON d.source_kind = 'product' AND sp.id = d.source_id AND ` + VisibleProducts(v, "sp.id") + `
		LEFT JOIN product_groups sg ON d.source_kind = 'product_group' AND sg.id = d.source_id AND ` + v.groups("sg.id") + `
		LEFT JOIN subscriptions ss ON d.source_kind = 'subscription' AND ss.id = d.source_id AND ` + v.subscriptions("ss") + `
		WHERE `
}

// DeliveriesOf lists the deliveries of those notifications that v sees, by notification and id.
func DeliveriesOf(ctx context.Context, db bun.IDB, v Viewer, notificationIDs []int64) (map[int64][]Delivery, error) {
	in, arg := anyOf(db, "d.notification_id", 1, notificationIDs)
	list, err := collect(ctx, db, scanDelivery, shownDeliveries(v)+in+" AND "+VisibleDeliveries(db, v, "d")+" ORDER BY d.id", arg)
	out := make(map[int64][]Delivery, len(notificationIDs))
	for _, d := range list {
		out[d.NotificationID] = append(out[d.NotificationID], d)
	}
	return out, err
}

// DeliveryFilter says which deliveries are wanted; the zero value wants all.
type DeliveryFilter struct {
	State     State
	Channel   rule.Channel
	ProductID int64
	Before    int64 // only ids below; 0: all
}

// Deliveries lists up to limit deliveries of notifications that v sees, newest first.
func Deliveries(ctx context.Context, db bun.IDB, v Viewer, f DeliveryFilter, limit int) ([]Delivery, error) {
	l := listing{table: "deliveries", limit: limit, keys: []string{"id"}, direction: "DESC", choice: f.choice}
	switch {
	case f.ProductID != 0:
		l.index = "deliveries_product_id"
	case f.State == Pending || f.State == Failed:
		l.index, l.few = "deliveries_"+string(f.State), true
	default:
		l.byProduct = v.isMember()
	}
	if !v.Admin {
		l = l.and(v.ownDeliveries("deliveries"))
	}
	return collect(ctx, db, scanDelivery, shownDeliveries(v)+"d.id IN ("+l.ids(db, v)+") AND "+VisibleDeliveries(db, v, "d")+" ORDER BY d.id DESC")
}

// choice is the conditions of f.
func (f *DeliveryFilter) choice(q *bun.SelectQuery) *bun.SelectQuery {
	if f.State != "" {
		q = q.Where("deliveries.state = ?", f.State)
	}
	if f.Channel != "" {
		q = q.Where("EXISTS (SELECT 1 FROM targets WHERE channel = ?0) AND deliveries.target_id IN (SELECT id FROM targets WHERE channel = ?0)", f.Channel)
	}
	if f.ProductID != 0 {
		q = q.Where("deliveries.product_id = ?", f.ProductID)
	}
	if f.Before != 0 {
		q = q.Where("deliveries.id < ?", f.Before)
	}
	return q
}

// PendingDelivery is a delivery that waits, with its notification.
type PendingDelivery struct {
	ID             int64
	NotificationID int64
	Source         rule.Holder // of the contact that it comes from
	SourceName     string      // of a subscription or a product group
	UserID         int64       // the user whose subscription alone it comes from; 0: nobody's
	Masked         bool        // it says what members may read
	Digest         int64       // the NetDigest that it belongs to; 0: none
}

// What waits for one target is read in the order of the index of pending deliveries. A target between id and id stands for one
// that is id: PostgreSQL orders by a constant without an index, and then by the primary key, through all that was delivered.
const (
	pendingDeliveries = `
		SELECT id, notification_id, source_kind, source_id, coalesce(user_id, 0) AS user_id, masked,
			coalesce(digest_id, 0) AS digest_id, coalesce(CASE source_kind
				WHEN 'subscription' THEN (SELECT s.name FROM subscriptions s WHERE s.id = source_id)
				WHEN 'product_group' THEN (SELECT g.name FROM product_groups g WHERE g.id = source_id)
				END, '') AS source_name
		FROM deliveries INDEXED BY deliveries_pending
		WHERE target_id BETWEEN @target AND @target AND state = 'pending' AND @live ORDER BY target_id, id LIMIT @limit`

	pendingIDs = `
		SELECT id FROM deliveries INDEXED BY deliveries_pending
		WHERE target_id BETWEEN @target AND @target AND state = 'pending' AND digest_id IS NULL AND (@batch::bigint = 0 OR batch = @batch::bigint)
			AND @live
		ORDER BY target_id, id LIMIT @limit`
)

// PendingDeliveries lists the first limit deliveries that wait for a target, in the order in which they must be delivered.
func PendingDeliveries(ctx context.Context, db bun.IDB, targetID int64, limit int) ([]PendingDelivery, error) {
	live := bun.Safe(liveNotifications("deliveries"))
	list, err := queryAll[struct {
		ID, NotificationID, SourceID, UserID, DigestID int64
		SourceKind                                     rule.HolderKind
		SourceName                                     string
		Masked                                         bool
	}](ctx, db, pendingDeliveries, args{"target": targetID, "live": live, "limit": limit})
	out := make([]PendingDelivery, len(list))
	for i, d := range list {
		out[i] = PendingDelivery{
			ID: d.ID, NotificationID: d.NotificationID, UserID: d.UserID, Masked: d.Masked, Digest: d.DigestID, SourceName: d.SourceName,
			Source: rule.Holder{Kind: d.SourceKind, ID: d.SourceID},
		}
	}
	return out, err
}

// SoleSource returns what all deliveries of t come from; the zero value where they come from several things. It has no more of
// a PendingDelivery than that.
func SoleSource(ctx context.Context, db bun.IDB, t DeliverySet) (PendingDelivery, error) {
	these, args := t.these(db, "d")
	list, err := collect(ctx, db, func(rows *sql.Rows) (d PendingDelivery, err error) {
		err = rows.Scan(&d.Source.Kind, &d.Source.ID, &d.UserID, &d.SourceName)
		return d, err
	}, `SELECT d.source_kind, d.source_id, coalesce(d.user_id, 0), coalesce(s.name, '') FROM deliveries d
		LEFT JOIN subscriptions s ON d.source_kind = 'subscription' AND s.id = d.source_id
		WHERE `+these+" GROUP BY 1, 2, 3, 4 LIMIT 2", args...)
	if err != nil || len(list) != 1 {
		return PendingDelivery{}, err
	}
	return list[0], nil
}

// UnseenReason is why a delivery of a personal subscription fails without an attempt.
const UnseenReason = "Its user does not see this notification any more."

// AskAgain decides once more about what waits for a target because of personal subscriptions, where owner has the lease: a delivery
// whose user is gone or does not see its notification any more fails, and one whose user is no administrator any more says what
// members may read. It reports whether anything changed, and which ones failed.
func AskAgain(ctx context.Context, db bun.IDB, targetID int64, owner string) (changed bool, failed []MarkedDelivery, err error) {
	user := func(condition string) string {
		return "EXISTS (SELECT 1 FROM users u WHERE u.id = deliveries.user_id AND " + condition + ")"
	}
	sees := user("(u.is_admin OR " + memberTypes(db, "deliveries.type") + ` AND (
		EXISTS (SELECT 1 FROM product_members m WHERE m.user_id = u.id AND m.product_id = deliveries.product_id)
		OR EXISTS (SELECT 1 FROM products p JOIN product_group_members g ON g.product_group_id = p.product_group_id
			WHERE p.id = deliveries.product_id AND g.user_id = u.id)))`)
	states, err := collect(ctx, db, func(rows *sql.Rows) (State, error) {
		var m MarkedDelivery
		var state State
		err := rows.Scan(&state, &m.ID, &m.NotificationID, &m.Attempts)
		if state == Failed {
			failed = append(failed, m)
		}
		return state, err
	}, "UPDATE deliveries SET masked = true, state = CASE WHEN "+sees+" THEN state ELSE 'failed' END,"+
		" last_error = CASE WHEN "+sees+" THEN last_error ELSE $3 END WHERE target_id = $1 AND state = 'pending' AND user_id > 0"+
		" AND (NOT "+sees+" OR NOT masked AND NOT "+user("u.is_admin")+") AND EXISTS (SELECT 1 FROM targets WHERE id = $1 AND owner = $2)"+
		" RETURNING state, id, notification_id, attempts", targetID, owner, UnseenReason)
	return len(states) > 0, failed, err
}

// MaxDigest is how many deliveries one digest holds at the most.
const MaxDigest = 50_000

// PendingIDs lists what waits for a target and belongs to no NetDigest, at most MaxDigest deliveries: all of it, or what belongs to the digest with the
// number batch.
func PendingIDs(ctx context.Context, db bun.IDB, targetID, batch int64) ([]int64, error) {
	live := bun.Safe(liveNotifications("deliveries"))
	return queryAll[int64](ctx, db, pendingIDs, args{"target": targetID, "batch": batch, "live": live, "limit": MaxDigest})
}

// DeliverySet is the deliveries that one message stands for: a single one, or those of a digest, all of one target.
type DeliverySet struct {
	TargetID int64
	IDs      []int64 // of deliveries
	Digest   bool
	All      bool   // everything that waits, when the target is given up
	batch    *int64 // of a part: the number of the whole digest
}

// these is the condition that hits the deliveries of t under the name alias, and its arguments, numbered from 1.
func (t DeliverySet) these(db bun.IDB, alias string) (string, []any) {
	in, arg := anyOf(db, alias+".id", 2, t.IDs)
	return alias + ".target_id = $1 AND " + in, []any{t.TargetID, arg}
}

// partSize is how many deliveries one transaction changes: more may take longer than anything that is recorded may.
const partSize = 10_000

// Parts splits t into sets of deliveries that are recorded one after the other.
func (t DeliverySet) Parts() []DeliverySet {
	parts := make([]DeliverySet, 0, len(t.IDs)/partSize+1)
	for ids := range slices.Chunk(t.IDs, partSize) {
		part := t
		part.IDs, part.batch = ids, t.batchNumber()
		parts = append(parts, part)
	}
	return parts
}

// batchNumber is the number of a digest: its last delivery. A single delivery has none.
func (t DeliverySet) batchNumber() *int64 {
	switch {
	case t.batch != nil:
		return t.batch
	case t.Digest && len(t.IDs) > 0:
		return &t.IDs[len(t.IDs)-1]
	}
	return nil
}

// KeepBatch notes that the next message is the digest t again, whose deliveries MarkTried has marked, where owner still has the
// lease.
func KeepBatch(ctx context.Context, db bun.IDB, t DeliverySet, owner string) error {
	_, err := execCount(ctx, db, "UPDATE targets SET batch = $3 WHERE id = $1 AND owner = $2", t.TargetID, owner, t.batchNumber())
	return err
}

// MustNotifyFailure reports whether the failure of t for good must be notified: not all of t are failures of Tocsin itself, and no
// failure of the target was notified since its last success. From now on one was: the caller must report it in the same
// transaction. It is false where owner has lost the lease.
func MustNotifyFailure(ctx context.Context, tx bun.Tx, t DeliverySet, owner string) (bool, error) {
	these, args := t.these(tx, "d")
	query := "SELECT 1 FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE NOT n.own AND " + these
	if t.All {
		query, args = "SELECT 1 FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE NOT n.own AND d.target_id = $1 AND d.state = 'pending'", args[:1]
	}
	n, err := execCount(ctx, tx, fmt.Sprintf("UPDATE targets SET failure_notified = true WHERE id = $1 AND owner = $%d AND NOT failure_notified AND EXISTS (%s)", len(args)+1, query), append(args, owner)...)
	return n > 0, err
}

// TargetSucceeded clears what counts failures and the digest that was tried again, where owner still has the lease.
func TargetSucceeded(ctx context.Context, db bun.IDB, id int64, owner string) error {
	_, err := execCount(ctx, db, "UPDATE targets SET failures = 0, failing_since = NULL, failure_notified = false, batch = NULL WHERE id = $1 AND owner = $2", id, owner)
	return err
}

// EndBatch ends the digest that is tried again without a success, where owner still has the lease.
func EndBatch(ctx context.Context, db bun.IDB, id int64, owner string) error {
	_, err := execCount(ctx, db, "UPDATE targets SET batch = NULL WHERE id = $1 AND owner = $2", id, owner)
	return err
}

// nobodyTried is how long after a target was due a try comes too late: we were down ourselves, and the target does not fail
// for all that time.
const nobodyTried = 10 * time.Minute

// TargetFailed counts a failure: nothing is sent to the target for wait. It returns whether it fails for giveUp or longer, by the
// database's clock and without the time in which nobody tried; ErrNotFound where owner has lost the lease.
func TargetFailed(ctx context.Context, db bun.IDB, id int64, owner string, wait, giveUp time.Duration) (giveUpNow bool, err error) {
	err = raw(db).QueryRowContext(ctx, `UPDATE targets SET failures = failures + 1,
		failing_since = CASE WHEN failing_since IS NULL OR next_at < `+later(db, -nobodyTried)+` THEN `+now(db)+` ELSE failing_since END,
		next_at = `+later(db, wait)+` WHERE id = $1 AND owner = $2 RETURNING failing_since <= `+later(db, -giveUp), id, owner).Scan(&giveUpNow)
	return giveUpNow, Translate(err)
}

// GiveUpTarget fails the next ones that wait for a target, where owner still has the lease, which it prolongs, and returns
// them. With the last ones, and where the lease is lost, it is done: then the lease is ended.
func GiveUpTarget(ctx context.Context, tx bun.Tx, id int64, owner, reason string) (failed []MarkedDelivery, done bool, err error) {
	mine, err := RenewTarget(ctx, tx, id, owner)
	if err != nil || !mine {
		return nil, !mine, err
	}
	failed, err = queryAll[MarkedDelivery](ctx, tx, markGivenUp, args{"target": id, "reason": reason, "limit": partSize})
	if err != nil || len(failed) == partSize {
		return failed, false, err
	}
	_, err = execCount(ctx, tx, "UPDATE targets SET failures = 0, failing_since = NULL, batch = NULL, next_at = "+now(tx)+", owner = NULL WHERE id = $1", id)
	return failed, true, err
}

// DigestGroup is how many deliveries of a digest have the same type, event and severity.
type DigestGroup struct {
	Type     rule.Type
	Event    rule.Event
	Severity rule.Severity // empty for what has none
	Count    int
}

// Digest is what a digest is about.
type Digest struct {
	Groups   []DigestGroup
	Products int            // different products
	Named    []Notification // gates and exceptions, oldest first, cut at the limit
	Worst    []Notification // observations and titles, the worst first, cut at the limit
}

// DigestOf reads what a digest is about; at most limit notifications of each sort are named.
func DigestOf(ctx context.Context, db bun.IDB, t DeliverySet, limit int) (*Digest, error) {
	these, args := t.these(db, "d")
	members := " FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE " + these + " AND d.state = 'pending'"
	out := new(Digest)
	var err error
	out.Groups, err = collect(ctx, db, func(rows *sql.Rows) (g DigestGroup, err error) {
		var event, severity sql.NullString
		err = rows.Scan(&g.Type, &event, &severity, &g.Count)
		g.Event, g.Severity = rule.Event(event.String), rule.Severity(severity.String)
		return g, err
	}, "SELECT n.type, n.event, n.after_severity, count(*)"+members+" GROUP BY n.type, n.event, n.after_severity ORDER BY 1, 2, 3", args...)
	if err != nil || len(out.Groups) == 0 {
		return out, err
	}
	if err := raw(db).QueryRowContext(ctx, "SELECT count(DISTINCT n.product_id)"+members, args...).Scan(&out.Products); err != nil {
		return nil, Translate(err)
	}
	const isNamed = "(n.type NOT IN ('observation', 'observation_title'))"
	ids, err := collect(ctx, db, scanID, `SELECT id FROM (SELECT n.id, `+isNamed+` AS named, row_number() OVER (PARTITION BY `+isNamed+` ORDER BY
		CASE WHEN `+isNamed+` THEN 0 ELSE `+severityRank("n.after_severity")+` END,
		CASE WHEN n.event = 'dropped' THEN 1 ELSE 0 END, coalesce(n.after_priority, 100), n.id) AS place`+members+`) AS ranked
		WHERE place <= $3 ORDER BY named, place`, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	var list []Notification
	if err := db.NewSelect().Model(&list).Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, Translate(err)
	}
	byID := make(map[int64]Notification, len(list))
	for _, n := range list {
		byID[n.ID] = n
	}
	for _, id := range ids {
		n, found := byID[id]
		switch {
		case !found:
		case n.Type == rule.TypeObservation || n.Type == rule.TypeObservationTitle:
			out.Worst = append(out.Worst, n)
		default:
			out.Named = append(out.Named, n)
		}
	}
	return out, nil
}
