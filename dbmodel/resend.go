package dbmodel

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Resendable is a delivery that a user asks to send again.
type Resendable struct {
	ID        int64
	State     State
	Channel   rule.Channel
	ProductID int64 // of its notification; 0: none
	TargetID  int64
	// GoesTo is the target that it would go to now: the same address, or the webhook that is set by now; 0: none is set.
	GoesTo int64
}

// goesTo is the target that a delivery d (of notification n, to target t) goes to when it is sent again; NULL where no
// webhook is set any more. An email goes to the same address. A delivery that comes from a subscription goes to the
// same webhook or, where the subscription has that one no more, to its first one. A delivery that comes from a product
// group goes to the group's first webhook. Any other delivery, and that of a group without a webhook, goes to the
// webhook that rule.Effective takes for the notification.
const goesTo = `CASE WHEN t.channel IN (@address_channels) THEN d.target_id
		WHEN d.source_kind = 'subscription' THEN (SELECT c.target_id FROM contacts c
			WHERE c.subscription_id = d.source_id AND c.channel = t.channel
			ORDER BY CASE WHEN c.target_id = d.target_id THEN 0 ELSE 1 END, c.position LIMIT 1)
		WHEN n.type IN (@product_types) THEN coalesce(
			(SELECT c.target_id FROM contacts c
			WHERE d.source_kind = 'product_group' AND c.product_group_id = d.source_id AND c.channel = t.channel
			ORDER BY c.position LIMIT 1),
			(SELECT c.target_id FROM contacts c WHERE c.product_id = n.product_id AND c.channel = t.channel
			ORDER BY c.position LIMIT 1),
			(SELECT c.target_id FROM contacts c WHERE c.product_group_id = p.product_group_id AND c.channel = t.channel
			ORDER BY c.position LIMIT 1))
		ELSE (SELECT c.target_id FROM contacts c
			WHERE c.kind = CASE WHEN n.type = 'observation_title' THEN 'observation_titles' ELSE 'exceptions' END
				AND c.product_id IS NULL AND c.product_group_id IS NULL AND c.subscription_id IS NULL AND c.channel = t.channel
			ORDER BY c.position LIMIT 1) END`

// addressChannels lists, for SQL, the channels whose contacts are addresses: a failed delivery goes to the same one
// again.
func addressChannels() string {
	return quoted(slices.DeleteFunc(slices.Clone(rule.Channels), func(c rule.Channel) bool { return !c.Info().ByAddress }))
}

// productTypes lists, for SQL, the types of notifications that the contacts of products receive.
func productTypes() string {
	return quoted(slices.DeleteFunc(slices.Clone(rule.Types), func(t rule.Type) bool {
		return t.Info().Holder != rule.HolderProduct
	}))
}

const resendable = `
	SELECT d.id, d.state, t.channel, n.product_id, d.target_id, ` + goesTo + ` AS goes_to
	FROM deliveries d JOIN notifications n ON n.id = d.notification_id JOIN targets t ON t.id = d.target_id
	LEFT JOIN products p ON p.id = n.product_id
	WHERE d.id = @delivery AND @visible AND @own FOR KEY SHARE OF n`

// ResendableByID returns a delivery of a notification that v sees, ErrNotFound where there is none. It keeps the
// notification from being deleted until the transaction ends: clean-up must find that it has a pending delivery again.
func ResendableByID(ctx context.Context, tx bun.Tx, v Viewer, id int64) (*Resendable, error) {
	r, err := queryOne[Resendable](ctx, tx, resendable, args{
		"delivery": id, "visible": bun.Safe(VisibleNotifications(tx, v, "n")), "own": bun.Safe(v.ownDeliveries("d")),
		"address_channels": bun.Safe(addressChannels()), "product_types": bun.Safe(productTypes()),
	})
	return &r, err
}

// withItsDigest is the delivery that a user asks to send again. Where it belongs to the digest of a schedule or a
// pause, the deliveries of that digest to the same target that are in the same state go again with it, as one message.
const withItsDigest = `(
		SELECT id AS delivery, digest_id AS digest, target_id AS target, state FROM deliveries WHERE id = @delivery
	) AS one`

const resendOne = `
	UPDATE deliveries SET state = 'pending', batch = NULL, accepted_at = NULL, target_id = @goes_to
	FROM ` + withItsDigest + `
	WHERE deliveries.state = 'failed' AND one.state = 'failed' AND (deliveries.id = one.delivery
		OR deliveries.digest_id = one.digest AND deliveries.target_id = one.target)`

// lockUnheldTarget changes nothing: it locks a target that no worker holds, so that none takes it until the
// transaction ends. It finds no row where a worker holds the target in this moment.
const lockUnheldTarget = `
	UPDATE targets SET again = again WHERE id = @target AND (owner IS NULL OR lease_until <= clock_timestamp())`

