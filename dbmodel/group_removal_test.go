package dbmodel_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// doomedGroup is a product group with more products than two batches, a condition, a contact, a member of the group and
// one of a product; and a notification of a product.
type doomedGroup struct {
	t      *testing.T
	db     *dbmodel.DB
	member dbmodel.Viewer // of the group
	direct dbmodel.Viewer // of its first product
}

const (
	groupID      = 7
	productsEach = 1_200
)

func newDoomedGroup(t *testing.T, db *dbmodel.DB) *doomedGroup {
	t.Helper()
	c := crowd{db: db}
	g := &doomedGroup{t: t, db: db}
	g.create("Shop")
	_, err := db.ExecContext(t.Context(), fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "+
		"INSERT INTO products (id, name, product_group_id) SELECT i, 'p', %d FROM n", productsEach, groupID))
	if err != nil {
		t.Fatal(err)
	}
	g.member, g.direct = c.member(t, "member"), c.member(t, "direct", 1)
	vault := newVault(t, db)
	contacts, err := dbmodel.NewContacts(t.Context(), db, vault, rule.Email, []string{"a@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		return errors.Join(
			dbmodel.SetMember(ctx, tx, dbmodel.InProductGroup(groupID), g.member.UserID, rule.Owner),
			dbmodel.SetContacts(ctx, tx, rule.Holder{Kind: rule.HolderGroup, ID: groupID}, rule.Email, contacts),
			dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{
				{Notification: dbmodel.Notification{Type: rule.TypeSecurityGate, Name: "x", ProductID: new(int64(1))}},
			}))
	})
	return g
}

func (g *doomedGroup) create(name string) {
	g.t.Helper()
	inTx(g.t, g.db, func(ctx context.Context, tx bun.Tx) error {
		group := &dbmodel.ProductGroup{ID: groupID, Name: name}
		group.MinSeverity = rule.Critical
		return errors.Join(dbmodel.AddProductGroup(ctx, tx, groupID), dbmodel.SaveProductGroup(ctx, tx, group))
	})
}

func (g *doomedGroup) delete() {
	g.t.Helper()
	inTx(g.t, g.db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteProductGroup(ctx, tx, groupID) })
}

// groupView is what is seen of the group through its products.
type groupView struct {
	Products      int           // that the page of the group lists
	Evaluated     int           // that an evaluation of the group is about
	Subscribed    int           // that a subscription to the group is about
	Named         int           // products that name it in the list
	Found         int           // that name it in a search
	Member        int           // that its members see
	Notifications int           // that the filter for the group finds
	Direct        int           // that it finds for a member of the product
	Reaches       int           // products with a contact
	MinSeverity   rule.Severity // that the group asks for
	Role          rule.Role     // of a member of the group in the first product
}

// whole is what is seen before the deletion.
var whole = groupView{
	Products: productsEach, Evaluated: productsEach, Subscribed: productsEach, Named: productsEach, Found: productsEach,
	Member: productsEach, Notifications: 1, Direct: 1, Reaches: productsEach, MinSeverity: rule.Critical, Role: rule.Owner,
}

func (g *doomedGroup) view() (seen groupView) {
	g.t.Helper()
	ctx, db, id := g.t.Context(), g.db, int64(groupID)
	const all = 10_000
	count := func(n int, err error) int {
		g.t.Helper()
		if err != nil {
			g.t.Fatal(err)
		}
		return n
	}
	list, err := dbmodel.ProductsOfGroup(ctx, db, everything, id, all)
	seen.Products = count(len(list), err)
	ids, err := dbmodel.ProductIDsOfGroup(ctx, db, id)
	seen.Evaluated = count(len(ids), err)
	ids, _, err = (&dbmodel.Subscription{ProductGroupID: &id}).ProductsOf(ctx, db, true)
	seen.Subscribed = count(len(ids), err)
	named := func(list []dbmodel.Product) (n int) {
		for i := range list {
			if of := list[i].ProductGroupID; of != nil {
				n++
			}
		}
		return n
	}
	list, err = dbmodel.Products(ctx, db, everything, 0, all)
	seen.Named = count(named(list), err)
	list, err = dbmodel.SearchProducts(ctx, db, everything, dbmodel.ProductSearch{Part: "p"}, all)
	seen.Found = count(named(list), err)
	list, err = dbmodel.Products(ctx, db, g.member, 0, all)
	seen.Member = count(len(list), err)
	of := dbmodel.NotificationFilter{GroupID: id}
	notifications, err := dbmodel.Notifications(ctx, db, everything, of, all)
	seen.Notifications = count(len(notifications), err)
	notifications, err = dbmodel.Notifications(ctx, db, g.direct, of, all)
	seen.Direct = count(len(notifications), err)
	without, err := dbmodel.CountWithoutRecipients(ctx, db, everything)
	seen.Reaches = productsEach - count(without, err)
	contexts, err := dbmodel.ProductContexts(ctx, db, []int64{1})
	if count(len(contexts), err); contexts[1].Group != nil {
		seen.MinSeverity = contexts[1].Group.Conditions.MinSeverity
	}
	seen.Role, err = dbmodel.RoleIn(ctx, db, g.member, 1)
	if err != nil && !errors.Is(err, dbmodel.ErrNotFound) {
		g.t.Fatal(err)
	}
	return seen
}

