package dbmodel

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// hiddenAtOnce is how many notifications one transaction of DeleteNotificationsByFilter hides.
const hiddenAtOnce = 5_000

// DeleteNotificationsByFilter deletes, of the notifications that f wants, those about products of which v is an owner;
// an administrator counts as an owner everywhere. It returns how many it deleted. Notifications that come meanwhile
// stay. Once it returns, nobody sees the deleted ones and none of their pending deliveries is sent; a worker removes
// them. f.Behind and f.OldestFirst are ignored.
//
// It runs in several short transactions: where it fails, a part may be deleted.
func DeleteNotificationsByFilter(ctx context.Context, db *DB, v Viewer, f NotificationFilter) (deleted int, err error) {
	last, err := queryOne[int64](ctx, db, `SELECT max(id) FROM notifications`, nil)
	if err != nil {
		return 0, err
	}
	f.OldestFirst, f.Behind = true, nil
	for {
		var found []Position
		err := db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
			if found, err = deletable(ctx, tx, v, f, last, hiddenAtOnce); err != nil || len(found) == 0 {
				return err
			}
			n, err := hideNotifications(ctx, tx, found)
			deleted += n
			return err
		})
		if err != nil || len(found) < hiddenAtOnce {
			return deleted, err
		}
		f.Behind = &found[len(found)-1]
	}
}

// CountDeletable is how many notifications DeleteNotificationsByFilter would delete now.
func CountDeletable(ctx context.Context, db bun.IDB, v Viewer, f NotificationFilter) (n int, err error) {
	f.Behind = nil
	err = f.entitled(db, v).ColumnExpr("count(*)").Scan(ctx, &n)
	return n, Translate(err)
}

// entitled selects, of the notifications that f wants, those that v may delete as an owner, in no order and without
// columns.
func (f *NotificationFilter) entitled(db bun.IDB, v Viewer) *bun.SelectQuery {
	q := db.NewSelect().TableExpr("notifications" + indexed(db, f.index())).Apply(f.choice).
		Where(EntitledNotifications(db, v, "notifications", rule.Owner))
	switch {
	case f.Viewed == nil:
		return q
	case *f.Viewed:
		return q.Where(viewedBy(db, v.UserID, "notifications"))
	}
	return q.Where("NOT " + viewedBy(db, v.UserID, "notifications"))
}

// deletable lists the next limit notifications that f wants and v may delete, up to the id last.
func deletable(
	ctx context.Context, tx bun.Tx, v Viewer, f NotificationFilter, last int64, limit int,
) ([]Position, error) {
	var list []Position
	q := f.entitled(tx, v).Column("id", "created_at").Where("id <= ?", last).Order("created_at", "id").Limit(int64(limit))
	return list, Translate(q.Scan(ctx, &list))
}

const hideNotificationRows = `
	INSERT INTO deleted_notifications (id) SELECT i.id FROM @notifications AS i WHERE true ORDER BY i.id
	ON CONFLICT (id) DO NOTHING`

// hideNotifications hides notifications until they are removed, and returns how many of them were not hidden before.
// Two callers that hide the same ones wait for each other in the order of the ids.
func hideNotifications(ctx context.Context, tx bun.Tx, list []Position) (int, error) {
	n, err := exec(ctx, tx, hideNotificationRows,
		args{"notifications": rows{column(list, "id", "bigint", func(p *Position) int64 { return p.ID })}})
	if err != nil {
		return 0, err
	}
	return int(n), noteDeletion(ctx, tx)
}

const (
	lockNotifications = `SELECT id FROM notifications WHERE id = ANY (@ids) ORDER BY id FOR UPDATE`

	deleteDeliveriesOf = `DELETE FROM deliveries WHERE notification_id = ANY (@ids)`
)

// DeleteNotifications deletes notifications with their deliveries and views. Whether they may be deleted is the
// caller's business, see NotificationRights.
func DeleteNotifications(ctx context.Context, tx bun.Tx, ids []int64) error {
	ids, err := queryAll[int64](ctx, tx, lockNotifications, args{"ids": numbers(ids)})
	if err != nil || len(ids) == 0 {
		return err
	}
	for _, statement := range []string{deleteDeliveriesOf, `DELETE FROM notifications WHERE id = ANY (@ids)`} {
		if _, err := exec(ctx, tx, statement, args{"ids": numbers(ids)}); err != nil {
			return err
		}
	}
	return noteDeletion(ctx, tx)
}

// noteDeletion notes for InboxStateOf that notifications were deleted.
func noteDeletion(ctx context.Context, tx bun.Tx) error {
	_, err := exec(ctx, tx, `UPDATE ticks SET next_at = clock_timestamp() WHERE name = 'deletion'`, nil)
	return err
}

// liveNotifications is a condition that a notification is not deleted. alias is the name of the table of notifications
// in the statement, unless it is d or deliveries: that is the table of deliveries, and the condition is about the
// notification of a delivery. Where nothing is being deleted the condition costs nothing, and it never changes the
// plan of a statement.
func liveNotifications(alias string) string {
	id := alias + ".id"
	if alias == "d" || alias == "deliveries" {
		id = alias + ".notification_id"
	}
	return fmt.Sprintf(`((NOT EXISTS (SELECT 1 FROM deletions) OR NOT EXISTS (SELECT 1 FROM deletions gone
			WHERE gone.product_id = %[1]s.product_id AND gone.until_notification >= %[2]s))
		AND (NOT EXISTS (SELECT 1 FROM deleted_notifications) OR NOT EXISTS (
			SELECT 1 FROM deleted_notifications gone WHERE gone.id = %[2]s)))`,
		alias, id)
}

// liveObservations is the condition that an observation is not deleted.
func liveObservations(alias string) string {
	return fmt.Sprintf(`(NOT EXISTS (SELECT 1 FROM deletions) OR NOT EXISTS (SELECT 1 FROM deletions gone
		WHERE gone.product_id = %[1]s.product_id AND gone.generation = %[1]s.generation))`, alias)
}

// liveEvents is the condition that an event, a row of outbox, is not deleted. The statement uses no alias for outbox.
const liveEvents bun.Safe = `(NOT EXISTS (SELECT 1 FROM deletions) OR NOT EXISTS (SELECT 1 FROM deletions gone
	WHERE gone.product_id = outbox.product_id AND gone.until_event >= outbox.id))`
