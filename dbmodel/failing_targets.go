package dbmodel

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// FailingTarget is a target that took no message when it was tried last. FailingTargetByID also returns targets that
// do not fail: of these, Since and NextAt are nil.
type FailingTarget struct {
	ID         int64
	Channel    rule.Channel
	Address    []byte     // sealed
	Since      *time.Time `bun:"failing_since"` // nil: nothing is tried any more, its deliveries failed for good
	NextAt     *time.Time // the next try; nil: there is none
	Waiting    int        // deliveries
	Failed     int
	FailedLast bool   // a delivery failed for good, and none was taken after that
	LastError  string // of the newest delivery that has one
	Entitled   bool   // the viewer has the role needed for at least one of these deliveries
}

// isFailing is the condition that a target t fails: it is tried again, or it failed for good and took nothing since.
const isFailing = bun.Safe("(t.failing_since IS NOT NULL OR t.failure_notified)")

// There is a query for each state, because each has an index of its own.
const (
	failingTargetsOrOne = `
		SELECT t.id, t.channel, t.address, t.failing_since, t.failure_notified AS failed_last,
			CASE WHEN t.failing_since IS NOT NULL AND f.waiting > 0 THEN t.next_at END AS next_at,
			f.waiting, f.failed, f.entitled > 0 AS entitled,
			(SELECT last_error FROM deliveries WHERE id = f.last) AS last_error
		FROM (
			SELECT target_id, sum(CASE WHEN state = 'pending' THEN 1 ELSE 0 END) AS waiting,
				sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END) AS failed,
				sum(entitled) AS entitled, max(CASE WHEN last_error <> '' THEN id END) AS last
			FROM (
				SELECT d.id, d.target_id, d.state, d.last_error, CASE WHEN @entitled THEN 1 ELSE 0 END AS entitled
				FROM targets t JOIN deliveries d INDEXED BY deliveries_pending ON d.target_id = t.id
				WHERE (@target = t.id OR @target = 0 AND @failing) AND d.state = 'pending' AND @visible
				UNION ALL
				SELECT d.id, d.target_id, d.state, d.last_error, CASE WHEN @entitled THEN 1 ELSE 0 END AS entitled
				FROM targets t JOIN deliveries d INDEXED BY deliveries_failed ON d.target_id = t.id
				WHERE (@target = t.id OR @target = 0 AND @failing) AND d.state = 'failed' AND @visible
			) AS unsent GROUP BY target_id
		) AS f JOIN targets t ON t.id = f.target_id
		ORDER BY CASE WHEN t.failing_since IS NULL THEN 1 ELSE 0 END, t.failing_since, t.id LIMIT @limit`

	failingCount = `
		SELECT count(*) FROM targets t WHERE @failing AND (
			EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_pending
				WHERE d.target_id = t.id AND d.state = 'pending' AND @visible)
			OR EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_failed
				WHERE d.target_id = t.id AND d.state = 'failed' AND @visible)
		)`

	failingByChannel = `
		SELECT t.channel, count(*) AS count FROM targets t WHERE @failing AND (
			EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_pending
				WHERE d.target_id = t.id AND d.state = 'pending' AND @live)
			OR EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_failed
				WHERE d.target_id = t.id AND d.state = 'failed' AND @live)
		) GROUP BY t.channel`
)

// FailingTargets lists up to limit targets that fail and have a pending or failed delivery that v sees. Those that are
// still tried come first, by the time since which they fail. Only deliveries that v sees are counted; needed is the
// role that Entitled is about.
func FailingTargets(ctx context.Context, db bun.IDB, v Viewer, needed rule.Role, limit int) ([]FailingTarget, error) {
	return failingTargets(ctx, db, v, needed, 0, limit)
}

// FailingTargetByID returns one of FailingTargets, or another target with deliveries that wait or failed; ErrNotFound
// where v sees none of them.
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

func failingTargets(
	ctx context.Context, db bun.IDB, v Viewer, needed rule.Role, id int64, limit int,
) ([]FailingTarget, error) {
	return queryAll[FailingTarget](ctx, db, failingTargetsOrOne, args{
		"target": id, "limit": limit, "failing": isFailing, "visible": bun.Safe(VisibleDeliveries(db, v, "d")),
		"entitled": bun.Safe(EntitledDeliveries(db, v, "d", needed)),
	})
}

// FailingCount is how many targets FailingTargets would list without a limit.
func FailingCount(ctx context.Context, db bun.IDB, v Viewer) (int, error) {
	return queryOne[int](ctx, db, failingCount,
		args{"failing": isFailing, "visible": bun.Safe(VisibleDeliveries(db, v, "d"))})
}

// FailingByChannel returns how many targets of each channel fail, as an administrator sees them; channels without one
// are left out.
func FailingByChannel(ctx context.Context, db bun.IDB) (map[rule.Channel]int, error) {
	list, err := queryAll[struct {
		Channel rule.Channel
		Count   int
	}](ctx, db, failingByChannel, args{"failing": isFailing, "live": bun.Safe(liveNotifications("d"))})
	out := make(map[rule.Channel]int, len(list))
	for _, c := range list {
		out[c.Channel] = c.Count
	}
	return out, err
}
