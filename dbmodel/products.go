package dbmodel

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// NotificationSettings are the columns that products and product groups share. Their contacts are rows of their own.
type NotificationSettings struct {
	PausedFrom     *time.Time    `bun:"notification_paused_from"` // nil: at once
	PausedUntil    *time.Time    `bun:"notification_paused_until"`
	MinSeverity    rule.Severity `bun:"observation_notification_min_severity"`
	Statuses       []rule.Status `bun:"observation_notification_statuses,type:jsonb,nullzero,default:'[]'"`
	MinPriority    *int          `bun:"observation_notification_min_priority"`
	KnownExploited bool          `bun:"observation_notification_known_exploited"`
}

// Rule is the settings and contacts as rule must know them; now is the database's time.
func (n *NotificationSettings) Rule(contacts rule.Contacts, now time.Time) rule.Settings {
	return rule.Settings{
		Conditions: rule.Conditions{
			MinSeverity: n.MinSeverity, Statuses: n.Statuses, MinPriority: n.MinPriority, KnownExploited: n.KnownExploited,
		},
		Contacts: contacts,
		Paused:   n.PausedUntil != nil && n.PausedUntil.After(now) && (n.PausedFrom == nil || !n.PausedFrom.After(now)),
	}
}

// ProductGroup bundles products that share settings.
type ProductGroup struct {
	bun.BaseModel `bun:"table:product_groups,alias:product_groups"`

	ID   int64 `bun:",pk"`
	Name string
	NotificationSettings

	NameOnly bool `bun:",scanonly"` // the Viewer sees no more than id and name: all else is empty
}

// Product is what observations are found in.
type Product struct {
	bun.BaseModel `bun:"table:products,alias:products"`

	ID                 int64 `bun:",pk"`
	Name               string
	ProductGroupID     *int64
	SecurityGatePassed *bool // SetSecurityGate writes it
	NotificationSettings
}

// VisibleProductByID returns a product, ErrNotFound where there is none with this id that v sees.
func VisibleProductByID(ctx context.Context, db bun.IDB, v Viewer, id int64) (*Product, error) {
	p := new(Product)
	q := db.NewSelect().Model(p).Apply(selectProducts).Where("id = ?", id).Where(VisibleProducts(v, "products.id"))
	return p, Translate(q.Scan(ctx))
}

// ProductByID returns a product for any caller, ErrNotFound where there is none.
func ProductByID(ctx context.Context, db bun.IDB, id int64) (*Product, error) {
	p := new(Product)
	return p, Translate(db.NewSelect().Model(p).Apply(selectProducts).Where("id = ?", id).Scan(ctx))
}

// ProductForUpdate is ProductByID that keeps others from changing the product, and from deleting its group, until the
// transaction ends.
func ProductForUpdate(ctx context.Context, tx bun.Tx, id int64) (*Product, error) {
	p := new(Product)
	err := Translate(locked(tx.NewSelect().Model(p).Where("id = ?", id)).Scan(ctx))
	if err != nil || p.ProductGroupID == nil {
		return p, err
	}
	if err = keepProductGroup(ctx, tx, *p.ProductGroupID); errors.Is(err, ErrNotFound) {
		p.ProductGroupID, err = nil, nil
	}
	return p, err
}

// keepProductGroup keeps others from deleting a product group until the transaction ends. It returns ErrNotFound where
// there is none.
func keepProductGroup(ctx context.Context, db bun.IDB, id int64) error {
	_, err := queryOne[int64](ctx, db, "SELECT id FROM product_groups WHERE id = @id FOR KEY SHARE", args{"id": id})
	return err
}

// AddProduct stores a product without a name, to be filled in the same transaction, where there is none with this id.
func AddProduct(ctx context.Context, tx bun.Tx, id int64) error {
	n, err := exec(ctx, tx, "INSERT INTO products (id, name) VALUES (@id, '') ON CONFLICT (id) DO NOTHING", args{"id": id})
	if err != nil || n == 0 {
		return err
	}
	// A statement of its own: it sees a deletion for which the first statement has waited.
	_, err = exec(ctx, tx, `
		UPDATE products SET generation = (SELECT max(generation) + 1 FROM deletions WHERE product_id = @id)
		WHERE id = @id AND EXISTS (SELECT 1 FROM deletions WHERE product_id = @id)`, args{"id": id})
	return err
}

// SaveProduct inserts or replaces a product, all but its security gate. Where a product with this id may have been
// deleted before, the caller calls AddProduct first. It returns ErrConflict where the product group does not exist.
func SaveProduct(ctx context.Context, db bun.IDB, p *Product) error {
	if p.ProductGroupID != nil {
		err := keepProductGroup(ctx, db, *p.ProductGroupID)
		if errors.Is(err, ErrNotFound) {
			return ErrConflict
		}
		if err != nil {
			return err
		}
	}
	if p.Statuses == nil {
		p.Statuses = []rule.Status{}
	}
	_, err := db.NewInsert().Model(p).ExcludeColumn("security_gate_passed").On("CONFLICT (id) DO UPDATE").
		Set("name = EXCLUDED.name").Set("product_group_id = EXCLUDED.product_group_id").
		Apply(setNotificationSettings).Exec(ctx)
	return Translate(err)
}

