package dbmodel

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// FailingTarget is a target that took no message when it was tried last.
type FailingTarget struct {
	ID        int64
	Channel   rule.Channel
	Address   []byte     // sealed
	Since     *time.Time // nil: nothing is tried any more, its deliveries failed for good
	NextAt    *time.Time // the next try; nil: there is none
	Waiting   int        // deliveries
	Failed    int
	LastError string // of the newest delivery that has one
	Entitled  bool   // the one who asks has the role needed for at least one of these deliveries
}

// isFailing is the condition that a target t fails: it is tried again, or it failed for good and took nothing since.
const isFailing = "(t.failing_since IS NOT NULL OR t.failure_notified)"

// FailingTargets lists up to limit targets that fail and that v sees something of, those that failed first coming first.
// Deliveries count as far as v sees their notifications; needed is the role that Entitled is about.
func FailingTargets(ctx context.Context, db bun.IDB, v Viewer, needed rule.Role, limit int) ([]FailingTarget, error) {
	return failingTargets(ctx, db, v, needed, 0, limit)
}

// FailingTargetByID returns one of FailingTargets, or another target with deliveries that wait or failed; ErrNotFound where
// v sees none of them.
func FailingTargetByID(ctx context.Context, db bun.IDB, v Viewer, needed rule.Role, id int64) (*FailingTarget, error) {
	list, err := failingTargets(ctx, db, v, needed, id, 1)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return &list[0], nil
}

func failingTargets(ctx context.Context, db bun.IDB, v Viewer, needed rule.Role, id int64, limit int) ([]FailingTarget, error) {
	// A query for each state, because each has an index of its own.
	of := func(state State) string {
		return fmt.Sprintf(`SELECT d.id, d.target_id, d.state, d.last_error, CASE WHEN %s THEN 1 ELSE 0 END AS entitled
			FROM targets t JOIN deliveries d%s ON d.target_id = t.id
			WHERE ($1 = t.id OR $1 = 0 AND %s) AND d.state = '%s' AND %s`,
			EntitledDeliveries(db, v, "d", needed), indexed(db, "deliveries_"+string(state)), isFailing, state, VisibleDeliveries(db, v, "d"))
	}
	return collect(ctx, db, func(rows *sql.Rows) (t FailingTarget, err error) {
		var since, next instant
		var lastError sql.NullString
		err = rows.Scan(&t.ID, &t.Channel, &t.Address, &since, &next, &t.Waiting, &t.Failed, &t.Entitled, &lastError)
		t.Since, t.NextAt, t.LastError = since.pointer(), next.pointer(), lastError.String
		return t, err
	}, `SELECT t.id, t.channel, t.address, t.failing_since, CASE WHEN t.failing_since IS NOT NULL AND f.waiting > 0 THEN t.next_at END,
			f.waiting, f.failed, f.entitled > 0, (SELECT last_error FROM deliveries WHERE id = f.last)
		FROM (
			SELECT target_id, sum(CASE WHEN state = 'pending' THEN 1 ELSE 0 END) AS waiting, sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END) AS failed,
				sum(entitled) AS entitled, max(CASE WHEN last_error <> '' THEN id END) AS last
			FROM (`+of(Pending)+" UNION ALL "+of(Failed)+`) AS unsent GROUP BY target_id
		) AS f JOIN targets t ON t.id = f.target_id
		ORDER BY CASE WHEN t.failing_since IS NULL THEN 1 ELSE 0 END, t.failing_since, t.id LIMIT $2`, id, limit)
}

// FailingCount is how many targets FailingTargets would list without a limit.
func FailingCount(ctx context.Context, db bun.IDB, v Viewer) (n int, err error) {
	some := func(state State) string {
		return fmt.Sprintf("EXISTS (SELECT 1 FROM deliveries d%s WHERE d.target_id = t.id AND d.state = '%s' AND %s)",
			indexed(db, "deliveries_"+string(state)), state, VisibleDeliveries(db, v, "d"))
	}
	err = raw(db).QueryRowContext(ctx, "SELECT count(*) FROM targets t WHERE "+isFailing+" AND ("+some(Pending)+" OR "+some(Failed)+")").Scan(&n)
	return n, Translate(err)
}

// RetryTarget has what waits for a target tried at once.
func RetryTarget(ctx context.Context, tx bun.Tx, id int64) error {
	return startAnew(ctx, tx, []int64{id})
}

// LastDeliveries lists the newest deliveries about a product for each target, at most perTarget of each, as far as v sees
// them, by target and newest first. It looks at the newest recent deliveries about the product.
func LastDeliveries(ctx context.Context, db bun.IDB, v Viewer, productID int64, perTarget, recent int) ([]Delivery, error) {
	return collect(ctx, db, scanDelivery, shownDeliveries(v)+`d.id IN (SELECT id FROM (
			SELECT x.id, row_number() OVER (PARTITION BY x.target_id ORDER BY x.id DESC) AS place FROM (
				SELECT d.id, d.target_id FROM deliveries d`+indexed(db, "deliveries_product_id")+` WHERE d.product_id = $1 AND `+VisibleDeliveries(db, v, "d")+` ORDER BY d.id DESC LIMIT $3
			) AS x
		) AS ranked WHERE place <= $2) ORDER BY t.channel, d.target_id, d.id DESC`, productID, perTarget, recent)
}
