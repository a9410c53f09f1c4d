package dbmodel

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// listing is a list of notifications, deliveries or observations for people.
type listing struct {
	table     string
	keys      []string // the columns that it is sorted by; the last one is id
	direction string   // ASC, DESC
	limit     int
	// choice restricts a query to the rows that are wanted. The table has no alias in it.
	choice func(*bun.SelectQuery) *bun.SelectQuery
	// byProduct: the list reads each product by itself, see ofProducts. The viewer is a member, or a group is wanted, and
	// no other condition leaves fewer rows to look through.
	byProduct bool
	group     int64  // only products that belong to it; 0: all
	index     string // where byProduct is false, the one that leaves the fewest rows; empty: the primary key
	few       bool   // so few rows are wanted that all of them are looked at, and then sorted
	// onlyType, an expression, is the type of all rows; empty: they may differ.
	onlyType string
}

// and is l with one more condition.
func (l listing) and(condition string, args ...any) listing {
	choice := l.choice
	l.choice = func(q *bun.SelectQuery) *bun.SelectQuery { return choice(q).Where(condition, args...) }
	return l
}

const countUpTo = `SELECT count(*) FROM (SELECT 1 FROM products p WHERE @wanted LIMIT @most) AS found`

// searched is l with a search for a part of a text, which has no index. It sets byProduct only where v sees few of the
// products that the list wants: then it costs less to read all rows of each than to read the whole table.
func (l listing) searched(ctx context.Context, db bun.IDB, v Viewer) (listing, error) {
	const most = 100
	n, err := queryOne[int](ctx, db, countUpTo, args{"wanted": bun.Safe(l.products(v)), "most": most + 1})
	l.byProduct = n <= most
	return l, err
}

// ids is a query of the ids that v sees.
func (l listing) ids(db bun.IDB, v Viewer) string {
	if l.byProduct {
		return l.ofProducts(db, v)
	}
	q := l.from(db, l.index).Where(l.visible(db, v))
	if l.few {
		return "WITH found AS MATERIALIZED (" + q.Column(l.keys...).String() + ") SELECT found.id FROM found" +
			l.end("found", l.limit)
	}
	return q.Column("id").String() + l.end(l.table, l.limit)
}

// visible is the condition that v sees a row. Unlike VisibleNotifications it suits statements that read many rows.
func (l listing) visible(db bun.IDB, v Viewer) string {
	products := VisibleProducts(v, l.table+".product_id")
	switch {
	case l.table == "observations":
		return products + " AND " + liveObservations("observations")
	case v.isMember():
		return membersSeeType(db, l.table+".type") + " AND " + products + " AND " + liveNotifications(l.table)
	}
	return VisibleNotifications(db, v, l.table)
}

// from selects the rows that are wanted, in no order and without columns.
func (l listing) from(db bun.IDB, index string) *bun.SelectQuery {
	return db.NewSelect().TableExpr(l.table + indexed(db, index)).Apply(l.choice)
}

// order is how rows are sorted; alias is their table in the statement.
func (l listing) order(alias string) string {
	return alias + "." + strings.Join(l.keys, " "+l.direction+", "+alias+".") + " " + l.direction
}

// end is the end of a query: the first limit rows in order.
func (l listing) end(alias string, limit int) string {
	return " ORDER BY " + l.order(alias) + " LIMIT " + strconv.Itoa(limit)
}

// products is the condition that v sees a product p, and that the list wants it.
func (l listing) products(v Viewer) string {
	visible := v.products("p.id", rule.Reader)
	if l.group != 0 {
		visible += " AND " + inProductGroup("p", strconv.FormatInt(l.group, 10))
	}
	return visible
}

// idsOfProducts finds the first row of each product, sorts the products by these rows, and keeps as many products as
// the list may have rows: every row of the list belongs to one of them. Of the other products only the first row is
// read.
const idsOfProducts = `
	WITH heads AS MATERIALIZED (
		SELECT p.id AS product, (@first) AS head FROM products p WHERE @visible
	), best AS MATERIALIZED (
		SELECT heads.product FROM heads JOIN @table ON @table.id = heads.head @end
	)
	SELECT @table.id FROM best JOIN @table ON @is_of_best @end`

// ofProducts is ids where byProduct is set. It reads each product by itself, in the order of its index and no further
// than the list may reach: so it takes as long for a member that sees three old rows of a million as for one that sees
// half of them.
func (l listing) ofProducts(db bun.IDB, v Viewer) string {
	idsIn := func(product string, limit int) string {
		q := l.from(db, l.table+"_product_id").Column("id").Where(l.table + ".product_id = " + product)
		switch {
		case l.table == "observations": // of these, members see all
			q = q.Where(liveObservations("observations"))
		case v.isMember():
			q = q.Where(membersSeeType(db, cmp.Or(l.onlyType, l.table+".type"))).Where(liveNotifications(l.table))
		default:
			q = q.Where(liveNotifications(l.table))
		}
		return q.String() + l.end(l.table, limit)
	}
	return compose(db, idsOfProducts, args{
		"table": bun.Safe(l.table), "visible": bun.Safe(l.products(v)), "end": bun.Safe(l.end(l.table, l.limit)),
		"first":      bun.Safe(idsIn("p.id", 1)),
		"is_of_best": bun.Safe(among(db, l.table+".id", idsIn("best.product", l.limit))),
	})
}
