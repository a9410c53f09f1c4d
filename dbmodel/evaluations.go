package dbmodel

import (
	"context"

	"github.com/uptrace/bun"
)

const observationIDs = `
	SELECT o.id FROM observations AS o WHERE o.product_id = @product AND o.id > @after AND @live
	ORDER BY o.id LIMIT @limit`

// ObservationIDs returns the ids of up to limit observations of a product, with an id above after, by id.
func ObservationIDs(ctx context.Context, db bun.IDB, productID, after int64, limit int) ([]int64, error) {
	return queryAll[int64](ctx, db, observationIDs,
		args{"product": productID, "after": after, "limit": limit, "live": bun.Safe(liveObservations("o"))})
}

// ProductIDsOfGroup returns the ids of the products of a group, by id.
func ProductIDsOfGroup(ctx context.Context, db bun.IDB, groupID int64) ([]int64, error) {
	return queryAll[int64](ctx, db, "SELECT p.id FROM products p WHERE "+inProductGroup("p", "@group")+" ORDER BY p.id",
		args{"group": groupID})
}