const noteProductDeletion = `
	INSERT INTO deletions (product_id, generation, until_notification, until_event)
	SELECT @id::bigint, @generation::bigint, (SELECT coalesce(max(id), 0) FROM notifications),
		(SELECT coalesce(max(id), 0) FROM outbox)`

// DeleteProduct deletes a product with its contacts, members and subscriptions, and hides its observations,
// notifications, deliveries and waiting events, which a worker removes in parts. It returns ErrNotFound where there is
// none. Transactions that store something of the product lock its row too: they and this short transaction wait for
// one another.
func DeleteProduct(ctx context.Context, tx bun.Tx, id int64) error {
	generation, err := queryOne[int64](ctx, tx, "DELETE FROM products WHERE id = @id RETURNING generation", args{"id": id})
	if err != nil {
		return err
	}
	// A statement of its own: it sees what was stored by the transactions for which the first statement has waited.
	if _, err := exec(ctx, tx, noteProductDeletion, args{"id": id, "generation": generation}); err != nil {
		return err
	}
	return noteDeletion(ctx, tx)
}

// VisibleProductGroupByID returns a product group as v sees it, ErrNotFound where there is none with this id that v
// sees.
func VisibleProductGroupByID(ctx context.Context, db bun.IDB, v Viewer, id int64) (*ProductGroup, error) {
	g := new(ProductGroup)
	err := db.NewSelect().Model(g).Apply(v.selectGroups).Where("id = ?", id).Scan(ctx)
	g.hide()
	return g, Translate(err)
}

// ProductGroupByID returns a product group for any caller, ErrNotFound where there is none.
func ProductGroupByID(ctx context.Context, db bun.IDB, id int64) (*ProductGroup, error) {
	g := new(ProductGroup)
	return g, Translate(db.NewSelect().Model(g).Where("id = ?", id).Scan(ctx))
}

// ProductGroupForUpdate is ProductGroupByID that keeps others from changing the group until the transaction ends.
func ProductGroupForUpdate(ctx context.Context, tx bun.Tx, id int64) (*ProductGroup, error) {
	g := new(ProductGroup)
	return g, Translate(locked(tx.NewSelect().Model(g).Where("id = ?", id)).Scan(ctx))
}

// AddProductGroup stores a product group without a name, to be filled in the same transaction, where there is none
// with this id. Products that still name a deleted group with this id are taken out of it; TakeOutProducts, called
// before, leaves few of them.
func AddProductGroup(ctx context.Context, tx bun.Tx, id int64) error {
	n, err := exec(ctx, tx, `INSERT INTO product_groups (id, name) VALUES (@id, '') ON CONFLICT (id) DO NOTHING`,
		args{"id": id})
	if err != nil || n == 0 {
		return err
	}
	// Statements of their own: they see a deletion for which the first statement has waited.
	_, err = exec(ctx, tx, `
		UPDATE products SET product_group_id = NULL WHERE product_group_id = @id
		AND EXISTS (SELECT 1 FROM deletions WHERE product_group_id = @id)`, args{"id": id})
	if err != nil {
		return err
	}
	_, err = exec(ctx, tx, `DELETE FROM deletions WHERE product_group_id = @id`, args{"id": id})
	return err
}

// SaveProductGroup inserts or replaces a product group.
func SaveProductGroup(ctx context.Context, db bun.IDB, g *ProductGroup) error {
	if g.Statuses == nil {
		g.Statuses = []rule.Status{}
	}
	_, err := db.NewInsert().Model(g).On("CONFLICT (id) DO UPDATE").
		Set("name = EXCLUDED.name").Apply(setNotificationSettings).Exec(ctx)
	return Translate(err)
}

const noteProductGroupDeletion = `
	INSERT INTO deletions (product_group_id)
	SELECT @id::bigint WHERE EXISTS (SELECT 1 FROM products WHERE product_group_id = @id)`

// DeleteProductGroup deletes a product group with its contacts, members and subscriptions. Its products stay, without
// a group from then on: they name it until a worker has taken them out in parts, but nobody sees that. It returns
// ErrNotFound where there is none.
func DeleteProductGroup(ctx context.Context, tx bun.Tx, id int64) error {
	if err := execOne(ctx, tx, `DELETE FROM product_groups WHERE id = @id`, args{"id": id}); err != nil {
		return err
	}
	// A statement of its own: it sees the products that were stored by the transactions for which the first statement
	// has waited.
	_, err := exec(ctx, tx, noteProductGroupDeletion, args{"id": id})
	return err
}

// inProductGroup is the condition that a product of the table alias belongs to the product group whose id is expr. A
// product may name one that is deleted: then nothing belongs to it.
func inProductGroup(alias, expr string) string {
	return alias + ".product_group_id = (SELECT g.id FROM product_groups AS g WHERE g.id = " + expr + ")"
}

