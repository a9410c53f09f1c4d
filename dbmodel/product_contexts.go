package dbmodel

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// ProductContext is what an evaluation must know of a product: its settings, and those of its group.
type ProductContext struct {
	ID         int64
	Generation int64 // that of its observations; observations with another one are deleted
	Name       string
	GroupID    int64  // 0: no group
	GroupName  string // empty: no group
	Product    rule.Settings
	Group      *rule.Settings
}

// contextRow is a row of productContexts.
type contextRow struct {
	ID         int64
	Generation int64
	Name       string
	Product    settingsRow `bun:"embed:product_"`

	GroupID   int64
	GroupName *string
	Group     settingsRow `bun:"embed:group_"`
}

// settingsRow is NotificationSettings as they hold now.
type settingsRow struct {
	Paused         bool
	MinSeverity    rule.Severity
	Statuses       []rule.Status
	MinPriority    *int
	KnownExploited bool
}

func (r *settingsRow) settings() rule.Settings {
	return rule.Settings{
		Conditions: rule.Conditions{
			MinSeverity: r.MinSeverity, Statuses: r.Statuses, MinPriority: r.MinPriority, KnownExploited: r.KnownExploited,
		},
		Paused: r.Paused,
	}
}

func (r *contextRow) context() *ProductContext {
	c := &ProductContext{ID: r.ID, Generation: r.Generation, Name: r.Name, Product: r.Product.settings()}
	if r.GroupName != nil {
		group := r.Group.settings()
		c.GroupID, c.GroupName, c.Group = r.GroupID, *r.GroupName, &group
	}
	return c
}

const productContexts = `
	SELECT p.id, p.generation, p.name, @product_paused AS product_paused,
		p.observation_notification_min_severity AS product_min_severity,
		p.observation_notification_statuses AS product_statuses,
		p.observation_notification_min_priority AS product_min_priority,
		p.observation_notification_known_exploited AS product_known_exploited,
		g.id AS group_id, g.name AS group_name, @group_paused AS group_paused,
		g.observation_notification_min_severity AS group_min_severity, g.observation_notification_statuses AS group_statuses,
		g.observation_notification_min_priority AS group_min_priority,
		g.observation_notification_known_exploited AS group_known_exploited
	FROM products p LEFT JOIN product_groups g ON g.id = p.product_group_id WHERE p.id = ANY (@products)`

const keptProductContexts = productContexts + ` ORDER BY p.id FOR KEY SHARE OF p`

// ProductContexts returns the products with the given ids by id; those that do not exist are left out. Whether
// notifications are paused is decided by the database's clock.
func ProductContexts(ctx context.Context, db bun.IDB, ids []int64) (map[int64]*ProductContext, error) {
	return contexts(ctx, db, productContexts, ids)
}

// KeptProductContexts is ProductContexts that keeps the products from being deleted until the transaction ends.
func KeptProductContexts(ctx context.Context, tx bun.Tx, ids []int64) (map[int64]*ProductContext, error) {
	return contexts(ctx, tx, keptProductContexts, ids)
}

// contexts runs productContexts, or a statement made of it, and reads the contacts of the products and their groups.
func contexts(ctx context.Context, db bun.IDB, statement string, ids []int64) (map[int64]*ProductContext, error) {
	found, err := queryAll[contextRow](ctx, db, statement, args{
		"products": numbers(ids), "product_paused": paused(db, "p"), "group_paused": paused(db, "g"),
	})
	if err != nil {
		return nil, err
	}
	list := make([]*ProductContext, len(found))
	for i := range found {
		list[i] = found[i].context()
	}
	if len(list) == 0 {
		return map[int64]*ProductContext{}, nil
	}
	contacts, err := ContactsOf(ctx, db, holdersOf(list)...)
	if err != nil {
		return nil, err
	}
	out := make(map[int64]*ProductContext, len(list))
	for _, c := range list {
		c.Product.Contacts = contacts[rule.Holder{Kind: rule.HolderProduct, ID: c.ID}]
		if c.Group != nil {
			c.Group.Contacts = contacts[rule.Holder{Kind: rule.HolderGroup, ID: c.GroupID}]
		}
		out[c.ID] = c
	}
	return out, nil
}
