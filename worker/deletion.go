package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
)

// deletionRemove handles queue.TypeDeletionRemove: it removes, in batches, the rows that deletions have only hidden.
// Any number of these tasks may run at once; a process that is lost leaves the rest to the next task.
func (w *Worker) deletionRemove(ctx context.Context, _ *asynq.Task) error {
	var removed int64
	for {
		began := time.Now()
		n, err := w.removeBatch(ctx)
		if err != nil {
			return fmt.Errorf("remove deleted rows: %w", err)
		}
		removed += n
		if n == 0 || !w.pause(min(time.Since(began), longestCleanupPause)) {
			break
		}
		if err := dbmodel.HoldRemoval(ctx, w.DB); err != nil {
			return fmt.Errorf("hold the removal: %w", err)
		}
	}
	if removed > 0 {
		w.Log.Info().Int64("rows", removed).Msg("removed deleted rows")
	}
	return w.record("release the removal", func(ctx context.Context) error { return dbmodel.ReleaseRemoval(ctx, w.DB) })
}

// removeBatch removes one batch in a transaction of its own.
func (w *Worker) removeBatch(ctx context.Context) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, dbmodel.RemovalTime)
	defer cancel()
	err = w.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err = dbmodel.RemoveDeleted(ctx, tx)
		return err
	})
	return n, err
}
