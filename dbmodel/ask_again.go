package dbmodel

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Reasons why a delivery fails without an attempt.
const (
	// UnseenReason is for a delivery of a personal subscription whose user lost sight of the notification.
	UnseenReason = "Its user does not see this notification any more."
	// WithdrawnReason is for a delivery whose subscription was disabled or deleted.
	WithdrawnReason = "Its subscription was disabled or deleted before it was sent."
)

const (
	// doubtfulDeliveries selects, of the pending deliveries to a target that come from subscriptions, those whose
	// subscription does not cover them any more, and those that are not masked although no subscription to the target
	// allows that any more. A personal subscription allows it for administrators alone; a delivery may also be unmasked
	// because of another subscription to the same target.
	doubtfulDeliveries = `
		SELECT id, notification_id, product_id, digest_id, masked, enabled, seen, rightful FROM (
			SELECT d.id, d.notification_id, d.product_id, d.digest_id, d.masked, d.target_id, s.id IS NOT NULL AS enabled,
				coalesce(d.user_id, 0) <= 0
					OR u.id IS NOT NULL AND (u.is_admin OR @member_type AND EXISTS (@membership)) AS seen,
				d.masked OR coalesce(u.is_admin, false)
					OR coalesce(d.user_id, -1) = 0 AND s.product_id IS NULL AND s.product_group_id IS NULL
					OR EXISTS (
						SELECT 1 FROM contacts c JOIN subscriptions o ON o.id = c.subscription_id AND o.enabled
						LEFT JOIN users a ON a.id = o.user_id
						WHERE c.target_id = @target AND c.disabled_at IS NULL
							AND (o.product_id IS NULL OR o.product_id = d.product_id)
							AND (o.product_group_id IS NULL
								OR o.product_group_id = (SELECT p.product_group_id FROM products p WHERE p.id = d.product_id))
							AND (a.is_admin OR o.user_id IS NULL AND o.product_id IS NULL AND o.product_group_id IS NULL)
					) AS rightful
			FROM deliveries d INDEXED BY deliveries_pending
			LEFT JOIN subscriptions s ON s.id = d.source_id AND s.enabled
			LEFT JOIN users u ON u.id = d.user_id
			WHERE d.target_id BETWEEN @target AND @target AND d.state = 'pending' AND d.id > @after
				AND d.source_kind = 'subscription'
		) AS asked
		WHERE NOT (enabled AND seen AND rightful) ORDER BY target_id, id LIMIT @limit`

	changeDoubtful = `
		UPDATE deliveries SET state = a.state, masked = a.masked,
			last_error = CASE WHEN a.state = 'failed' THEN a.last_error ELSE deliveries.last_error END,
			source_id = coalesce(a.source_id, deliveries.source_id),
			user_id = CASE WHEN a.source_id IS NULL THEN deliveries.user_id ELSE a.user_id END
		FROM @asked AS a
		WHERE deliveries.id = a.id AND deliveries.target_id = @target AND deliveries.state = 'pending'
			AND EXISTS (SELECT 1 FROM targets t WHERE t.id = @target AND t.owner = @owner)
		RETURNING deliveries.id, deliveries.notification_id, deliveries.attempts, deliveries.state, deliveries.last_error`

	// askedAtOnce is how many doubtful deliveries are read with their notifications, and changed, at once.
	askedAtOnce = 200
)

// doubtfulDelivery is a row of doubtfulDeliveries, and the result of findHeirs for it.
type doubtfulDelivery struct {
	ID, NotificationID  int64
	ProductID, DigestID int64
	Masked              bool
	Enabled             bool // its subscription is enabled
	Seen                bool // its user, if any, sees its notification
	Rightful            bool // it is masked, or need not be

	// heir is the target as the recipient of another subscription that takes the notification; nil: there is none, or
	// no need of one.
	heir *rule.Recipient
}

// isLost reports whether its subscription does not cover the delivery any more.
func (d *doubtfulDelivery) isLost() bool { return !d.Enabled || !d.Seen }

// reason is why the delivery fails; empty: it does not.
func (d *doubtfulDelivery) reason() string {
	switch {
	case !d.isLost() || d.heir != nil:
		return ""
	case !d.Seen:
		return UnseenReason
	}
	return WithdrawnReason
}

