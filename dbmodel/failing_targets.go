package dbmodel

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// FailingTarget is a target that took no message when it was tried last.
type FailingTarget struct {
	ID        int64
	Channel   rule.Channel
	Address   []byte     // sealed
	Since     *time.Time // nil: nothing is tried any more, what it was told failed for good
	NextAt    *time.Time // the next try; nil: there is none
	Waiting   int        // deliveries
	Failed    int
	LastError string // of the newest delivery that has one
	Entitled  bool   // the one who asks has the role needed for at least one of these deliveries
}

// isFailing is the condition that a target t fails: it is tried again, or it failed for good and took nothing since.
const isFailing = "(t.failing_since IS NOT NULL OR t.told)"

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
	return collect(ctx, db, func(rows *sql.Rows) (t FailingTarget, err error) {
		var since, next instant
		var lastError sql.NullString
		err = rows.Scan(&t.ID, &t.Channel, &t.Address, &since, &next, &t.Waiting, &t.Failed, &t.Entitled, &lastError)
		t.Since, t.NextAt, t.LastError = since.pointer(), next.pointer(), lastError.String
		return t, err
	}, `SELECT t.id, t.channel, t.address, t.failing_since, CASE WHEN t.failing_since IS NOT NULL AND f.waiting > 0 THEN t.next_at END,
			f.waiting, f.failed, f.entitled > 0, (SELECT last_error FROM deliveries WHERE id = f.last)
		FROM (
			SELECT d.target_id, sum(CASE WHEN d.state = 'pending' THEN 1 ELSE 0 END) AS waiting, sum(CASE WHEN d.state = 'failed' THEN 1 ELSE 0 END) AS failed,
				sum(CASE WHEN `+EntitledNotifications(db, v, "n", needed)+` THEN 1 ELSE 0 END) AS entitled,
				max(CASE WHEN d.last_error <> '' THEN d.id END) AS last
			FROM targets t JOIN deliveries d ON d.target_id = t.id JOIN notifications n ON n.id = d.notification_id
			WHERE ($1 = t.id OR $1 = 0 AND `+isFailing+`) AND d.state IN ('pending', 'failed') AND `+VisibleNotifications(db, v, "n")+`
			GROUP BY d.target_id
		) AS f JOIN targets t ON t.id = f.target_id
		ORDER BY CASE WHEN t.failing_since IS NULL THEN 1 ELSE 0 END, t.failing_since, t.id LIMIT $2`, id, limit)
}

// FailingCount is how many targets FailingTargets would list without a limit.
func FailingCount(ctx context.Context, db bun.IDB, v Viewer) (n int, err error) {
	some := func(state string) string {
		return "EXISTS (SELECT 1 FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE d.target_id = t.id AND d.state = '" + state +
			"' AND " + VisibleNotifications(db, v, "n") + ")"
	}
	err = raw(db).QueryRowContext(ctx, "SELECT count(*) FROM targets t WHERE "+isFailing+" AND ("+some("pending")+" OR "+some("failed")+")").Scan(&n)
	return n, Translate(err)
}

// RetryTarget has what waits for a target tried at once.
func RetryTarget(ctx context.Context, tx bun.Tx, id int64) error {
	return startAnew(ctx, tx, []int64{id})
}

// LastDeliveries lists the newest deliveries about a product for each target, at most perTarget of each, as far as v sees
// them, by target and newest first. It looks at the newest recent notifications of the product.
func LastDeliveries(ctx context.Context, db bun.IDB, v Viewer, productID int64, perTarget, recent int) ([]Delivery, error) {
	return collect(ctx, db, scanDelivery, "SELECT "+deliveryColumns+` FROM (
			SELECT x.id, row_number() OVER (PARTITION BY x.target_id ORDER BY x.id DESC) AS place FROM deliveries x WHERE x.notification_id IN (
				SELECT n.id FROM notifications n WHERE n.product_id = $1 AND `+VisibleNotifications(db, v, "n")+` ORDER BY n.created_at DESC, n.id DESC LIMIT $3
			)
		) AS ranked JOIN deliveries d ON d.id = ranked.id JOIN targets t ON t.id = d.target_id
		WHERE ranked.place <= $2 ORDER BY t.channel, d.target_id, d.id DESC`, productID, perTarget, recent)
}
