package scheduler

import (
	"context"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestSweepDeletions: what is deleted gets one task over all schedulers, another one only when its worker shows no sign
// of life, or has ended; where nothing is deleted there is none.
func TestSweepDeletions(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		server := testenv.Redis(t)
		all := []*Scheduler{newScheduler(t, db, server), newScheduler(t, db, server)}
		sweep := func(when string, want int) {
			t.Helper()
			for _, s := range all {
				work, err := dbmodel.FindSweepWork(t.Context(), db)
				if err == nil && work.Deletions {
					err = s.sweepDeletions(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if n, _, err := all[0].queue.Size(t.Context(), queue.Periodic); err != nil || n != want {
				t.Errorf("%s: %d tasks, want %d: %v", when, n, want, err)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		sweep("nothing is deleted", 0)
		must(db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if err := dbmodel.AddProduct(ctx, tx, 1); err != nil {
				return err
			}
			return dbmodel.DeleteProduct(ctx, tx, 1)
		}))
		sweep("a product is deleted", 1)
		sweep("a moment later", 1)
		must(dbmodel.ReleaseRemoval(t.Context(), db))
		must(dbmodel.HoldRemoval(t.Context(), db))
		sweep("a worker is at it", 1)
		_, err := db.ExecContext(t.Context(), "UPDATE ticks SET next_at = next_at - "+map[bool]string{true: "10000000", false: "interval '10 s'"}[db.Dialect().Name() == dialect.SQLite]+" WHERE name = 'removal'")
		must(err)
		sweep("the worker is lost", 2)
		must(dbmodel.ReleaseRemoval(t.Context(), db))
		sweep("the worker has ended", 3)
		must(db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := dbmodel.RemoveDeleted(ctx, tx)
			return err
		}))
		must(dbmodel.ReleaseRemoval(t.Context(), db))
		sweep("nothing is left", 3)
	})
}