// AskAgain decides once more about the deliveries that wait for a target because of subscriptions, where owner has the
// lease. Where the subscription of a delivery is disabled or deleted, or its user is gone or does not see the
// notification any more, the delivery goes over to another subscription with the same target that takes the
// notification, or fails if there is none. A delivery that is unmasked only because its user was an administrator is
// masked. AskAgain reports whether anything changed, and which deliveries failed, by the reason.
func AskAgain(
	ctx context.Context, db bun.IDB, targetID int64, owner string,
) (changed bool, failed map[string][]MarkedDelivery, err error) {
	failed = map[string][]MarkedDelivery{}
	for after := int64(0); ; {
		doubtful, err := queryAll[doubtfulDelivery](ctx, db, doubtfulDeliveries, askAgainArgs(db, targetID, after))
		if err != nil || len(doubtful) == 0 {
			return changed, failed, err
		}
		if err := findHeirs(ctx, db, targetID, doubtful); err != nil {
			return changed, failed, err
		}
		list, err := queryAll[struct {
			MarkedDelivery
			State     State
			LastError string
		}](ctx, db, changeDoubtful, args{"target": targetID, "owner": owner, "asked": doubtfulCols(doubtful)})
		if err != nil {
			return changed, failed, err
		}
		for _, d := range list {
			if d.State == Failed {
				failed[d.LastError] = append(failed[d.LastError], d.MarkedDelivery)
			}
		}
		changed = changed || len(list) > 0
		if len(doubtful) < askedAtOnce {
			return changed, failed, nil
		}
		after = doubtful[len(doubtful)-1].ID
	}
}

func askAgainArgs(db bun.IDB, targetID, after int64) args {
	return args{
		"target": targetID, "after": after, "limit": askedAtOnce,
		"member_type": bun.Safe(membersSeeType(db, "d.type")),
		"membership":  bun.Safe(membership("u.id", rule.Reader, "d.product_id")),
	}
}

// findHeirs sets the heir of each lost delivery that the target also receives by another subscription.
func findHeirs(ctx context.Context, db bun.IDB, targetID int64, list []doubtfulDelivery) error {
	var products, notifications []int64
	for i := range list {
		if list[i].isLost() {
			products, notifications = append(products, list[i].ProductID), append(notifications, list[i].NotificationID)
		}
	}
	if len(notifications) == 0 {
		return nil
	}
	settings, err := LoadSettings(ctx, db) // anew, as doubtfulDeliveries does: a drain may hold older ones
	if err != nil {
		return fmt.Errorf("load settings: %w", err)
	}
	slices.Sort(products)
	condition := fmt.Sprintf("s.enabled AND s.id IN (SELECT subscription_id FROM contacts WHERE target_id = %d)", targetID)
	others, err := subscribers(ctx, db, slices.Compact(products), settings.MemberNotificationTypes, true, condition)
	if err != nil || len(others.everywhere)+len(others.in) == 0 {
		return err
	}
	byID, err := NotificationsByID(ctx, db, notifications)
	if err != nil {
		return fmt.Errorf("load notifications: %w", err)
	}
	for i := range list {
		d := &list[i]
		n, found := byID[d.NotificationID]
		if !found || !d.isLost() {
			continue
		}
		applied := rule.Applied{Subscriptions: others.Of(d.ProductID)}
		if d.DigestID != 0 {
			// A digest is cut down to the products that the user of its delivery sees. A team's subscription has no user.
			isTeam := func(s *rule.Subscription) bool { return s.User == 0 }
			applied.Subscriptions = slices.DeleteFunc(slices.Clone(applied.Subscriptions), isTeam)
			applied.IgnoreSchedules = true
		}
		for _, r := range rule.Recipients(applied, n.Rule(), rule.Ability{EmailFrom: settings.EmailFrom}) {
			if r.Target == targetID && r.Reason == "" {
				d.heir = &r
				break
			}
		}
	}
	return nil
}

// doubtfulCols are the new values of deliveries; a delivery without an heir keeps its source and user.
func doubtfulCols(list []doubtfulDelivery) rows {
	return rows{
		column(list, "id", "bigint", func(d *doubtfulDelivery) int64 { return d.ID }),
		column(list, "state", "text", func(d *doubtfulDelivery) string {
			if d.reason() != "" {
				return string(Failed)
			}
			return string(Pending)
		}),
		column(list, "last_error", "text", (*doubtfulDelivery).reason),
		column(list, "masked", "boolean", func(d *doubtfulDelivery) bool {
			return d.Masked || !d.Rightful || d.heir != nil && d.heir.Masked
		}),
		column(list, "source_id", "bigint", func(d *doubtfulDelivery) *int64 {
			if d.heir == nil {
				return nil
			}
			return &d.heir.Holder.ID
		}),
		column(list, "user_id", "bigint", func(d *doubtfulDelivery) *int64 {
			if d.heir == nil {
				return nil
			}
			return userOf(d.heir)
		}),
	}
}
