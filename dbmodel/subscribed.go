package dbmodel

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"
)

// takes is the condition that a subscription s is enabled and has a contact that takes messages.
const takes bun.Safe = `s.enabled AND NOT s.deleted
	AND EXISTS (SELECT 1 FROM contacts c WHERE c.subscription_id = s.id AND c.disabled_at IS NULL)`

// subscribed is the condition that there is a subscription to a product, to its group or to everything, or that
// @members is true; @own and @everywhere restrict whose subscriptions count. A subscription of a team or an
// administrator holds for all products in its scope, one of another user only for those of which the user is a member.
// subscribedMembers, a value of @members, finds these; it begins with the members, who are few.
const (
	subscribed = `(
		EXISTS (SELECT 1 FROM subscriptions s WHERE s.product_id = products.id AND @own AND @takes)
		OR EXISTS (SELECT 1 FROM subscriptions s
			WHERE s.product_group_id = products.product_group_id AND @own AND @takes)
		OR EXISTS (SELECT 1 FROM subscriptions s
			WHERE s.product_id IS NULL AND s.product_group_id IS NULL AND @everywhere AND @takes) OR @members)`

	subscribedMembers = `EXISTS (SELECT 1 FROM product_members m
			JOIN LATERAL (SELECT * FROM subscriptions AS s WHERE s.user_id = m.user_id OFFSET 0) AS s ON true
			WHERE m.product_id = products.id AND @holds AND @takes)
		OR EXISTS (SELECT 1 FROM product_group_members m
			JOIN LATERAL (SELECT * FROM subscriptions AS s WHERE s.user_id = m.user_id OFFSET 0) AS s ON true
			WHERE m.product_group_id = products.product_group_id AND @holds AND @takes)`

	holds bun.Safe = `(s.product_id IS NULL OR s.product_id = products.id)
		AND (s.product_group_id IS NULL OR s.product_group_id = products.product_group_id)`

	ofTeamOrAdmin bun.Safe = `(s.user_id IS NULL OR s.user_id IN (SELECT id FROM users WHERE is_admin))`
)

// isSubscribed is the condition that an enabled subscription that v may know of receives notifications of a product
// that v sees: of a team to the product or its group, or v's own; for an administrator also any other. What its filter
// lets through is another question.
func isSubscribed(db bun.IDB, v Viewer) string {
	mine := fmt.Sprintf("s.user_id = %d", v.UserID)
	a := args{
		"own": bun.Safe("(s.user_id IS NULL OR " + mine + ")"), "everywhere": bun.Safe(mine), "takes": takes,
		"members": bun.Safe("FALSE"),
	}
	if v.Admin {
		a["own"], a["everywhere"] = ofTeamOrAdmin, ofTeamOrAdmin
		a["members"] = bun.Safe(compose(db, subscribedMembers, args{"holds": holds, "takes": takes}))
	}
	return compose(db, subscribed, a)
}

// SubscribedProducts returns of which of the given products an enabled subscription that v may know of receives
// notifications.
func SubscribedProducts(ctx context.Context, db bun.IDB, v Viewer, products []int64) (map[int64]bool, error) {
	return idSet(ctx, db, `SELECT id FROM products WHERE id = ANY (@ids) AND @subscribed`, args{
		"ids": numbers(products), "subscribed": bun.Safe(isSubscribed(db, v)),
	})
}

const subscribedGroups = `
	SELECT DISTINCT s.product_group_id FROM subscriptions s WHERE s.product_group_id = ANY (@ids) AND @takes AND @visible`

// SubscribedGroups returns to which of the given product groups there is an enabled subscription that v sees.
func SubscribedGroups(ctx context.Context, db bun.IDB, v Viewer, groups []int64) (map[int64]bool, error) {
	return idSet(ctx, db, subscribedGroups, args{
		"ids": numbers(groups), "takes": takes, "visible": bun.Safe(v.subscriptions("s")),
	})
}

func idSet(ctx context.Context, db bun.IDB, statement string, a args) (map[int64]bool, error) {
	ids, err := queryAll[int64](ctx, db, statement, a)
	out := make(map[int64]bool, len(ids))
	for _, id := range ids {
		out[id] = true
	}
	return out, err
}
