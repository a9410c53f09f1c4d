package dbmodel_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// seen counts what a viewer is shown of one product in a group with one notification of each type and a delivery each.
type seen struct {
	Products, Groups, Notifications, Deliveries int
	Product, Group, Notification, Observation   bool
	Role, GroupRole                             rule.Role
	May, MayNot                                 int // of the notifications, with the role of an owner
}

func look(t *testing.T, db *dbmodel.DB, v dbmodel.Viewer, ids []int64) (s seen) {
	t.Helper()
	ctx := t.Context()
	found := func(err error) bool {
		t.Helper()
		if err != nil && !errors.Is(err, dbmodel.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	products, err := dbmodel.Products(ctx, db, v, 0, 10)
	fail(err)
	groups, err := dbmodel.ProductGroups(ctx, db, v, 0, 10)
	fail(err)
	notifications, err := dbmodel.Notifications(ctx, db, v, dbmodel.NotificationFilter{}, 100)
	fail(err)
	deliveries, err := dbmodel.Deliveries(ctx, db, v, dbmodel.DeliveryFilter{}, 100)
	fail(err)
	of, err := dbmodel.DeliveriesOf(ctx, db, v, ids)
	fail(err)
	if len(of) != len(deliveries) {
		t.Errorf("%+v: %d deliveries, but of %d notifications", v, len(deliveries), len(of))
	}
	may, mayNot, err := dbmodel.NotificationRights(ctx, db, v, ids, rule.Owner)
	fail(err)
	s = seen{Products: len(products), Groups: len(groups), Notifications: len(notifications), Deliveries: len(deliveries), May: len(may), MayNot: len(mayNot)}
	_, err = dbmodel.VisibleProductByID(ctx, db, v, 1)
	s.Product = found(err)
	_, err = dbmodel.VisibleProductGroupByID(ctx, db, v, 1)
	s.Group = found(err)
	for _, id := range ids {
		_, err = dbmodel.VisibleNotificationByID(ctx, db, v, id)
		s.Notification = found(err) || s.Notification
	}
	_, err = dbmodel.VisibleObservationByID(ctx, db, v, 1)
	s.Observation = found(err)
	s.Role, err = dbmodel.RoleIn(ctx, db, v, 1)
	found(err)
	s.GroupRole, err = dbmodel.RoleInGroup(ctx, db, v, 1)
	found(err)
	return s
}

func TestViewer(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		user := func(name string) dbmodel.Viewer {
			if _, err := dbmodel.AddUser(ctx, db, name); err != nil {
				t.Fatal(err)
			}
			u, err := dbmodel.UserByName(ctx, db, name)
			if err != nil {
				t.Fatal(err)
			}
			return u.Viewer()
		}
		outsider, owner, member, other := user("outsider"), user("owner"), user("member"), user("other")
		err := db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			group, product := int64(1), int64(1)
			list := make([]dbmodel.NewNotification, 0, 2*len(rule.Types))
			for _, kind := range rule.Types {
				for _, of := range []*int64{nil, &product} {
					list = append(list, dbmodel.NewNotification{Notification: dbmodel.Notification{Type: kind, Name: "x", ProductID: of}})
				}
			}
			return errors.Join(
				dbmodel.SaveProductGroup(ctx, tx, &dbmodel.ProductGroup{ID: group, Name: "g"}),
				dbmodel.SaveProductGroup(ctx, tx, &dbmodel.ProductGroup{ID: 2, Name: "other"}),
				dbmodel.SaveProduct(ctx, tx, &dbmodel.Product{ID: product, Name: "p", ProductGroupID: &group}),
				dbmodel.SaveProduct(ctx, tx, &dbmodel.Product{ID: 2, Name: "other"}),
				dbmodel.InsertNotifications(ctx, tx, list),
				dbmodel.SetMember(ctx, tx, dbmodel.InProduct(1), owner.UserID, rule.Owner),
				dbmodel.SetMember(ctx, tx, dbmodel.InProductGroup(1), member.UserID, rule.Writer),
				dbmodel.SetMember(ctx, tx, dbmodel.InProductGroup(2), other.UserID, rule.Owner),
			)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{
			"INSERT INTO targets (channel, key, address) VALUES ('slack', '1', '1')",
			"INSERT INTO deliveries (notification_id, target_id, product_id, type) SELECT n.id, t.id, n.product_id, n.type FROM notifications n, targets t",
			"INSERT INTO observations (id, product_id, title, title_hash, severity, status, parser_type) VALUES (1, 1, 't', 1, 'High', 'Open', 'SCA')",
		} {
			if _, err := db.DB.DB.ExecContext(ctx, statement); err != nil {
				t.Fatal(err)
			}
		}
		all, err := dbmodel.Notifications(ctx, db, everything, dbmodel.NotificationFilter{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for _, n := range all {
			ids = append(ids, n.ID)
		}
		types := 2 * len(rule.Types)
		for name, c := range map[string]struct {
			viewer dbmodel.Viewer
			want   seen
		}{
			"zero":          {dbmodel.Viewer{}, seen{}},
			"named nobody":  {dbmodel.Viewer{Username: "owner"}, seen{}},
			"outsider":      {outsider, seen{}},
			"administrator": {dbmodel.Viewer{Admin: true}, seen{2, 2, types, types, true, true, true, true, rule.Owner, rule.Owner, types, 0}},
			"program":       {dbmodel.Viewer{Ingest: true}, seen{Products: 2, Groups: 2, Product: true, Group: true, Observation: true}},
			"owner":         {owner, seen{1, 1, 2, 2, true, true, true, true, rule.Owner, rule.NoRole, 2, 0}},
			"group member":  {member, seen{1, 1, 2, 2, true, true, true, true, rule.Writer, rule.Writer, 0, 2}},
			"other group":   {other, seen{Groups: 1}},
		} {
			if diff := cmp.Diff(c.want, look(t, db, c.viewer, ids)); diff != "" {
				t.Errorf("%s:\n%s", name, diff)
			}
		}
	})
}
