package dbmodel

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Viewer is the user, or the program, that asks. The conditions below say which rows it sees, and every query for
// people has one of them. The zero value sees nothing: a caller that forgets to find out who asks gets nothing instead
// of everything.
type Viewer struct {
	UserID   int64 // 0: nobody
	Username string
	Admin    bool // sees everything, and may do everything
	// Ingest is a program that reports events: it sees every product, product group and observation, and no
	// notification.
	Ingest bool
}

// VisibleNotifications is a condition that v sees a notification; alias is its table in the statement, or that of a
// delivery of it. It has no placeholders, so it fits into any statement.
func VisibleNotifications(db bun.IDB, v Viewer, alias string) string {
	return v.notifications(db, alias, rule.Reader)
}

// EntitledNotifications is VisibleNotifications, but only for notifications in whose product v has at least the role
// needed. Those without a product are an administrator's.
func EntitledNotifications(db bun.IDB, v Viewer, alias string, needed rule.Role) string {
	return v.notifications(db, alias, needed)
}

// VisibleDeliveries is VisibleNotifications for deliveries. For a viewer that is no administrator, it leaves out those
// that come only from the personal subscription of another user, or from a team's subscription to everything.
func VisibleDeliveries(db bun.IDB, v Viewer, alias string) string {
	return VisibleNotifications(db, v, alias) + " AND " + v.ownDeliveries(alias)
}

// EntitledDeliveries is VisibleDeliveries, but only for deliveries in whose product v has at least the role needed.
func EntitledDeliveries(db bun.IDB, v Viewer, alias string, needed rule.Role) string {
	return EntitledNotifications(db, v, alias, needed) + " AND " + v.ownDeliveries(alias)
}

// ownDeliveries is the condition that a delivery does not come from the personal subscription of another user alone,
// nor from a team's subscription to everything, which only administrators see.
func (v Viewer) ownDeliveries(alias string) string {
	if v.Admin {
		return "TRUE"
	}
	return fmt.Sprintf("(%[1]s.user_id IS NULL OR %[1]s.user_id = %[2]d AND %[1]s.user_id <> 0)", alias, v.UserID)
}

// isMember reports whether v sees products, and their notifications, as a member.
func (v Viewer) isMember() bool { return !v.Admin && !v.Ingest && v.UserID != 0 }

// VisibleProducts is a condition that expr is the id of a product that v sees. Where v sees all products, it is true
// for any id, also for that of a product that is gone.
func VisibleProducts(v Viewer, expr string) string { return v.products(expr, rule.Reader) }

// notifications returns the condition of EntitledNotifications. Which types members see is a setting; they never see
// types that have no product.
func (v Viewer) notifications(db bun.IDB, alias string, needed rule.Role) string {
	switch {
	case v.Admin:
		return liveNotifications(alias)
	case v.Ingest || v.UserID == 0:
		return "FALSE"
	}
	return fmt.Sprintf("(%s AND %s AND %s)",
		membersSeeType(db, alias+".type"), among(db, alias+".product_id", v.productIDs(needed)), liveNotifications(alias))
}

// membersSeeType is the condition that members see notifications of the type expr, in their products.
func membersSeeType(db bun.IDB, expr string) string {
	chosen := elementsOf(db, "settings", "member_notification_types")
	never := slices.DeleteFunc(slices.Clone(rule.Types), func(t rule.Type) bool {
		return slices.Contains(rule.MemberTypes, t)
	})
	return among(db, expr, chosen) + " AND " + expr + " NOT IN (" + quoted(never) + ")"
}

// products is the condition that expr is one of the products in which v has at least the role needed, directly or
// through the product's group of today.
func (v Viewer) products(expr string, needed rule.Role) string {
	switch {
	case v.Admin, v.Ingest && needed == rule.Reader:
		return "TRUE"
	case v.Ingest || v.UserID == 0:
		return "FALSE"
	}
	return expr + " IN (" + v.productIDs(needed) + ")"
}

// productIDs is a query of the products in which v, a user, has at least the role needed.
func (v Viewer) productIDs(needed rule.Role) string {
	return memberships(strconv.FormatInt(v.UserID, 10), needed, "", "")
}

// membership is a query that finds a row where the user with the id user has at least the role needed in one product;
// both ids are expressions.
func membership(user string, needed rule.Role, product string) string {
	return memberships(user, needed, " AND m.product_id = "+product, " AND p.id = "+product)
}

// memberships is a query of the products in which a user has at least the role needed, directly or through the
// product's group of today. direct and byGroup are conditions on what it finds in either way.
func memberships(user string, needed rule.Role, direct, byGroup string) string {
	return fmt.Sprintf(`SELECT m.product_id FROM product_members m WHERE m.user_id = %[1]s AND m.role IN (%[2]s)%[3]s
		UNION ALL SELECT p.id FROM product_group_members m JOIN products p ON p.product_group_id = m.product_group_id
		WHERE m.user_id = %[1]s AND m.role IN (%[2]s)%[4]s`, user, quotedRoles(needed), direct, byGroup)
}

