package dbmodel

import (
	"context"

	"github.com/uptrace/bun"
)

// paused is an expression that notifications of a product or a group, the table alias, are paused; false where there is none.
func paused(db bun.IDB, alias string) string {
	return "coalesce(" + alias + ".notification_paused_until > " + now(db) + " AND coalesce(" + alias + ".notification_paused_from <= " +
		now(db) + ", true), false)"
}

// It steps from product to product through the index of what is held back, however much there is of each.
const endedPauses = `
	WITH RECURSIVE held(id) AS (
		SELECT min(product_id) FROM notifications WHERE held_back
		UNION ALL
		SELECT (SELECT min(product_id) FROM notifications WHERE held_back AND product_id > held.id) FROM held WHERE held.id IS NOT NULL
	)
	SELECT p.id FROM held JOIN products p ON p.id = held.id LEFT JOIN product_groups g ON g.id = p.product_group_id
	WHERE NOT @product AND NOT @group ORDER BY p.id`

// EndedPauses lists the products that have notifications which a pause held back, and are not paused any more.
func EndedPauses(ctx context.Context, db bun.IDB) ([]int64, error) {
	return queryAll[int64](ctx, db, endedPauses, args{"product": bun.Safe(paused(db, "p")), "group": bun.Safe(paused(db, "g"))})
}

const (
	nextNumber = `
		UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'notifications'`

	release = `
		UPDATE notifications SET held_back = false, released = (SELECT @number)
		WHERE held_back AND product_id = ANY (@products) AND id <= @through`
)

// Release ends the wait of what a pause held back of products, up to a number, for the schedules, too. It returns how many
// notifications these are; 0 where somebody else did so before.
func Release(ctx context.Context, tx bun.Tx, products []int64, through int64) (int64, error) {
	number := "nextval('notifications_id_seq')"
	if isSQLite(tx) {
		if _, err := exec(ctx, tx, nextNumber, nil); err != nil {
			return 0, err
		}
		number = lastNumber(tx)
	}
	return exec(ctx, tx, release, args{"number": bun.Safe(number), "products": numbers(products), "through": through})
}
