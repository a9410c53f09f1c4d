package dbmodel

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

const (
	keepBatch = `UPDATE targets SET batch = @batch WHERE id = @target AND owner = @owner`

	endBatch = `UPDATE targets SET batch = NULL WHERE id = @target AND owner = @owner`

	targetSucceeded = `
		UPDATE targets SET failures = 0, failing_since = NULL, failure_notified = false, batch = NULL
		WHERE id = @target AND owner = @owner`

	targetFailed = `
		UPDATE targets SET failures = failures + 1, next_at = clock_timestamp() + @wait, failing_since = CASE
			WHEN failing_since IS NULL OR next_at < clock_timestamp() - @nobody_tried THEN clock_timestamp()
			ELSE failing_since END
		WHERE id = @target AND owner = @owner RETURNING failing_since <= clock_timestamp() - @give_up AS give_up_now`

	notifyFailure = `
		UPDATE targets SET failure_notified = true
		WHERE id = @target AND owner = @owner AND NOT failure_notified AND EXISTS (
			SELECT 1 FROM deliveries d JOIN notifications n ON n.id = d.notification_id
			WHERE NOT n.own AND d.target_id = @target AND d.id = ANY (@ids)
		)`

	notifyFailureOfAll = `
		UPDATE targets SET failure_notified = true
		WHERE id = @target AND owner = @owner AND NOT failure_notified AND EXISTS (
			SELECT 1 FROM deliveries d JOIN notifications n ON n.id = d.notification_id
			WHERE NOT n.own AND d.target_id = @target AND d.state = 'pending'
		)`

	markGivenUp = `
		UPDATE deliveries SET state = 'failed',
			last_error = CASE WHEN last_error = '' THEN @reason ELSE @reason || ' Last: ' || last_error END
		WHERE id IN (SELECT id FROM deliveries WHERE target_id = @target AND state = 'pending' ORDER BY id LIMIT @limit)
		RETURNING id, notification_id, attempts`

	releaseGivenUp = `
		UPDATE targets SET failures = 0, failing_since = NULL, batch = NULL, next_at = clock_timestamp(), owner = NULL
		WHERE id = @target`
)

// KeepBatch notes, where owner still has the lease, that the next message to the target repeats that of set: a digest
// or batch whose deliveries MarkTried has marked.
func KeepBatch(ctx context.Context, db bun.IDB, set DeliverySet, owner string) error {
	_, err := exec(ctx, db, keepBatch, args{"target": set.TargetID, "owner": owner, "batch": set.Number()})
	return err
}

// EndBatch takes KeepBatch back, where owner still has the lease: there is no digest or batch to try again.
func EndBatch(ctx context.Context, db bun.IDB, id int64, owner string) error {
	_, err := exec(ctx, db, endBatch, args{"target": id, "owner": owner})
	return err
}

// TargetSucceeded clears the count of failures and the digest or batch that was tried again, where owner still has the
// lease.
func TargetSucceeded(ctx context.Context, db bun.IDB, id int64, owner string) error {
	_, err := exec(ctx, db, targetSucceeded, args{"target": id, "owner": owner})
	return err
}

// nobodyTried is how late a try of a failing target may be. A try that comes later shows that Tocsin itself was down:
// the time for which the target has been failing begins anew with it.
const nobodyTried = 10 * time.Minute

// TargetFailed counts a failure: nothing is sent to the target for wait. It returns whether the target has been
// failing for giveUp or longer, by the database's clock and without the time in which no process tried, see
// nobodyTried. It returns ErrNotFound where owner has lost the lease.
func TargetFailed(
	ctx context.Context, db bun.IDB, id int64, owner string, wait, giveUp time.Duration,
) (giveUpNow bool, err error) {
	return queryOne[bool](ctx, db, targetFailed, args{
		"target": id, "owner": owner, "wait": wait, "give_up": giveUp, "nobody_tried": nobodyTried,
	})
}

// MustNotifyFailure reports whether the caller must notify, in the same transaction, that set failed for good, and
// notes that the caller does. It is true where not all deliveries of set are about failures of Tocsin itself, no
// failure of the target was notified since its last success, and owner still has the lease.
func MustNotifyFailure(ctx context.Context, tx bun.Tx, set DeliverySet, owner string) (bool, error) {
	statement, a := notifyFailure, args{"target": set.TargetID, "owner": owner, "ids": numbers(set.IDs)}
	if set.All {
		statement, a = notifyFailureOfAll, args{"target": set.TargetID, "owner": owner}
	}
	n, err := exec(ctx, tx, statement, a)
	return n > 0, err
}

// GiveUpTarget fails the next deliveries that wait for a target, and returns them. It prolongs the lease of owner, and
// ends it after the last deliveries: then done is true. Where owner has lost the lease it fails none, and done is
// true, too.
func GiveUpTarget(
	ctx context.Context, tx bun.Tx, id int64, owner, reason string,
) (failed []MarkedDelivery, done bool, err error) {
	mine, err := RenewTarget(ctx, tx, id, owner)
	if err != nil || !mine {
		return nil, !mine, err
	}
	failed, err = queryAll[MarkedDelivery](ctx, tx, markGivenUp, args{"target": id, "reason": reason, "limit": partSize})
	if err != nil || len(failed) == partSize {
		return failed, false, err
	}
	_, err = exec(ctx, tx, releaseGivenUp, args{"target": id})
	return failed, true, err
}
