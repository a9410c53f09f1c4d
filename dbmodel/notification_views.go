package dbmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// viewedBy is the condition that a user has viewed a notification; alias is its table in the statement.
func viewedBy(db bun.IDB, userID int64, alias string) string {
	return fmt.Sprintf("(%s.created_at < %s OR %s)", alias, viewedUntil(db, userID), viewedByItself(userID, alias))
}

// viewedUntil is the time of users.viewed_until. It is the same for all rows, so that the index of created_at serves it. Who
// is nobody has viewed nothing.
func viewedUntil(db bun.IDB, userID int64) bun.Safe {
	never := "'epoch'::timestamptz"
	if isSQLite(db) {
		never = "0"
	}
	return bun.Safe(fmt.Sprintf("coalesce((SELECT viewed_until FROM users WHERE id = %d), %s)", userID, never))
}

// viewedByItself is the condition that a user has a row for the notification in notification_views.
func viewedByItself(userID int64, alias string) bun.Safe {
	return bun.Safe(fmt.Sprintf("EXISTS (SELECT 1 FROM notification_views v WHERE v.user_id = %d AND v.notification_id = %s.id)", userID, alias))
}

// ViewedBy returns which of the given notifications v has viewed.
func ViewedBy(ctx context.Context, db bun.IDB, v Viewer, ids []int64) (map[int64]bool, error) {
	in, arg := anyOf(db, "n.id", 1, ids)
	list, err := collect(ctx, db, scanID, "SELECT n.id FROM notifications n WHERE "+in+" AND "+viewedBy(db, v.UserID, "n"), arg)
	out := make(map[int64]bool, len(list))
	for _, id := range list {
		out[id] = true
	}
	return out, err
}

// MarkViewed marks those of the given notifications as viewed that v sees.
func MarkViewed(ctx context.Context, tx bun.Tx, v Viewer, ids []int64) error {
	if there, err := countViewsChanged(ctx, tx, v); err != nil || !there {
		return err
	}
	in, arg := anyOf(tx, "n.id", 2, ids)
	lock := forKeyShare(tx) // one that is deleted in this moment is passed over
	if lock != "" {
		lock += " OF n"
	}
	_, err := execCount(ctx, tx, "INSERT INTO notification_views (user_id, notification_id) SELECT $1, n.id FROM notifications n WHERE "+in+
		" AND "+VisibleNotifications(tx, v, "n")+" AND NOT "+viewedBy(tx, v.UserID, "n")+" ORDER BY n.id"+lock+" ON CONFLICT DO NOTHING", v.UserID, arg)
	return err
}

// MarkViewedUntil marks what was created before until as viewed by v, but nothing that comes from now on.
func MarkViewedUntil(ctx context.Context, tx bun.Tx, v Viewer, until time.Time) error {
	if there, err := countViewsChanged(ctx, tx, v); err != nil || !there {
		return err
	}
	_, err := execCount(ctx, tx, "UPDATE users SET viewed_until = CASE WHEN $2 < "+now(tx)+" THEN $2 ELSE "+now(tx)+" END WHERE id = $1 AND viewed_until < $2",
		v.UserID, timeArg(tx, until))
	if err != nil {
		return err
	}
	_, err = execCount(ctx, tx, `DELETE FROM notification_views WHERE user_id = $1 AND notification_id IN (
		SELECT n.id FROM notification_views v JOIN notifications n ON n.id = v.notification_id
		WHERE v.user_id = $1 AND n.created_at < (SELECT viewed_until FROM users WHERE id = $1))`, v.UserID)
	return err
}

// countViewsChanged keeps the user from being deleted until the transaction ends; it returns false where there is none.
func countViewsChanged(ctx context.Context, tx bun.Tx, v Viewer) (bool, error) {
	n, err := execCount(ctx, tx, "UPDATE users SET views_changed = views_changed + 1 WHERE id = $1", v.UserID)
	return n > 0, err
}

// UnreadCount is how many notifications v sees and has not viewed; where there are more than most, it is most. Without a
// most, 0, it counts them all.
func UnreadCount(ctx context.Context, db bun.IDB, v Viewer, most int) (n int, err error) {
	// A statement of its own: the planner must know the time to see how few there are behind it.
	var until instant
	if err := raw(db).QueryRowContext(ctx, "SELECT viewed_until FROM users WHERE id = $1", v.UserID).Scan(&until); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil // who is gone sees nothing
		}
		return 0, Translate(err)
	}
	index := "notifications_created_at"
	if v.isMember() {
		index = "notifications_product_id"
	}
	since := "n.created_at >= $2 AND " + VisibleNotifications(db, v, "n")
	all := "FROM notifications n" + indexed(db, index) + " WHERE " + since
	// What was viewed by itself is little beside them all: to take it off costs less than to look at each of them.
	query := "SELECT (SELECT count(*) " + all + ") - (SELECT count(*) FROM notifications n WHERE " +
		among(db, "n.id", "SELECT notification_id FROM notification_views WHERE user_id = $1") + " AND " + since + ")"
	if most > 0 {
		query = fmt.Sprintf(`SELECT count(*) FROM (SELECT 1 %s
			AND NOT EXISTS (SELECT 1 FROM notification_views v WHERE v.user_id = $1 AND v.notification_id = n.id) LIMIT %d) AS first`, all, most)
	}
	err = raw(db).QueryRowContext(ctx, query, v.UserID, timeArg(db, until.Time)).Scan(&n)
	return n, Translate(err)
}

// DeleteNotifications deletes notifications with their deliveries and marks. Whether the caller may has been asked.
func DeleteNotifications(ctx context.Context, tx bun.Tx, ids []int64) error {
	in, arg := anyOf(tx, "id", 1, ids)
	n, err := execCount(ctx, tx, "DELETE FROM notifications WHERE "+in, arg)
	if err == nil && n > 0 {
		err = noteDeletion(ctx, tx)
	}
	return err
}

// InboxState changes when the count of unread notifications of somebody may have changed; values are only compared. A change
// that it does not show, for instance of memberships, is found by counting.
type InboxState struct {
	All   string           // of everybody
	Users map[int64]string // by id; a user that is gone is left out
}

// InboxStateOf returns the state of the inboxes of users, at a small price however many notifications there are.
func InboxStateOf(ctx context.Context, db bun.IDB, userIDs []int64) (s InboxState, err error) {
	var last int64
	var deletion instant
	if err := raw(db).QueryRowContext(ctx, "SELECT coalesce((SELECT max(id) FROM notifications), 0), (SELECT next_at FROM ticks WHERE name = 'deletion')").
		Scan(&last, &deletion); err != nil {
		return s, Translate(err)
	}
	s = InboxState{All: fmt.Sprintf("%d %d", last, deletion.UnixMicro()), Users: make(map[int64]string, len(userIDs))}
	in, arg := anyOf(db, "id", 1, userIDs)
	_, err = collect(ctx, db, func(rows *sql.Rows) (struct{}, error) {
		var id, changed int64
		var until instant
		var admin bool
		err := rows.Scan(&id, &changed, &until, &admin)
		s.Users[id] = fmt.Sprintf("%d %d %t", changed, until.UnixMicro(), admin)
		return struct{}{}, err
	}, "SELECT id, views_changed, viewed_until, is_admin FROM users WHERE "+in, arg)
	return s, err
}