// groups is the condition that v sees at least the name of the product group whose id is expr: members of the group
// do, and members of its products.
func (v Viewer) groups(expr string) string {
	switch {
	case v.Admin, v.Ingest:
		return "TRUE"
	case v.UserID == 0:
		return "FALSE"
	}
	return fmt.Sprintf(`%[1]s IN (SELECT product_group_id FROM product_group_members WHERE user_id = %[2]d
		UNION ALL SELECT p.product_group_id FROM product_members m JOIN products p ON p.id = m.product_id
		WHERE m.user_id = %[2]d AND p.product_group_id IS NOT NULL)`, expr, v.UserID)
}

// selectGroups restricts a query to the product groups that v sees and fills NameOnly.
func (v Viewer) selectGroups(q *bun.SelectQuery) *bun.SelectQuery {
	whole := "TRUE"
	if !v.Admin && !v.Ingest {
		whole = fmt.Sprintf(`product_groups.id IN (
			SELECT product_group_id FROM product_group_members WHERE user_id = %d)`, v.UserID)
	}
	return q.ColumnExpr("?TableColumns").ColumnExpr("CASE WHEN " + whole + " THEN FALSE ELSE TRUE END AS name_only").
		Where(v.groups("product_groups.id"))
}

// quotedRoles are the roles that cover needed, as literals; a role that does not exist is covered by none.
func quotedRoles(needed rule.Role) string {
	return quoted(append([]rule.Role{""}, needed.AndHigher()...)) // nobody has the first
}

// quoted are the literals of words of this program, none of which has a quote in it.
func quoted[T ~string](words []T) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = "'" + string(w) + "'"
	}
	return strings.Join(list, ", ")
}

const roleIn = `
	SELECT m.role AS direct, g.role AS by_group FROM products p
	LEFT JOIN product_members m ON m.product_id = p.id AND m.user_id = @user
	LEFT JOIN product_group_members g ON g.product_group_id = p.product_group_id AND g.user_id = @user
	WHERE p.id = @id AND @visible`

// RoleIn returns the role of v in a product: the higher one of the direct role and the role through the product's
// group. It returns ErrNotFound where v does not see the product, or there is none. Administrators are owners, a
// Viewer with Ingest has NoRole.
func RoleIn(ctx context.Context, db bun.IDB, v Viewer, productID int64) (rule.Role, error) {
	return v.role(ctx, db, roleIn,
		args{"id": productID, "user": v.UserID, "visible": bun.Safe(v.products("p.id", rule.Reader))})
}

const roleInGroup = `
	SELECT m.role AS direct FROM product_groups g
	LEFT JOIN product_group_members m ON m.product_group_id = g.id AND m.user_id = @user
	WHERE g.id = @id AND @visible`

// RoleInGroup returns the role of v in a product group: NoRole where v sees no more than its name, ErrNotFound where v
// does not see it at all, or there is none. Otherwise it is as RoleIn.
func RoleInGroup(ctx context.Context, db bun.IDB, v Viewer, groupID int64) (rule.Role, error) {
	return v.role(ctx, db, roleInGroup, args{"id": groupID, "user": v.UserID, "visible": bun.Safe(v.groups("g.id"))})
}

func (v Viewer) role(ctx context.Context, db bun.IDB, statement string, a args) (rule.Role, error) {
	role, err := queryOne[struct{ Direct, ByGroup rule.Role }](ctx, db, statement, a)
	switch {
	case err != nil:
		return rule.NoRole, err
	case v.Admin:
		return rule.Owner, nil
	case v.Ingest:
		return rule.NoRole, nil
	}
	return role.Direct.Higher(role.ByGroup), nil
}

const notificationRights = `
	SELECT n.id, CASE WHEN @entitled THEN TRUE ELSE FALSE END AS entitled FROM notifications n
	WHERE n.id = ANY (@ids) AND @visible ORDER BY n.id`

// NotificationRights sorts notifications into those in whose product v has at least the role needed, and those that v
// sees without having it. Those that v does not see, or that do not exist, are in neither.
func NotificationRights(
	ctx context.Context, db bun.IDB, v Viewer, ids []int64, needed rule.Role,
) (may, mayNot []int64, err error) {
	list, err := queryAll[struct {
		ID       int64
		Entitled bool
	}](ctx, db, notificationRights, args{
		"ids":      numbers(ids),
		"entitled": bun.Safe(EntitledNotifications(db, v, "n", needed)),
		"visible":  bun.Safe(VisibleNotifications(db, v, "n")),
	})
	for _, n := range list {
		if n.Entitled {
			may = append(may, n.ID)
		} else {
			mayNot = append(mayNot, n.ID)
		}
	}
	return may, mayNot, err
}

// VisibleAmong returns those of the given products that a user sees, as a set, and whether the user sees everything.
func VisibleAmong(
	ctx context.Context, db bun.IDB, user int64, products []int64,
) (seen map[int64]bool, all bool, err error) {
	v := Viewer{UserID: user}
	v.Admin, err = queryOne[bool](ctx, db, `SELECT EXISTS (SELECT 1 FROM users WHERE id = @id AND is_admin)`,
		args{"id": user})
	if err != nil || v.Admin {
		return nil, v.Admin, err
	}
	ids, err := queryAll[int64](ctx, db, `SELECT p.id FROM products p WHERE p.id = ANY (@ids) AND @visible`,
		args{"ids": numbers(products), "visible": bun.Safe(VisibleProducts(v, "p.id"))})
	seen = make(map[int64]bool, len(ids))
	for _, id := range ids {
		seen[id] = true
	}
	return seen, false, err
}
