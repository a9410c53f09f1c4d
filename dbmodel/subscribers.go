package dbmodel

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Subscribers are the subscriptions that hold for some products, and for notifications without a product.
type Subscribers struct {
	everywhere []*rule.Subscription
	in         map[int64][]*rule.Subscription
}

// Of returns the subscriptions that hold for a product, or with 0 for notifications without one, by id.
func (s *Subscribers) Of(product int64) []*rule.Subscription {
	here := s.in[product]
	switch {
	case len(here) == 0:
		return s.everywhere
	case len(s.everywhere) == 0:
		return here
	}
	out := slices.Concat(s.everywhere, here)
	slices.SortFunc(out, func(a, b *rule.Subscription) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// EnabledSubscribers returns the enabled subscriptions that may take notifications of the given types in products at
// once, by the memberships of now. memberTypes are the types that members see. worst is the worst severity in the
// notifications; empty where some have none. Subscriptions are left out that ask for other types or for a worse
// severity, or that take all these notifications with their next slot.
func EnabledSubscribers(
	ctx context.Context, db bun.IDB, products []int64, types, memberTypes []rule.Type, worst rule.Severity,
) (*Subscribers, error) {
	members := slices.ContainsFunc(types, func(t rule.Type) bool { return slices.Contains(memberTypes, t) })
	reached := func(string) string { return "TRUE" }
	if worst != "" {
		reached = func(severity string) string { return fmt.Sprintf("%s >= %d", severityRank(severity), worst.Rank()) }
	}
	condition := fmt.Sprintf("s.enabled AND (s.min_severity = '' OR %s) "+
		"AND (s.schedule = '' OR s.immediate_min_severity <> '' AND %s) AND (%s)",
		reached("s.min_severity"), reached("s.immediate_min_severity"), namesOne("s.types", types))
	return subscribers(ctx, db, products, memberTypes, members, condition)
}

// namesOne is the condition that a column, a JSON array of words, is empty or holds one of the given types.
func namesOne(column string, types []rule.Type) string {
	text := "CAST(" + column + " AS text)"
	conditions := []string{text + ` NOT LIKE '%"%'`}
	for _, t := range types {
		conditions = append(conditions, fmt.Sprintf(`%s LIKE '%%"%s"%%'`, text, t))
	}
	return strings.Join(conditions, " OR ")
}

// SubscribersFor returns the subscriptions for one product, or with 0 for notifications without one, that v sees;
// those that are disabled too.
func SubscribersFor(
	ctx context.Context, db bun.IDB, v Viewer, product int64, memberTypes []rule.Type,
) ([]*rule.Subscription, error) {
	condition := "NOT s.deleted"
	if !v.Admin {
		condition += fmt.Sprintf(" AND (s.user_id IS NULL OR s.user_id = %d)", v.UserID)
	}
	var products []int64
	if product != 0 {
		products = []int64{product}
	}
	found, err := subscribers(ctx, db, products, memberTypes, true, condition)
	if err != nil {
		return nil, err
	}
	list := found.Of(product)
	if !v.Admin { // a team's for everything is for administrators
		list = slices.DeleteFunc(slices.Clone(list), func(s *rule.Subscription) bool { return s.User == 0 && s.Whole })
	}
	return list, nil
}

// groupSubscribersPage is how many subscriptions to a product group one query reads.
const groupSubscribersPage = 1_000

// SubscribersOfGroup returns the subscriptions to a product group that v sees; those that are disabled too.
func SubscribersOfGroup(
	ctx context.Context, db bun.IDB, v Viewer, group int64, memberTypes []rule.Type,
) ([]*rule.Subscription, error) {
	var out []*rule.Subscription
	for after := int64(0); ; {
		list, err := Subscriptions(ctx, db, v, SubscriptionFilter{ProductGroupID: group, After: after},
			groupSubscribersPage)
		if err != nil || len(list) == 0 {
			return out, err
		}
		ids := make([]int64, len(list))
		for i := range list {
			ids[i] = list[i].ID
		}
		byID, err := ruleSubscriptions(ctx, db, ids, memberTypes)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if s := byID[id]; s != nil {
				out = append(out, s)
			}
		}
		after = ids[len(ids)-1]
	}
}

// pair is a subscription and a product for which it holds; 0: for everything.
type pair struct{ Subscription, Product int64 }

// subscriberPairs finds the subscriptions of teams and of administrators, then those of members. It returns a pair
// once where the user is a member of the product and of its group, but twice where an administrator is also a member.
// @wanted is a condition on s. Each part begins with the few rows that it is about, and looks up the rest by key.
const subscriberPairs = `
	WITH admins AS MATERIALIZED (
		SELECT s.id, s.product_id, s.product_group_id FROM users u
		JOIN LATERAL (SELECT * FROM subscriptions AS s WHERE s.user_id = u.id OFFSET 0) AS s ON true
		WHERE u.is_admin AND @wanted
	)
	SELECT s.id AS subscription, s.product_id AS product FROM subscriptions s
	WHERE s.product_id = ANY (@products) AND s.user_id IS NULL AND @wanted
	UNION ALL
	SELECT s.id, p.id FROM products p
	JOIN LATERAL (SELECT * FROM subscriptions AS s WHERE s.product_group_id = p.product_group_id OFFSET 0) AS s ON true
	WHERE p.id = ANY (@products) AND s.user_id IS NULL AND @wanted
	UNION ALL
	SELECT s.id, 0 FROM subscriptions s
	WHERE s.user_id IS NULL AND s.product_id IS NULL AND s.product_group_id IS NULL AND @wanted
	UNION ALL
	SELECT s.id, coalesce(s.product_id, 0) FROM admins s
	WHERE s.product_group_id IS NULL AND (s.product_id IS NULL OR s.product_id = ANY (@products))
	UNION ALL
	SELECT s.id, p.id FROM admins s JOIN products p ON p.product_group_id = s.product_group_id WHERE p.id = ANY (@products)
	UNION ALL
	SELECT * FROM (
		SELECT s.id, p.id FROM products p
		JOIN LATERAL (SELECT * FROM product_members AS m WHERE m.product_id = p.id OFFSET 0) AS m ON true
		JOIN LATERAL (SELECT * FROM subscriptions AS s WHERE s.user_id = m.user_id OFFSET 0) AS s ON true
		WHERE @members AND p.id = ANY (@products) AND (s.product_id IS NULL OR s.product_id = p.id)
			AND (s.product_group_id IS NULL OR s.product_group_id = p.product_group_id) AND @wanted
		UNION
		SELECT s.id, p.id FROM products p
		JOIN LATERAL (SELECT * FROM product_group_members AS m
			WHERE m.product_group_id = p.product_group_id OFFSET 0) AS m ON true
		JOIN LATERAL (SELECT * FROM subscriptions AS s WHERE s.user_id = m.user_id OFFSET 0) AS s ON true
		WHERE @members AND p.id = ANY (@products) AND (s.product_id IS NULL OR s.product_id = p.id)
			AND (s.product_group_id IS NULL OR s.product_group_id = p.product_group_id) AND @wanted
	) AS mine`

// subscribers reads the subscriptions that hold for products and meet condition, which names their table s; those of
// members only where members is true.
func subscribers(
	ctx context.Context, db bun.IDB, products []int64, memberTypes []rule.Type, members bool, condition string,
) (*Subscribers, error) {
	pairs, err := queryAll[pair](ctx, db, subscriberPairs,
		args{"products": numbers(products), "members": members, "wanted": bun.Safe(condition)})
	if err != nil {
		return nil, fmt.Errorf("find subscriptions: %w", err)
	}
	out := &Subscribers{in: map[int64][]*rule.Subscription{}}
	if len(pairs) == 0 {
		return out, nil
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.Subscription, b.Subscription), cmp.Compare(a.Product, b.Product))
	})
	pairs = slices.Compact(pairs)
	ids := make([]int64, 0, len(pairs))
	for _, p := range pairs {
		ids = append(ids, p.Subscription)
	}
	byID, err := ruleSubscriptions(ctx, db, slices.Compact(ids), memberTypes)
	if err != nil {
		return nil, err
	}
	last := int64(0) // the last subscription to everything
	for _, p := range pairs {
		s := byID[p.Subscription]
		switch {
		case s == nil: // deleted a moment ago, or it has no contact
		case p.Subscription == last: // its product is one of all
		case p.Product == 0:
			last = p.Subscription
			out.everywhere = append(out.everywhere, s)
		default:
			out.in[p.Product] = append(out.in[p.Product], s)
		}
	}
	return out, nil
}

