package worker

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
)

const (
	// scannedRows is how many deliveries one statement reads to find the targets that none refers to.
	scannedRows = 20_000
	// mostUnused is how many targets one run removes at the most: it remembers their ids.
	mostUnused = 100_000
)

// unusedTargets removes targets that no contact and no delivery refers to any more. A target that no contact refers to
// is marked first; a later run removes it.
func (c *cleanup) unusedTargets(ctx context.Context) error {
	var after int64
	err := c.inBatches(ctx, func(ctx context.Context) (more bool, err error) {
		next := after
		err = c.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			next, err = dbmodel.MarkUnusedTargets(ctx, tx, after, cleanupBatch)
			return err
		})
		if err == nil {
			after = next
		}
		return after != 0, err
	})
	if err != nil {
		return err
	}
	ids, err := dbmodel.UnusedTargets(ctx, c.w.DB.Reader, mostUnused)
	if err != nil {
		return err
	}
	if ids, err = c.withoutDeliveries(ctx, ids); err != nil || len(ids) == 0 {
		return err
	}
	return c.inBatches(ctx, func(ctx context.Context) (more bool, err error) {
		part := ids[:min(len(ids), cleanupBatch)]
		var removed int64
		err = c.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			removed, err = dbmodel.RemoveUnusedTargets(ctx, tx, part)
			return err
		})
		if err == nil {
			c.unused += removed
			ids = ids[len(part):]
		}
		return len(ids) > 0, err
	})
}

// withoutDeliveries returns those of the given targets that no delivery refers to. Deliveries that are not pending have
// no index by target, because each new delivery would have to pay for it. So all deliveries are read, the newest
// first, until none of the targets is in question any more.
func (c *cleanup) withoutDeliveries(ctx context.Context, targets []int64) ([]int64, error) {
	free := make(map[int64]bool, len(targets))
	for _, id := range targets {
		free[id] = true
	}
	if len(free) == 0 {
		return nil, nil
	}
	var before int64
	err := c.inBatches(ctx, func(ctx context.Context) (more bool, err error) {
		inUse, first, err := dbmodel.TargetsOfDeliveries(ctx, c.w.DB.Reader, before, scannedRows)
		for _, id := range inUse {
			delete(free, id)
		}
		before = first
		return before != 0 && len(free) > 0, err
	})
	return slices.DeleteFunc(targets, func(id int64) bool { return !free[id] }), err
}

// unusedTitles forgets the titles that no observation bears any more.
func (c *cleanup) unusedTitles(ctx context.Context) error {
	var after []byte
	return c.inBatches(ctx, func(ctx context.Context) (more bool, err error) {
		var removed int64
		next := after
		err = c.w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			removed, next, err = dbmodel.RemoveUnusedTitles(ctx, tx, after, cleanupBatch)
			return err
		})
		if err == nil {
			c.unused += removed
			after = next
		}
		return after != nil, err
	})
}
