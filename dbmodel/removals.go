package dbmodel

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// How many rows one call of RemoveDeleted, one part, removes at most: its locks are held for some milliseconds.
const (
	notificationsPerPart = 500
	productsPerPart      = 500   // taken out of a product group
	rowsPerPart          = 2_500 // of any other table

	// triedDeletions is how many deletions one call looks at: it goes on to the next one where other transactions have
	// locked all rows that are left of a deletion.
	triedDeletions = 20
)

// RemovalTime is how long no other task for the removal is enqueued after one was enqueued, and after each sign of
// life of the worker that removes.
const RemovalTime = 10 * time.Second

// deletion is a row of deletions.
type deletion struct {
	ID                int64
	ProductID         int64
	Generation        int64
	UntilNotification int64
	UntilEvent        int64
	UserID            int64
	ProductGroupID    int64
}

// nextDeletion keeps other calls of RemoveDeleted from the deletion: each works on one of its own.
const nextDeletion = `SELECT * FROM deletions WHERE id > @after ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED`

// RemoveDeleted removes one part of what is deleted, and returns how many rows that were; 0: nothing is left, or
// others have locked the rest of all deletions that it looked at. It passes over each row that is locked, so that it
// can't be part of a deadlock, and may run several times at once. Between any two parts what is left stays hidden.
func RemoveDeleted(ctx context.Context, tx bun.Tx) (int64, error) {
	n, err := removeListed(ctx, tx)
	if err != nil || n > 0 {
		return n, err
	}
	var d deletion
	for range triedDeletions {
		d, err = queryOne[deletion](ctx, tx, nextDeletion, args{"after": d.ID})
		if errors.Is(err, ErrNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if n, err := d.remove(ctx, tx); err != nil || n > 0 {
			return n, err
		}
	}
	return 0, nil
}

// remove removes a part of what is left of a product, a user or a product group.
func (d *deletion) remove(ctx context.Context, tx bun.Tx) (int64, error) {
	switch {
	case d.UserID != 0:
		return d.removeUser(ctx, tx)
	case d.ProductGroupID != 0:
		return d.removeProductGroup(ctx, tx)
	}
	return d.removeProduct(ctx, tx)
}

const removeListedIDs = `
	DELETE FROM deleted_notifications WHERE id = ANY (@ids)
	AND NOT EXISTS (SELECT 1 FROM notifications WHERE notifications.id = deleted_notifications.id)`

// removeListed removes a part of the notifications in deleted_notifications, which users have deleted.
func removeListed(ctx context.Context, tx bun.Tx) (int64, error) {
	ids, err := queryAll[int64](ctx, tx,
		"SELECT id FROM deleted_notifications ORDER BY id LIMIT @limit FOR UPDATE SKIP LOCKED",
		args{"limit": notificationsPerPart})
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	there, err := queryAll[int64](ctx, tx,
		"SELECT id FROM notifications WHERE id = ANY (@ids) ORDER BY id FOR UPDATE SKIP LOCKED",
		args{"ids": numbers(ids)})
	if err != nil {
		return 0, err
	}
	removed, err := removeNotifications(ctx, tx, there)
	if err != nil {
		return 0, err
	}
	n, err := exec(ctx, tx, removeListedIDs, args{"ids": numbers(ids)})
	return removed + n, err
}

const (
	removeDeliveries = `
		DELETE FROM deliveries WHERE id IN (
			SELECT id FROM deliveries WHERE notification_id = ANY (@ids) ORDER BY id LIMIT @limit FOR UPDATE SKIP LOCKED)`
	removeViews = `
		DELETE FROM notification_views WHERE (user_id, notification_id) IN (
			SELECT user_id, notification_id FROM notification_views WHERE notification_id = ANY (@ids)
			ORDER BY user_id, notification_id LIMIT @limit FOR UPDATE SKIP LOCKED)`
	removeBareNotifications = `
		DELETE FROM notifications WHERE id = ANY (@ids)
		AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = notifications.id)
		AND NOT EXISTS (SELECT 1 FROM notification_views v WHERE v.notification_id = notifications.id)`
)

// removeNotifications removes notifications that the caller has locked, as far as their deliveries and their rows in
// notification_views fit into one part.
func removeNotifications(ctx context.Context, tx bun.Tx, ids []int64) (removed int64, err error) {
	if len(ids) == 0 {
		return 0, nil
	}
	for _, statement := range []string{removeDeliveries, removeViews} {
		n, err := exec(ctx, tx, statement, args{"ids": numbers(ids), "limit": rowsPerPart})
		if removed += n; err != nil || n == rowsPerPart {
			return removed, err
		}
	}
	n, err := exec(ctx, tx, removeBareNotifications, args{"ids": numbers(ids)})
	return removed + n, err
}

const (
	removeEvents = `
		DELETE FROM outbox WHERE id IN (
			SELECT id FROM outbox WHERE product_id = @product AND id <= @until ORDER BY id LIMIT @limit FOR UPDATE SKIP LOCKED)`
	notificationsOfProduct = `
		SELECT id FROM notifications INDEXED BY notifications_product_id WHERE product_id = @product AND id <= @until
		ORDER BY created_at, id LIMIT @limit FOR UPDATE SKIP LOCKED`
	removeObservations = `
		DELETE FROM observations WHERE id IN (
			SELECT id FROM observations WHERE product_id = @product AND generation = @generation
			ORDER BY id LIMIT @limit FOR UPDATE SKIP LOCKED)`
	endProductDeletion = `
		DELETE FROM deletions WHERE id = @id
		AND NOT EXISTS (SELECT 1 FROM outbox WHERE product_id = deletions.product_id AND id <= until_event)
		AND NOT EXISTS (SELECT 1 FROM notifications WHERE product_id = deletions.product_id AND id <= until_notification)
		AND NOT EXISTS (
			SELECT 1 FROM observations WHERE product_id = deletions.product_id AND generation = deletions.generation)`
)

// removeProduct removes a part of what is left of a product.
func (d *deletion) removeProduct(ctx context.Context, tx bun.Tx) (int64, error) {
	n, err := exec(ctx, tx, removeEvents, args{"product": d.ProductID, "until": d.UntilEvent, "limit": rowsPerPart})
	if err != nil || n > 0 {
		return n, err
	}
	ids, err := queryAll[int64](ctx, tx, notificationsOfProduct,
		args{"product": d.ProductID, "until": d.UntilNotification, "limit": notificationsPerPart})
	if err != nil {
		return 0, err
	}
	if n, err = removeNotifications(ctx, tx, ids); err != nil || n > 0 {
		return n, err
	}
	return d.removePart(ctx, tx, removeObservations,
		args{"product": d.ProductID, "generation": d.Generation, "limit": rowsPerPart}, endProductDeletion)
}

// removePart runs a statement that removes a part and, where nothing is left, end, which ends the deletion.
func (d *deletion) removePart(ctx context.Context, tx bun.Tx, statement string, a args, end string) (int64, error) {
	n, err := exec(ctx, tx, statement, a)
	if err != nil || n > 0 {
		return n, err
	}
	return exec(ctx, tx, end, args{"id": d.ID})
}

const (
	removeViewsOfUser = `
		DELETE FROM notification_views WHERE user_id = @user AND notification_id IN (
			SELECT notification_id FROM notification_views WHERE user_id = @user
			ORDER BY notification_id LIMIT @limit FOR UPDATE SKIP LOCKED)`
	endUserDeletion = `
		DELETE FROM deletions WHERE id = @id
		AND NOT EXISTS (SELECT 1 FROM notification_views v WHERE v.user_id = deletions.user_id)`
)

// removeUser removes a part of the rows of a user in notification_views.
func (d *deletion) removeUser(ctx context.Context, tx bun.Tx) (int64, error) {
	return d.removePart(ctx, tx, removeViewsOfUser, args{"user": d.UserID, "limit": rowsPerPart}, endUserDeletion)
}

const (
	takeOutProducts = `
		UPDATE products SET product_group_id = NULL WHERE id IN (
			SELECT id FROM products WHERE product_group_id = @group ORDER BY id LIMIT @limit FOR NO KEY UPDATE SKIP LOCKED)`
	endProductGroupDeletion = `
		DELETE FROM deletions WHERE id = @id
		AND NOT EXISTS (SELECT 1 FROM products p WHERE p.product_group_id = deletions.product_group_id)`
)

// removeProductGroup takes a part of the products out of a product group.
func (d *deletion) removeProductGroup(ctx context.Context, tx bun.Tx) (int64, error) {
	return d.removePart(ctx, tx, takeOutProducts, args{"group": d.ProductGroupID, "limit": productsPerPart},
		endProductGroupDeletion)
}

// TakeOutProducts takes the products that still name a deleted product group out of it, in parts, so that
// AddProductGroup finds few or none of them.
func TakeOutProducts(ctx context.Context, db *DB, group int64) error {
	list, err := queryAll[deletion](ctx, db, "SELECT * FROM deletions WHERE product_group_id = @group",
		args{"group": group})
	if err != nil {
		return err
	}
	for _, d := range list {
		for n := int64(1); n > 0; {
			err := db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
				n, err = d.removeProductGroup(ctx, tx)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// ClaimRemoval reports whether it is the caller that enqueues a task for the removal: nobody has in the last
// RemovalTime, and no worker is at it.
func ClaimRemoval(ctx context.Context, db bun.IDB) (bool, error) {
	return Tick(ctx, db, "removal", RemovalTime)
}

// HoldRemoval says that a worker removes what is deleted: nobody enqueues a task for it in the next RemovalTime.
func HoldRemoval(ctx context.Context, db bun.IDB) error {
	_, err := exec(ctx, db, "UPDATE ticks SET next_at = clock_timestamp() + @time WHERE name = 'removal'",
		args{"time": RemovalTime})
	return err
}

// ReleaseRemoval says that no worker removes what is deleted any more: the next task may be enqueued.
func ReleaseRemoval(ctx context.Context, db bun.IDB) error {
	_, err := exec(ctx, db, "UPDATE ticks SET next_at = clock_timestamp() WHERE name = 'removal'", nil)
	return err
}