// selectProducts selects products, each with its group unless that is deleted.
func selectProducts(q *bun.SelectQuery) *bun.SelectQuery {
	return q.ExcludeColumn("product_group_id").ColumnExpr(
		"(SELECT g.id FROM product_groups AS g WHERE g.id = products.product_group_id) AS product_group_id")
}

// Products lists up to limit products that v sees, with an id above after, by id.
func Products(ctx context.Context, db bun.IDB, v Viewer, after int64, limit int) ([]Product, error) {
	var list []Product
	q := db.NewSelect().Model(&list).Apply(selectProducts).Where("id > ?", after).
		Where(VisibleProducts(v, "products.id"))
	return list, Translate(q.Order("id").Limit(int64(limit)).Scan(ctx))
}

// ProductGroups lists up to limit product groups that v sees, with an id above after, by id.
func ProductGroups(ctx context.Context, db bun.IDB, v Viewer, after int64, limit int) ([]ProductGroup, error) {
	var list []ProductGroup
	err := db.NewSelect().Model(&list).Apply(v.selectGroups).
		Where("id > ?", after).Order("id").Limit(int64(limit)).Scan(ctx)
	for i := range list {
		list[i].hide()
	}
	return list, Translate(err)
}

// hide empties the fields that the viewer does not see.
func (g *ProductGroup) hide() {
	if g.NameOnly {
		*g = ProductGroup{ID: g.ID, Name: g.Name, NameOnly: true}
	}
}

const securityGateForUpdate = `
	SELECT security_gate_passed, security_gate_reported_at, clock_timestamp() AS now
	FROM products WHERE id = @product FOR NO KEY UPDATE`

// SecurityGateForUpdate returns the value of a product's gate and keeps others from changing it until the transaction
// ends. younger reports whether that value was reported after reportedAt; nil stands for now, so younger is false. It
// is false, too, where the time stored for the value is ahead of the database's clock. The error is ErrNotFound where
// there is no such product.
func SecurityGateForUpdate(
	ctx context.Context, tx bun.IDB, productID int64, reportedAt *time.Time,
) (passed *bool, younger bool, err error) {
	gate, err := queryOne[struct {
		SecurityGatePassed     *bool
		SecurityGateReportedAt time.Time
		Now                    time.Time
	}](ctx, tx, securityGateForUpdate, args{"product": productID})
	at := gate.SecurityGateReportedAt
	return gate.SecurityGatePassed, reportedAt != nil && at.After(*reportedAt) && !at.After(gate.Now), err
}

const setSecurityGate = `
	UPDATE products SET security_gate_passed = @passed,
		security_gate_reported_at = coalesce(@reported_at::timestamptz, clock_timestamp())
	WHERE id = @product`

// SetSecurityGate stores the value of a product's gate and when it was reported; reportedAt nil is now.
func SetSecurityGate(ctx context.Context, tx bun.IDB, productID int64, passed *bool, reportedAt *time.Time) error {
	_, err := exec(ctx, tx, setSecurityGate, args{"product": productID, "passed": passed, "reported_at": reportedAt})
	return err
}

// setNotificationSettings sets the columns of NotificationSettings where a row is replaced.
func setNotificationSettings(q *bun.InsertQuery) *bun.InsertQuery {
	for _, c := range []string{
		"notification_paused_from", "notification_paused_until",
		"observation_notification_min_severity", "observation_notification_statuses", "observation_notification_min_priority",
		"observation_notification_known_exploited",
	} {
		q = q.Set("? = EXCLUDED.?", bun.Ident(c), bun.Ident(c))
	}
	return q
}

const (
	productNames = `SELECT id, name FROM products WHERE id = ANY (@ids) AND @visible`
	groupNames   = `SELECT id, name FROM product_groups WHERE id = ANY (@ids) AND @visible`
)

// NamesOf returns the names of products or of product groups, as kind says, by id; those that v does not see are left
// out.
func NamesOf(
	ctx context.Context, db bun.IDB, v Viewer, kind rule.HolderKind, ids []int64,
) (map[int64]string, error) {
	statement, visible := productNames, VisibleProducts(v, "id")
	if kind == rule.HolderGroup {
		statement, visible = groupNames, v.groups("id")
	}
	list, err := queryAll[struct {
		ID   int64
		Name string
	}](ctx, db, statement, args{"ids": numbers(ids), "visible": bun.Safe(visible)})
	out := make(map[int64]string, len(list))
	for _, n := range list {
		out[n.ID] = n.Name
	}
	return out, err
}

// ProductIDsOfGroup returns the ids of the products of a group, by id.
func ProductIDsOfGroup(ctx context.Context, db bun.IDB, groupID int64) ([]int64, error) {
	return queryAll[int64](ctx, db, "SELECT p.id FROM products p WHERE "+inProductGroup("p", "@group")+" ORDER BY p.id",
		args{"group": groupID})
}
