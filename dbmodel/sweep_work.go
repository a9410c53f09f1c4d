package dbmodel

import (
	"context"

	"github.com/uptrace/bun"
)

// SweepWork says what a sweep must look at.
type SweepWork struct {
	Events     bool // some wait, due or not
	Deliveries bool // some are pending
	Failing    bool // some targets fail
	Deletions  bool // something that is deleted is left to be removed
}

// ORDER BY and LIMIT have PostgreSQL read one entry of an index, whatever its statistics say of how many there are.
const sweepWork = `
	SELECT (SELECT id FROM outbox WHERE failed_at IS NULL ORDER BY bulk, id LIMIT 1) IS NOT NULL AS events,
		(SELECT target_id FROM deliveries WHERE state = 'pending' ORDER BY target_id LIMIT 1) IS NOT NULL AS deliveries,
		(SELECT id FROM targets INDEXED BY targets_failing WHERE failing_since IS NOT NULL
			ORDER BY next_at LIMIT 1) IS NOT NULL AS failing,
		EXISTS (SELECT 1 FROM deletions) OR EXISTS (SELECT 1 FROM deleted_notifications) AS deletions`

// FindSweepWork finds that in one statement, so that a sweep of an installation in which nothing happens costs little.
func FindSweepWork(ctx context.Context, db bun.IDB) (SweepWork, error) {
	return queryOne[SweepWork](ctx, db, sweepWork, nil)
}