func (g *doomedGroup) shows(when string, want groupView) {
	g.t.Helper()
	if diff := cmp.Diff(want, g.view()); diff != "" {
		g.t.Fatalf("%s (-want +got):\n%s", when, diff)
	}
}

// removeBatch removes a batch; the error rolls it back, as a crash does.
func (g *doomedGroup) removeBatch(crash error) int64 {
	return (&doomed{t: g.t, db: g.db}).removeBatch(crash)
}

// left counts the products that still name a group.
func (g *doomedGroup) left() (n int) {
	g.t.Helper()
	err := g.db.NewSelect().TableExpr("products").ColumnExpr("count(product_group_id)").Scan(g.t.Context(), &n)
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// TestDeleteProductGroupInBatches: a product group is gone for everybody at once, while its products are taken out of it in
// batches, and where processes are lost meanwhile.
func TestDeleteProductGroupInBatches(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		g := newDoomedGroup(t, db)
		g.shows("before", whole)
		g.delete()
		g.shows("at once", groupView{})
		if n := g.left(); n != productsEach {
			t.Fatalf("the deletion itself has changed products: %d are left", n)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			if err := dbmodel.SetMember(ctx, tx, dbmodel.InProduct(1), g.member.UserID, rule.Reader); err != nil {
				return err
			}
			p, err := dbmodel.ProductForUpdate(ctx, tx, 1)
			if err == nil && p.ProductGroupID != nil {
				err = fmt.Errorf("the product to be changed names group %d", *p.ProductGroupID)
			}
			return err
		})
		p := &dbmodel.Product{ID: 1, Name: "x", ProductGroupID: new(int64(groupID))}
		if err := dbmodel.SaveProduct(t.Context(), db, p); !errors.Is(err, dbmodel.ErrConflict) {
			t.Errorf("a product is put into the group: %v", err)
		}
		for n := int64(1); n > 0; {
			before := g.left()
			g.removeBatch(errors.New("crash"))
			if left := g.left(); left != before {
				t.Fatalf("a crash leaves %d of %d products", left, before)
			}
			n = g.removeBatch(nil)
			if left := g.left(); before-left > productsEach/2 {
				t.Fatalf("a batch has taken out %d products", before-left)
			}
			if _, err := dbmodel.ProductGroupByID(t.Context(), db, groupID); !errors.Is(err, dbmodel.ErrNotFound) {
				t.Fatalf("the group is there: %v", err)
			}
			g.shows("after a batch", groupView{Member: 1, Role: rule.Reader})
		}
		if work, err := dbmodel.FindSweepWork(t.Context(), db); err != nil || work.Deletions || g.left() != 0 {
			t.Errorf("%d products name the group, what is left to do is %+v %v", g.left(), work, err)
		}
	})
}

// TestProductGroupIsCreatedAgain: a product group that is created again under its id starts empty, whatever is left of the
// earlier one, and what comes into it stays.
func TestProductGroupIsCreatedAgain(t *testing.T) {
	t.Parallel()
	for name, takeOut := range map[string]bool{"taken out before": true, "deleted in this moment": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
				g := newDoomedGroup(t, db)
				g.delete()
				g.removeBatch(nil)
				if takeOut {
					if err := dbmodel.TakeOutProducts(t.Context(), db, groupID); err != nil || g.left() != 0 {
						t.Fatalf("%d products are left: %v", g.left(), err)
					}
				}
				g.create("Again")
				inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
					return dbmodel.SetMember(ctx, tx, dbmodel.InProductGroup(groupID), g.member.UserID, rule.Owner)
				})
				g.shows("created again", groupView{})
				p := &dbmodel.Product{ID: productsEach, Name: "p", ProductGroupID: new(int64(groupID))}
				if err := dbmodel.SaveProduct(t.Context(), db, p); err != nil {
					t.Fatal(err)
				}
				for n := int64(1); n > 0; {
					n = g.removeBatch(nil)
				}
				g.shows("with a product", groupView{Products: 1, Evaluated: 1, Subscribed: 1, Named: 1, Found: 1, Member: 1})
				again, err := dbmodel.ProductGroupByID(t.Context(), db, groupID)
				if err != nil || again.Name != "Again" {
					t.Errorf("%+v %v", again, err)
				}
			})
		})
	}
}
