package dbmodel

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"
)

// OldNotifications returns the ids of up to limit notifications that were created before a time and have no pending delivery,
// the oldest first, beginning behind a position (nil: at the first); and the position of the last. It locks them and passes
// over those that somebody else has locked.
func OldNotifications(ctx context.Context, tx bun.Tx, before time.Time, behind *Position, limit int) ([]int64, *Position, error) {
	query := "SELECT n.id, n.created_at FROM notifications n WHERE n.created_at < $2" +
		" AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = n.id AND d.state = 'pending')"
	args := []any{limit, timeArg(tx, before)}
	if behind != nil {
		query += " AND (n.created_at, n.id) > ($3, $4)"
		args = append(args, timeArg(tx, behind.CreatedAt), behind.ID)
	}
	lock := ""
	if !isSQLite(tx) {
		lock = " FOR UPDATE OF n SKIP LOCKED"
	}
	list, err := collect(ctx, tx, func(rows *sql.Rows) (p Position, err error) {
		var at instant
		err = rows.Scan(&p.ID, &at)
		p.CreatedAt = at.Time
		return p, err
	}, query+" ORDER BY n.created_at, n.id LIMIT $1"+lock, args...)
	if err != nil || len(list) == 0 {
		return nil, behind, err
	}
	ids := make([]int64, len(list))
	for i, p := range list {
		ids[i] = p.ID
	}
	return ids, &list[len(list)-1], nil
}

// DeleteQuietNotifications deletes those of the given notifications that have no pending delivery, with their deliveries and
// marks, and returns how many that were. The caller holds them: a resend that came before shows here.
func DeleteQuietNotifications(ctx context.Context, tx bun.Tx, ids []int64) (int64, error) {
	in, arg := anyOf(tx, "id", 1, ids)
	return execCount(ctx, tx, "DELETE FROM notifications WHERE "+in+
		" AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = notifications.id AND d.state = 'pending')", arg)
}

// DeleteOldSuppressions forgets counts of held-back exceptions that nobody asked for in age.
func DeleteOldSuppressions(ctx context.Context, db bun.IDB, age time.Duration) (int64, error) {
	return execCount(ctx, db, "DELETE FROM suppressions WHERE since < "+later(db, -age))
}
