package dbmodel

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Subscribers are the subscriptions that hold for some products, and for what has no product.
type Subscribers struct {
	everywhere []*rule.Subscription
	in         map[int64][]*rule.Subscription
}

// Of returns the subscriptions that hold for a product, or with 0 for what has none, by id.
func (s *Subscribers) Of(product int64) []*rule.Subscription {
	here := s.in[product]
	switch {
	case len(here) == 0:
		return s.everywhere
	case len(s.everywhere) == 0:
		return here
	}
	out := slices.Concat(s.everywhere, here)
	slices.SortFunc(out, func(a, b *rule.Subscription) int { return int(a.ID - b.ID) })
	return out
}

// EnabledSubscribers returns the enabled subscriptions that may take notifications of the given types in products, by the
// memberships of now. memberTypes are the types that members see. worst is the worst severity in the notifications; empty where
// some have none. Subscriptions that ask for a worse one are left out: their filters would pass nothing.
func EnabledSubscribers(
	ctx context.Context, db bun.IDB, products []int64, types, memberTypes []rule.Type, worst rule.Severity,
) (*Subscribers, error) {
	members := slices.ContainsFunc(types, func(t rule.Type) bool { return slices.Contains(memberTypes, t) })
	condition := "s.enabled"
	if worst != "" {
		condition += fmt.Sprintf(" AND (s.min_severity = '' OR %s >= %d)", severityRank("s.min_severity"), worst.Rank())
	}
	return subscribers(ctx, db, products, memberTypes, members, condition)
}

// SubscribersFor returns the subscriptions for one product, or with 0 for what has none, that v sees; those that are disabled too.
func SubscribersFor(ctx context.Context, db bun.IDB, v Viewer, product int64, memberTypes []rule.Type) ([]*rule.Subscription, error) {
	condition := "TRUE"
	if !v.Admin {
		condition = fmt.Sprintf("(s.user_id IS NULL OR s.user_id = %d)", v.UserID)
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

// SubscribersOfGroup returns the subscriptions to a product group that v sees; those that are disabled too.
func SubscribersOfGroup(ctx context.Context, db bun.IDB, v Viewer, group int64, memberTypes []rule.Type) ([]*rule.Subscription, error) {
	const most = 1000
	list, err := Subscriptions(ctx, db, v, SubscriptionFilter{ProductGroupID: group}, most)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	byID, err := ruleSubscriptions(ctx, db, ids, memberTypes)
	if err != nil {
		return nil, err
	}
	var out []*rule.Subscription
	for _, id := range ids {
		if s := byID[id]; s != nil {
			out = append(out, s)
		}
	}
	return out, nil
}

// pair is a subscription and a product for which it holds; 0: for everything.
type pair struct{ subscription, product int64 }

// subscribers reads the subscriptions for which condition holds, on the table s. members: those of members count.
func subscribers(ctx context.Context, db bun.IDB, products []int64, memberTypes []rule.Type, members bool, condition string) (*Subscribers, error) {
	inProducts, arg := anyOf(db, "p.id", 1, products)
	ofProducts, _ := anyOf(db, "s.product_id", 1, products)
	// Each part begins with the few rows that it is about, and looks up the rest by key.
	of := func(whose string) string { return lookUp(db, "JOIN", "subscriptions", "s", "user_id = "+whose, "") }
	const fits = ` AND (s.product_id IS NULL OR s.product_id = p.id) AND (s.product_group_id IS NULL OR s.product_group_id = p.product_group_id) AND `
	query := `WITH admins AS MATERIALIZED (SELECT s.id, s.product_id, s.product_group_id FROM users u ` + of("u.id") + ` WHERE u.is_admin AND ` + condition + `)
		SELECT s.id, s.product_id FROM subscriptions s WHERE ` + ofProducts + ` AND s.user_id IS NULL AND ` + condition + `
		UNION ALL SELECT s.id, p.id FROM products p ` + lookUp(db, "JOIN", "subscriptions", "s", "product_group_id = p.product_group_id", "") + `
			WHERE ` + inProducts + ` AND s.user_id IS NULL AND ` + condition + `
		UNION ALL SELECT s.id, 0 FROM subscriptions s WHERE s.user_id IS NULL AND s.product_id IS NULL AND s.product_group_id IS NULL AND ` + condition + `
		UNION ALL SELECT s.id, coalesce(s.product_id, 0) FROM admins s WHERE s.product_group_id IS NULL AND (s.product_id IS NULL OR ` + ofProducts + `)
		UNION ALL SELECT s.id, p.id FROM admins s JOIN products p ON p.product_group_id = s.product_group_id WHERE ` + inProducts + `
		UNION ALL SELECT * FROM (
			SELECT s.id, p.id FROM products p ` + lookUp(db, "JOIN", "product_members", "m", "product_id = p.id", "") + ` ` +
		of("m.user_id") + ` WHERE $2 AND ` + inProducts + fits + condition + `
			UNION SELECT s.id, p.id FROM products p ` + lookUp(db, "JOIN", "product_group_members", "m", "product_group_id = p.product_group_id", "") + ` ` +
		of("m.user_id") + ` WHERE $2 AND ` + inProducts + fits + condition + `
		) AS mine` // once for a member of a product who is one of its group, too; an administrator may be a member
	pairs, err := collect(ctx, db, func(rows *sql.Rows) (p pair, err error) {
		err = rows.Scan(&p.subscription, &p.product)
		return p, err
	}, query, arg, members)
	if err != nil {
		return nil, fmt.Errorf("find subscriptions: %w", err)
	}
	out := &Subscribers{in: map[int64][]*rule.Subscription{}}
	if len(pairs) == 0 {
		return out, nil
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.subscription, b.subscription), cmp.Compare(a.product, b.product))
	})
	pairs = slices.Compact(pairs)
	ids := make([]int64, 0, len(pairs))
	for _, p := range pairs {
		ids = append(ids, p.subscription)
	}
	byID, err := ruleSubscriptions(ctx, db, slices.Compact(ids), memberTypes)
	if err != nil {
		return nil, err
	}
	everywhere := int64(0)
	for _, p := range pairs {
		s := byID[p.subscription]
		switch {
		case s == nil: // deleted a moment ago, or it has no contact
		case p.subscription == everywhere: // its product is one of all
		case p.product == 0:
			everywhere = p.subscription
			out.everywhere = append(out.everywhere, s)
		default:
			out.in[p.product] = append(out.in[p.product], s)
		}
	}
	return out, nil
}

