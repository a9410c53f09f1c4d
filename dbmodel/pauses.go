package dbmodel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

const isPaused = `
	coalesce(@holder.notification_paused_until > clock_timestamp()
		AND coalesce(@holder.notification_paused_from <= clock_timestamp(), true), false)`

// paused is the condition that the notifications of a product or a group are paused; alias is its table in the
// statement. Where a product has no group, the condition for the group is false.
func paused(db bun.IDB, alias string) bun.Safe {
	return bun.Safe(compose(db, isPaused, args{"holder": bun.Safe(alias)}))
}

// productsToRelease steps from product to product through the index of notifications that are held back: it reads one
// entry for each product, however many notifications the product has.
const productsToRelease = `
	WITH RECURSIVE held(id) AS (
		SELECT min(product_id) FROM notifications WHERE held_back
		UNION ALL
		SELECT (SELECT min(product_id) FROM notifications WHERE held_back AND product_id > held.id)
		FROM held WHERE held.id IS NOT NULL
	)
	SELECT p.id FROM held JOIN products p ON p.id = held.id LEFT JOIN product_groups g ON g.id = p.product_group_id
	WHERE NOT @product AND NOT @group ORDER BY p.id`

// releasableProducts lists the products that have notifications which a pause held back, and are not paused any more.
func releasableProducts(ctx context.Context, db bun.IDB) ([]int64, error) {
	return queryAll[int64](ctx, db, productsToRelease,
		args{"product": paused(db, "p"), "group": paused(db, "g")})
}

// EndedPause is the common end of the pauses of some products: the notifications that these pauses held back go to the
// targets that would have received them.
type EndedPause struct {
	ID       int64
	Products []int64
	Through  int64 // the number up to which notifications belong to it
}

const (
	beginEndedPause = `
		INSERT INTO ended_pauses (products, through) VALUES (@products::jsonb, @through) ON CONFLICT DO NOTHING`

	unfinishedPauses = `SELECT id, products, through FROM ended_pauses`

	claimPauseTargets = `
		INSERT INTO ended_pause_targets (ended_pause_id, target_id)
		SELECT p.id, t.id FROM targets t JOIN ended_pauses p ON p.id = @id WHERE t.id = ANY (@targets) ORDER BY t.id
		ON CONFLICT DO NOTHING RETURNING target_id`

	deleteEndedPause = `DELETE FROM ended_pauses WHERE id = @id`
)

// unfinishedPause returns the end of pauses that has begun; nil where there is none.
func unfinishedPause(ctx context.Context, db bun.IDB) (*EndedPause, error) {
	row, err := queryOne[struct {
		ID       int64
		Products string
		Through  int64
	}](ctx, db, unfinishedPauses, nil)
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // as it says
	}
	if err != nil {
		return nil, err
	}
	p := &EndedPause{ID: row.ID, Through: row.Through}
	if err := json.Unmarshal([]byte(row.Products), &p.Products); err != nil {
		return nil, fmt.Errorf("read the end of a pause: %w", err)
	}
	return p, nil
}

// NextEndedPause returns the end of pauses to handle next: one that was begun before, else one that begins now; nil
// where no pause is over. settle bounds the wait for notifications that are being stored.
func NextEndedPause(ctx context.Context, db *DB, settle time.Duration) (*EndedPause, error) {
	p, err := unfinishedPause(ctx, db)
	if err != nil || p != nil {
		return p, err
	}
	products, err := releasableProducts(ctx, db)
	if err != nil || len(products) == 0 {
		return nil, err
	}
	through, err := SettledNumber(ctx, db, settle)
	if err != nil {
		return nil, err
	}
	_, err = exec(ctx, db, beginEndedPause, args{"products": jsonArg(products), "through": through})
	if err != nil {
		return nil, err
	}
	return unfinishedPause(ctx, db)
}

// ClaimTargets returns those of the given targets that have no message yet about the notifications held back, and
// notes that they have one: the caller stores that message in the same transaction. It returns none after Done.
func (p *EndedPause) ClaimTargets(ctx context.Context, tx bun.Tx, targets []int64) ([]int64, error) {
	return queryAll[int64](ctx, tx, claimPauseTargets, args{"id": p.ID, "targets": numbers(targets)})
}

// Done records that all targets have their message. From then on the notifications count for the slots of schedules.
func (p *EndedPause) Done(ctx context.Context, tx bun.Tx) error {
	if err := release(ctx, tx, p.Products, p.Through); err != nil {
		return err
	}
	_, err := exec(ctx, tx, deleteEndedPause, args{"id": p.ID})
	return err
}

const (
	nextNumber = `
		UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'notifications'`

	releaseHeldBack = `
		UPDATE notifications SET held_back = false, released = (SELECT @number)
		WHERE held_back AND product_id = ANY (@products) AND id <= @through`
)

// release ends the wait of the notifications of products that a pause held back, up to the number through, and gives
// them a new number, by which slots of schedules report them.
func release(ctx context.Context, tx bun.Tx, products []int64, through int64) error {
	number := "nextval('notifications_id_seq')"
	if isSQLite(tx) {
		if _, err := exec(ctx, tx, nextNumber, nil); err != nil {
			return err
		}
		number = lastNumber(tx)
	}
	_, err := exec(ctx, tx, releaseHeldBack,
		args{"number": bun.Safe(number), "products": numbers(products), "through": through})
	return err
}
