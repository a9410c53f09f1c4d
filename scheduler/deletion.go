package scheduler

import (
	"context"
	"fmt"

	"github.com/seed91453169/tocsin/dbmodel"
)

// sweepDeletions asks for the removal of what was deleted, unless a worker is at it.
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
