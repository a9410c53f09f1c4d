package dbmodel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// viewedBy is the condition that a user has viewed a notification; alias is its table in the statement.
func viewedBy(db bun.IDB, userID int64, alias string) string {
	return fmt.Sprintf("(%s.created_at < %s OR %s)", alias, viewedUntil(db, userID), hasViewRow(userID, alias))
}

// viewedUntil is the time of users.viewed_until. It is the same for all rows, so that the index of created_at serves
// it. A viewer without a row in users has viewed nothing.
func viewedUntil(db bun.IDB, userID int64) bun.Safe {
	never := "'epoch'::timestamptz"
	if isSQLite(db) {
		never = "0"
	}
	return bun.Safe(fmt.Sprintf("coalesce((SELECT viewed_until FROM users WHERE id = %d), %s)", userID, never))
}

// hasViewRow is the condition that a user has a row for the notification in notification_views.
func hasViewRow(userID int64, alias string) bun.Safe {
	const viewed = "EXISTS (SELECT 1 FROM notification_views v WHERE v.user_id = %d AND v.notification_id = %s.id)"
	return bun.Safe(fmt.Sprintf(viewed, userID, alias))
}

const viewedOf = `SELECT n.id FROM notifications n WHERE n.id = ANY (@ids) AND @viewed`

// ViewedBy returns which of the given notifications v has viewed.
func ViewedBy(ctx context.Context, db bun.IDB, v Viewer, ids []int64) (map[int64]bool, error) {
	list, err := queryAll[int64](ctx, db, viewedOf,
		args{"ids": numbers(ids), "viewed": bun.Safe(viewedBy(db, v.UserID, "n"))})
	out := make(map[int64]bool, len(list))
	for _, id := range list {
		out[id] = true
	}
	return out, err
}

// markViewed passes over a notification that is deleted in this moment.
const markViewed = `
	INSERT INTO notification_views (user_id, notification_id)
	SELECT @user, n.id FROM notifications n WHERE n.id = ANY (@ids) AND @visible AND NOT @viewed
	ORDER BY n.id FOR KEY SHARE OF n ON CONFLICT DO NOTHING`

// MarkViewed marks as viewed those of the given notifications that v sees.
func MarkViewed(ctx context.Context, tx bun.Tx, v Viewer, ids []int64) error {
	if there, err := noteViewsChange(ctx, tx, v); err != nil || !there {
		return err
	}
	_, err := exec(ctx, tx, markViewed, args{
		"user": v.UserID, "ids": numbers(ids),
		"visible": bun.Safe(VisibleNotifications(tx, v, "n")), "viewed": bun.Safe(viewedBy(tx, v.UserID, "n")),
	})
	return err
}

const setViewedUntil = `
	UPDATE users SET viewed_until = CASE
		WHEN @until::timestamptz < clock_timestamp() THEN @until ELSE clock_timestamp() END
	WHERE id = @user AND viewed_until < @until`

const deleteCoveredViews = `
	DELETE FROM notification_views WHERE user_id = @user AND notification_id IN (
		SELECT n.id FROM notification_views v JOIN notifications n ON n.id = v.notification_id
		WHERE v.user_id = @user AND n.created_at < (SELECT viewed_until FROM users WHERE id = @user))`

// MarkViewedUntil marks the notifications created before until as viewed by v, but none that comes from now on.
func MarkViewedUntil(ctx context.Context, tx bun.Tx, v Viewer, until time.Time) error {
	if there, err := noteViewsChange(ctx, tx, v); err != nil || !there {
		return err
	}
	if _, err := exec(ctx, tx, setViewedUntil, args{"user": v.UserID, "until": until}); err != nil {
		return err
	}
	_, err := exec(ctx, tx, deleteCoveredViews, args{"user": v.UserID})
	return err
}

// noteViewsChange notes for InboxStateOf that the views of a user change, and keeps the user from being deleted
// until the transaction ends; it returns false where there is no such user.
func noteViewsChange(ctx context.Context, tx bun.Tx, v Viewer) (bool, error) {
	n, err := exec(ctx, tx, `UPDATE users SET views_changed = views_changed + 1 WHERE id = @user`, args{"user": v.UserID})
	return n > 0, err
}

// unreadCount subtracts the notifications that were viewed one by one. They are few beside all that came since
// viewed_until, so that this costs less than to look for the view of each notification.
const unreadCount = `
	SELECT (SELECT count(*) FROM notifications n @indexed WHERE n.created_at >= @until AND @visible)
		- (SELECT count(*) FROM notifications n WHERE @viewed AND n.created_at >= @until AND @visible)`

const unreadCountUpTo = `
	SELECT count(*) FROM (
		SELECT 1 FROM notifications n @indexed WHERE n.created_at >= @until AND @visible AND NOT @viewed LIMIT @most
	) AS first`

// UnreadCount is how many notifications v sees and has not viewed; where there are more than most, it is most. With a
// most of 0 it counts them all.
func UnreadCount(ctx context.Context, db bun.IDB, v Viewer, most int) (n int, err error) {
	// A statement of its own: the planner must know the time to see how few there are behind it.
	until, err := queryOne[time.Time](ctx, db, `SELECT viewed_until FROM users WHERE id = @user`, args{"user": v.UserID})
	if errors.Is(err, ErrNotFound) {
		return 0, nil // a user who is gone sees nothing
	}
	if err != nil {
		return 0, err
	}
	index := "notifications_created_at"
	if v.isMember() {
		index = "notifications_product_id"
	}
	statement, a := unreadCount, args{
		"until": until, "visible": bun.Safe(VisibleNotifications(db, v, "n")), "indexed": bun.Safe(indexed(db, index)),
		"viewed": bun.Safe(among(db, "n.id",
			fmt.Sprintf("SELECT notification_id FROM notification_views WHERE user_id = %d", v.UserID))),
	}
	if most > 0 {
		statement, a["viewed"], a["most"] = unreadCountUpTo, hasViewRow(v.UserID, "n"), most
	}
	return queryOne[int](ctx, db, statement, a)
}

// InboxState differs from an earlier one where the count of unread notifications of a user may have changed since;
// callers only compare its values. It does not cover every reason, for instance a change of memberships: callers must
// also count from time to time.
type InboxState struct {
	All   string           // the part that is the same for all users
	Users map[int64]string // by id; a user that is gone is left out
}

const inboxState = `
	SELECT coalesce((SELECT max(id) FROM notifications), 0) AS last,
		(SELECT next_at FROM ticks WHERE name = 'deletion') AS deletion`

const inboxStateOfUsers = `SELECT id, views_changed, viewed_until, is_admin FROM users WHERE id = ANY (@users)`

// InboxStateOf returns the state of the inboxes of users, at a small price however many notifications there are.
func InboxStateOf(ctx context.Context, db bun.IDB, userIDs []int64) (s InboxState, err error) {
	all, err := queryOne[struct {
		Last     int64
		Deletion time.Time
	}](ctx, db, inboxState, nil)
	if err != nil {
		return s, err
	}
	users, err := queryAll[struct {
		ID           int64
		ViewsChanged int64
		ViewedUntil  time.Time
		IsAdmin      bool
	}](ctx, db, inboxStateOfUsers, args{"users": numbers(userIDs)})
	s = InboxState{
		All: fmt.Sprintf("%d %d", all.Last, all.Deletion.UnixMicro()), Users: make(map[int64]string, len(users)),
	}
	for _, u := range users {
		s.Users[u.ID] = fmt.Sprintf("%d %d %t", u.ViewsChanged, u.ViewedUntil.UnixMicro(), u.IsAdmin)
	}
	return s, err
}