const moveOne = `
	UPDATE deliveries SET batch = NULL, target_id = @goes_to
	FROM ` + withItsDigest + `
	WHERE deliveries.state = 'pending' AND (deliveries.id = one.delivery
		OR deliveries.digest_id = one.digest AND deliveries.target_id = one.target)`

// Resend makes a failed delivery wait again, for the target that it goes to by now, or has a pending one tried at
// once; one that a worker sends to its old target in this moment stays as it is. It returns false where the delivery
// has been sent by now.
func Resend(ctx context.Context, tx bun.Tx, r *Resendable) (bool, error) {
	n, err := exec(ctx, tx, resendOne, args{"delivery": r.ID, "goes_to": r.GoesTo})
	if err != nil {
		return false, err
	}
	if n > 0 {
		return true, startAnew(ctx, tx, []int64{r.GoesTo})
	}
	pending, err := queryOne[bool](ctx, tx, `SELECT state = 'pending' FROM deliveries WHERE id = @delivery`,
		args{"delivery": r.ID})
	if err != nil || !pending {
		return false, err
	}
	if r.GoesTo == r.TargetID {
		return true, startAnew(ctx, tx, []int64{r.TargetID})
	}
	n, err = exec(ctx, tx, lockUnheldTarget, args{"target": r.TargetID})
	if err != nil || n == 0 {
		return err == nil, err
	}
	if _, err := exec(ctx, tx, moveOne, args{"delivery": r.ID, "goes_to": r.GoesTo}); err != nil {
		return false, err
	}
	return true, startAnew(ctx, tx, []int64{r.GoesTo})
}

const failedDeliveries = `
	SELECT d.id FROM deliveries d JOIN notifications n ON n.id = d.notification_id
	WHERE d.state = 'failed' AND d.id > @after AND (d.target_id = @target OR @target = 0) AND @entitled AND @own
	ORDER BY d.id LIMIT @limit FOR KEY SHARE OF n`

const resendAll = `
	UPDATE deliveries SET state = 'pending', batch = NULL, accepted_at = NULL, target_id = r.target FROM (
		SELECT d.id AS delivery, ` + goesTo + ` AS target
		FROM deliveries d JOIN notifications n ON n.id = d.notification_id JOIN targets t ON t.id = d.target_id
		LEFT JOIN products p ON p.id = n.product_id
		WHERE d.id = ANY (@deliveries) ORDER BY d.id FOR NO KEY UPDATE OF d
	) AS r WHERE deliveries.id = r.delivery AND r.target IS NOT NULL AND deliveries.state = 'failed'
	RETURNING deliveries.target_id`

// ResendFailed makes up to limit failed deliveries with ids above after wait again, each for the target that it goes
// to by now. It takes the deliveries to target (0: to any) in whose product v has at least the role needed. A delivery
// whose contact has no webhook any more stays as it is. ResendFailed returns the last id it looked at (0: there was
// none), how many deliveries wait again, and their targets.
func ResendFailed(
	ctx context.Context, tx bun.Tx, v Viewer, needed rule.Role, target, after int64, limit int,
) (last int64, resent int, targets []int64, err error) {
	ids, err := queryAll[int64](ctx, tx, failedDeliveries, args{
		"after": after, "target": target, "limit": limit,
		"entitled": bun.Safe(EntitledNotifications(tx, v, "n", needed)), "own": bun.Safe(v.ownDeliveries("d")),
	})
	if err != nil || len(ids) == 0 {
		return 0, 0, nil, err
	}
	list, err := queryAll[int64](ctx, tx, resendAll,
		args{
			"deliveries": numbers(ids), "address_channels": bun.Safe(addressChannels()),
			"product_types": bun.Safe(productTypes()),
		})
	if err != nil {
		return 0, 0, nil, err
	}
	resent = len(list)
	slices.Sort(list)
	targets = slices.Compact(list)
	return ids[len(ids)-1], resent, targets, startAnew(ctx, tx, targets)
}

const startTargetsAnew = `
	UPDATE targets SET next_at = CASE WHEN failures > 0 THEN clock_timestamp() ELSE next_at END,
		failures = 0, failing_since = NULL, failure_notified = false, batch = NULL
	WHERE id IN (SELECT id FROM targets WHERE id = ANY (@ids) ORDER BY id FOR NO KEY UPDATE)`

// startAnew forgets the failures of targets: their deliveries are tried at once, and the time after which Tocsin gives
// a target up begins anew.
func startAnew(ctx context.Context, tx bun.Tx, ids []int64) error {
	_, err := exec(ctx, tx, startTargetsAnew, args{"ids": numbers(ids)})
	return err
}