// ruleSubscriptions reads what rule must know of subscriptions; those without a contact are left out.
func ruleSubscriptions(ctx context.Context, db bun.IDB, ids []int64, memberTypes []rule.Type) (map[int64]*rule.Subscription, error) {
	in, arg := anyOf(db, "s.id", 1, ids)
	out := make(map[int64]*rule.Subscription, len(ids))
	teamTypes := []rule.Type{rule.TypeObservation, rule.TypeSecurityGate, rule.TypeTask}
	personalTypes := slices.DeleteFunc(slices.Clone(memberTypes), func(t rule.Type) bool {
		return t == rule.TypeObservationTitle || t == rule.TypeException
	})
	_, err := collect(ctx, db, func(rows *sql.Rows) (struct{}, error) {
		var s rule.Subscription
		var lists [4][]byte
		var c rule.Contact
		err := rows.Scan(&s.ID, &s.Name, &s.User, &s.Enabled, &s.Whole, &lists[0], &lists[1], &lists[2], &lists[3], &s.Filter.MinSeverity,
			&s.Filter.MinPriority, &s.Filter.KnownExploited, &s.Schedule, &s.AtOnce.MinSeverity, &c.Channel, &c.Target, &c.Address, &c.Gone)
		if err != nil {
			return struct{}{}, err
		}
		known := out[s.ID]
		if known == nil {
			for i, to := range []any{&s.Filter.Types, &s.Filter.Events, &s.Filter.ParserTypes, &s.Filter.Statuses} {
				if string(lists[i]) == "[]" {
					continue
				}
				if err := json.Unmarshal(lists[i], to); err != nil {
					return struct{}{}, fmt.Errorf("the filter of subscription %d: %w", s.ID, err)
				}
			}
			switch {
			case s.Whole:
			case s.User == 0:
				s.Sees = teamTypes
			default:
				s.Sees = personalTypes
			}
			known = &s
			out[s.ID] = known
		}
		c.Holder = rule.Holder{Kind: rule.HolderSubscription, ID: s.ID}
		known.Contacts = append(known.Contacts, c)
		return struct{}{}, nil
	}, `SELECT s.id, s.name, coalesce(s.user_id, 0), s.enabled,
		CASE WHEN s.user_id IS NULL THEN s.product_id IS NULL AND s.product_group_id IS NULL ELSE s.user_id IN (SELECT id FROM users WHERE is_admin) END,
		s.types, s.events, s.parser_types, s.statuses, s.min_severity, s.min_priority, s.known_exploited, s.schedule, s.immediate_min_severity,
		c.channel, coalesce(c.target_id, 0), c.address, c.disabled_at IS NOT NULL
		FROM subscriptions s `+lookUp(db, "JOIN", "contacts", "c", "subscription_id = s.id", "")+`
		WHERE `+in+" ORDER BY s.id, c.position", arg)
	return out, err
}
