package dbmodel

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Resendable is a delivery that somebody asks to send again.
type Resendable struct {
	ID        int64
	State     State
	Channel   rule.Channel
	ProductID int64 // of its notification; 0: none
	TargetID  int64
	// GoesTo is the target that it would go to now: the same address, or the webhook that is set by now; 0: none is set.
	GoesTo int64
}

// goesTo is the target that a delivery d (of notification n, to target t) goes to when it is sent again, as an expression
// over resendFrom; NULL where no webhook is set any more. Of a product and its group it takes the one that rule.Effective
// takes.
var goesTo = `CASE WHEN t.channel IN (` + addressChannels() + `) THEN d.target_id
	WHEN d.source_kind = 'subscription' THEN coalesce(
		(SELECT c.target_id FROM contacts c WHERE c.subscription_id = d.source_id AND c.target_id = d.target_id LIMIT 1),
		(SELECT c.target_id FROM contacts c WHERE c.subscription_id = d.source_id AND c.channel = t.channel ORDER BY c.position LIMIT 1))
	WHEN n.type IN ('observation', 'security_gate') THEN coalesce(
		(SELECT c.target_id FROM contacts c WHERE c.product_id = n.product_id AND c.channel = t.channel ORDER BY c.position LIMIT 1),
		(SELECT c.target_id FROM contacts c WHERE c.product_group_id = p.product_group_id AND c.channel = t.channel ORDER BY c.position LIMIT 1))
	ELSE (SELECT c.target_id FROM contacts c WHERE c.kind = CASE WHEN n.type = 'observation_title' THEN 'observation_titles' ELSE 'exceptions' END
		AND c.product_id IS NULL AND c.product_group_id IS NULL AND c.channel = t.channel ORDER BY c.position LIMIT 1) END`

// addressChannels lists, for SQL, the channels whose contacts are addresses: what failed goes to the same one again.
func addressChannels() string {
	var out []string
	for _, c := range rule.Channels {
		if c.Info().Addresses {
			out = append(out, "'"+string(c)+"'")
		}
	}
	return strings.Join(out, ", ")
}

const resendFrom = ` FROM deliveries d JOIN notifications n ON n.id = d.notification_id JOIN targets t ON t.id = d.target_id
	LEFT JOIN products p ON p.id = n.product_id `

// keepNotifications keeps notifications n of a SELECT from being deleted until the transaction ends: clean-up must find
// what is pending again.
func keepNotifications(db bun.IDB) string {
	if lock := forKeyShare(db); lock != "" {
		return lock + " OF n"
	}
	return ""
}

// ResendableByID returns a delivery of a notification that v sees, ErrNotFound where there is none.
func ResendableByID(ctx context.Context, tx bun.Tx, v Viewer, id int64) (*Resendable, error) {
	list, err := collect(ctx, tx, func(rows *sql.Rows) (r Resendable, err error) {
		err = rows.Scan(&r.ID, &r.State, &r.Channel, &r.ProductID, &r.TargetID, &r.GoesTo)
		return r, err
	}, "SELECT d.id, d.state, t.channel, coalesce(n.product_id, 0), d.target_id, coalesce("+goesTo+", 0)"+resendFrom+
		"WHERE d.id = $1 AND "+VisibleNotifications(tx, v, "n")+" AND "+v.ownDeliveries("d")+keepNotifications(tx), id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return &list[0], nil
}

// Resend makes a failed delivery wait again, for the target that it goes to by now, or has a pending one tried at once. It
// returns false where its state is another one by now.
func Resend(ctx context.Context, tx bun.Tx, r *Resendable) (bool, error) {
	n, err := execCount(ctx, tx, "UPDATE deliveries SET state = 'pending', batch = NULL, target_id = $2 WHERE id = $1 AND state = 'failed'", r.ID, r.GoesTo)
	if err != nil {
		return false, err
	}
	if n > 0 {
		return true, startAnew(ctx, tx, []int64{r.GoesTo})
	}
	var pending bool
	if err := raw(tx).QueryRowContext(ctx, "SELECT state = 'pending' FROM deliveries WHERE id = $1", r.ID).Scan(&pending); err != nil || !pending {
		return false, Translate(err)
	}
	if r.GoesTo == r.TargetID {
		return true, startAnew(ctx, tx, []int64{r.TargetID})
	}
	// It moves only where no worker sends it to the old target in this moment.
	n, err = execCount(ctx, tx, "UPDATE targets SET again = again WHERE id = $1 AND (owner IS NULL OR lease_until <= "+now(tx)+")", r.TargetID)
	if err != nil || n == 0 {
		return err == nil, err
	}
	_, err = execCount(ctx, tx, "UPDATE deliveries SET batch = NULL, target_id = $2 WHERE id = $1 AND state = 'pending'", r.ID, r.GoesTo)
	if err != nil {
		return false, err
	}
	return true, startAnew(ctx, tx, []int64{r.GoesTo})
}

// ResendFailed makes up to limit failed deliveries with ids above after wait again, each for the target that it goes to by
// now: those in whose product v has at least the role needed, of one target or, where that is 0, of all. A delivery whose
// contact has no webhook any more stays as it is. It returns the last id it looked at (0: there was none), how many wait
// again, and the targets to poke.
func ResendFailed(ctx context.Context, tx bun.Tx, v Viewer, needed rule.Role, target, after int64, limit int) (last int64, resent int, targets []int64, err error) {
	ids, err := collect(ctx, tx, scanID, "SELECT d.id FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE d.state = 'failed' AND d.id > $1 AND (d.target_id = $2 OR $2 = 0) AND "+
		EntitledNotifications(tx, v, "n", needed)+" AND "+v.ownDeliveries("d")+" ORDER BY d.id LIMIT $3"+keepNotifications(tx), after, target, limit)
	if err != nil || len(ids) == 0 {
		return 0, 0, nil, err
	}
	in, arg := anyOf(tx, "d.id", 1, ids)
	list, err := collect(ctx, tx, scanID, `UPDATE deliveries SET state = 'pending', batch = NULL, target_id = r.target FROM (
			SELECT d.id AS delivery, `+goesTo+` AS target`+resendFrom+`WHERE `+in+`
		) AS r WHERE deliveries.id = r.delivery AND r.target IS NOT NULL AND deliveries.state = 'failed' RETURNING deliveries.target_id`, arg)
	if err != nil {
		return 0, 0, nil, err
	}
	resent = len(list)
	slices.Sort(list)
	targets = slices.Compact(list)
	return ids[len(ids)-1], resent, targets, startAnew(ctx, tx, targets)
}

// startAnew forgets the failures of targets: their deliveries are tried at once, and have the whole time again.
func startAnew(ctx context.Context, tx bun.Tx, ids []int64) error {
	in, arg := anyOf(tx, "id", 1, ids)
	_, err := execCount(ctx, tx, "UPDATE targets SET next_at = CASE WHEN failures > 0 THEN "+now(tx)+` ELSE next_at END, failures = 0, failing_since = NULL,
		failure_notified = false, batch = NULL WHERE `+in, arg)
	return err
}