const ruleSubscriptionRows = `
	SELECT s.id, s.name, s.user_id, s.enabled,
		CASE WHEN s.user_id IS NULL THEN s.product_id IS NULL AND s.product_group_id IS NULL
			ELSE s.user_id IN (SELECT id FROM users WHERE is_admin) END AS whole,
		s.types, s.events, s.parser_types, s.statuses, s.min_severity, s.min_priority, s.known_exploited, s.schedule,
		s.immediate_min_severity, s.timezone, s.next_slot_at, s.reported,
		c.channel, c.target_id, c.address, c.disabled_at IS NOT NULL AS gone
	FROM subscriptions s
	JOIN LATERAL (SELECT * FROM contacts AS c WHERE c.subscription_id = s.id OFFSET 0) AS c ON true
	WHERE s.id = ANY (@subscriptions) ORDER BY s.id, c.position`

// ruleSubscriptions reads subscriptions as rule must know them, by id; those without a contact are left out.
func ruleSubscriptions(
	ctx context.Context, db bun.IDB, ids []int64, memberTypes []rule.Type,
) (map[int64]*rule.Subscription, error) {
	list, err := queryAll[struct {
		Subscription
		UserID int64

		Whole    bool
		Channel  rule.Channel
		TargetID int64
		Address  string
		Gone     bool
	}](ctx, db, ruleSubscriptionRows, args{"subscriptions": numbers(ids)})
	personalTypes := rule.PersonalTypes(memberTypes)
	out := make(map[int64]*rule.Subscription, len(ids))
	for i := range list {
		row := &list[i]
		s := out[row.ID]
		if s == nil {
			s = &rule.Subscription{
				ID: row.ID, Name: row.Name, User: row.UserID, Enabled: row.Enabled, Whole: row.Whole,
				Filter: row.Filter(), Schedule: row.Schedule, Timezone: row.Timezone, NextSlot: row.NextSlotAt,
				Reported: row.Reported, Ends: row.Ends(),
			}
			s.AtOnce.MinSeverity = row.ImmediateMinSeverity
			switch {
			case s.Whole:
			case s.User == 0:
				s.Sees = rule.TeamTypes()
			default:
				s.Sees = personalTypes
			}
			out[row.ID] = s
		}
		s.Contacts = append(s.Contacts, rule.Contact{
			Holder: row.Holder(), Channel: row.Channel, Target: row.TargetID, Address: row.Address, Gone: row.Gone,
		})
	}
	return out, err
}
