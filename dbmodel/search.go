package dbmodel

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// ProductSearch says which products are wanted; the zero value wants all.
type ProductSearch struct {
	Part              string // of the name, whatever its case
	WithoutRecipients bool   // only those that have no contact, see withoutContacts, and no subscription, see isSubscribed
	After             int64  // only those behind the product with this id
}

// SearchProducts lists up to limit products that v sees, by name.
func SearchProducts(ctx context.Context, db bun.IDB, v Viewer, s ProductSearch, limit int) ([]Product, error) {
	var list []Product
	q := db.NewSelect().Model(&list).Apply(selectProducts).Where(VisibleProducts(v, "products.id"))
	if s.WithoutRecipients {
		q = q.Where(withoutContacts).Where("NOT " + isSubscribed(db, v))
	}
	err := byName(q, "products", s.Part, s.After, VisibleProducts(v, "b.id")).Limit(int64(limit)).Scan(ctx)
	return list, Translate(err)
}

// CountWithoutRecipients counts the products that SearchProducts lists as those without recipients.
func CountWithoutRecipients(ctx context.Context, db bun.IDB, v Viewer) (int, error) {
	n, err := db.NewSelect().Model((*Product)(nil)).Where(VisibleProducts(v, "products.id")).
		Where(withoutContacts).Where("NOT " + isSubscribed(db, v)).Count(ctx)
	return int(n), Translate(err)
}

// withoutContacts is the condition that a product has no contact, neither its own nor one of its group.
const withoutContacts = `NOT EXISTS (SELECT 1 FROM contacts c WHERE c.product_id = products.id)
	AND NOT EXISTS (SELECT 1 FROM contacts c WHERE c.product_group_id = products.product_group_id)`

// SearchProductGroups is SearchProducts for product groups.
func SearchProductGroups(
	ctx context.Context, db bun.IDB, v Viewer, part string, after int64, limit int,
) ([]ProductGroup, error) {
	var list []ProductGroup
	q := db.NewSelect().Model(&list).Apply(v.selectGroups)
	err := byName(q, "product_groups", part, after, v.groups("b.id")).Limit(int64(limit)).Scan(ctx)
	for i := range list {
		list[i].hide()
	}
	return list, Translate(err)
}

// byName sorts the rows of table by name, restricts them to names that contain part, and begins behind the row whose
// id is after. seen is the condition that the viewer sees that row, which is b in the statement: nothing is listed
// behind a row that the viewer does not see.
func byName(q *bun.SelectQuery, table, part string, after int64, seen string) *bun.SelectQuery {
	if part != "" {
		q = q.Where(insensitive(q.DB(), table+".name", "?"), "%"+likeEscaper.Replace(part)+"%")
	}
	name := folded(q.DB(), table+".name")
	if after != 0 {
		q = q.Where("(?, ?TableAlias.id) > (SELECT ?, b.id FROM ?TableName AS b WHERE b.id = ? AND ?)",
			bun.Safe(name), bun.Safe(folded(q.DB(), "b.name")), after, bun.Safe(seen))
	}
	return q.OrderExpr(name + ", " + table + ".id")
}

// ProductsOfGroup lists up to limit products of a group that v sees, by name.
func ProductsOfGroup(ctx context.Context, db bun.IDB, v Viewer, groupID int64, limit int) ([]Product, error) {
	var list []Product
	q := db.NewSelect().Model(&list).Apply(selectProducts).Where(inProductGroup("products", "?"), groupID).
		Where(VisibleProducts(v, "products.id"))
	return list, Translate(byName(q, "products", "", 0, "FALSE").Limit(int64(limit)).Scan(ctx))
}

// ObservationSearch says which observations are wanted; the zero value wants all.
type ObservationSearch struct {
	ID         int64  // with Part: also the observation with this id
	Part       string // of the title, whatever its case
	ProductID  int64
	Severities []rule.Severity // empty: any
	Statuses   []rule.Status   // empty: any
	Notified   *bool           // something is remembered of it; nil: either
	After      int64           // only ids above
}

const foundObservations = `
	SELECT ` + storedColumns + ` FROM observations o WHERE o.id IN (@found) AND @visible ORDER BY o.id`

// SearchObservations lists up to limit observations of products that v sees, by id. Titles have no index that finds a
// part of them: the search reads observations in the order of their ids until the list is full.
func SearchObservations(
	ctx context.Context, db bun.IDB, v Viewer, s ObservationSearch, limit int,
) ([]StoredObservation, error) {
	l, err := s.listing(ctx, db, v, limit)
	if err != nil {
		return nil, err
	}
	return storedObservations(ctx, db, foundObservations,
		args{"found": bun.Safe(l.ids(db, v)), "visible": bun.Safe(VisibleProducts(v, "o.product_id"))})
}

func (s *ObservationSearch) listing(ctx context.Context, db bun.IDB, v Viewer, limit int) (listing, error) {
	l := listing{table: "observations", keys: []string{"id"}, direction: "ASC", limit: limit, choice: s.choice}
	switch {
	case s.ProductID != 0:
		l.index = "observations_product_id"
	case v.isMember() && s.Part != "":
		return l.searched(ctx, db, v)
	default:
		l.byProduct = v.isMember()
	}
	return l, nil
}

// Unindexed names a condition of s for which there is no index, so that a list may have to read all rows that the
// other conditions leave; empty: there is none.
func (s *ObservationSearch) Unindexed() string {
	switch {
	case s.Part != "":
		return "q"
	case len(s.Severities) > 0:
		return "severity"
	case len(s.Statuses) > 0:
		return "status"
	case s.Notified != nil:
		return "notified"
	}
	return ""
}

// choice is the conditions of s.
func (s *ObservationSearch) choice(q *bun.SelectQuery) *bun.SelectQuery {
	q = q.Where("observations.id > ?", s.After)
	if s.ProductID != 0 {
		q = q.Where("observations.product_id = ?", s.ProductID)
	}
	if len(s.Severities) > 0 {
		q = q.Where("observations.severity IN (?)", bun.List(s.Severities))
	}
	if len(s.Statuses) > 0 {
		q = q.Where("observations.status IN (?)", bun.List(s.Statuses))
	}
	if s.Notified != nil {
		test := map[bool]bun.Safe{true: "IS NOT NULL", false: "IS NULL"}[*s.Notified]
		q = q.Where("observations.notified_severity ?", test)
	}
	if s.Part != "" {
		q = q.Where("("+insensitive(q.DB(), "observations.title", "?")+" OR observations.id = ?)",
			"%"+likeEscaper.Replace(s.Part)+"%", s.ID)
	}
	return q
}

// ObservationCount is how many observations of a product have these values.
type ObservationCount struct {
	ProductID int64
	Values    rule.Values `bun:"embed:"`
	Notified  bool        // something is remembered of them
	Count     int
}

const countObservations = `
	SELECT product_id, severity, status, priority, known_exploited, notified_severity IS NOT NULL AS notified,
		count(*) AS count
	FROM observations WHERE product_id = ANY (@products) AND @live
	GROUP BY product_id, severity, status, priority, known_exploited, notified_severity IS NOT NULL`

// CountObservations counts the observations of products by the values that decide about them.
func CountObservations(ctx context.Context, db bun.IDB, productIDs []int64) ([]ObservationCount, error) {
	return queryAll[ObservationCount](ctx, db, countObservations,
		args{"products": numbers(productIDs), "live": bun.Safe(liveObservations("observations"))})
}
