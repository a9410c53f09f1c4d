package scheduler

import "context"

// sweepDeletions asks for the removal of what was deleted, unless a worker is at it.
func (s *Scheduler) sweepDeletions(ctx context.Context) error {
	return s.queue.RequestRemoval(ctx, s.db)
}
