package scheduler

import (
	"context"
	"fmt"

	"github.com/seed91453169/tocsin/dbmodel"
)

// sweepDeletions has what was deleted removed, unless a worker does it.
func (s *Scheduler) sweepDeletions(ctx context.Context) error {
	left, err := dbmodel.HasDeletions(ctx, s.db.Reader)
	if err != nil {
		return fmt.Errorf("look for deletions: %w", err)
	}
	if !left {
		return nil
	}
	return s.queue.RemoveDeleted(ctx, s.db)
}
