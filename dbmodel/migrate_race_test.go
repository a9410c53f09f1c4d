package dbmodel_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestTwoMigrateOneSQLiteFile: another process brings the schema up, or down, before any statement of this one. On
// PostgreSQL an advisory lock keeps it from that.
func TestTwoMigrateOneSQLiteFile(t *testing.T) {
	t.Parallel()
	up := func(ctx context.Context, db *dbmodel.DB) error { _, err := dbmodel.Migrate(ctx, db); return err }
	down := func(ctx context.Context, db *dbmodel.DB) error { _, err := dbmodel.Rollback(ctx, db); return err }
	for name, c := range map[string]struct {
		prepare, step func(ctx context.Context, db *dbmodel.DB) error
		applied       bool // after both
	}{
		"up":   {func(context.Context, *dbmodel.DB) error { return nil }, up, true},
		"down": {up, down, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			for place := 0; ; place++ {
				url := "sqlite://" + filepath.Join(t.TempDir(), "tocsin.db")
				other := testenv.OpenDB(t, url)
				if err := c.prepare(ctx, other); err != nil {
					t.Fatal(err)
				}
				statements, inTx, raced := 0, false, ""
				db := watched(t, testenv.OpenDB(t, url), func(ctx context.Context, statement string) error {
					if !inTx {
						if statements == place {
							raced = statement
							if err := c.step(ctx, other); err != nil {
								t.Errorf("the other process, before %.60q: %v", statement, err)
							}
						}
						statements++
					}
					inTx = statement == "BEGIN" || inTx && statement != "COMMIT"
					return nil
				})
				if err := c.step(ctx, db); err != nil {
					t.Errorf("after the other process, before %.60q: %v", raced, err)
				}
				list, err := dbmodel.Migrations(ctx, other)
				if err != nil || list[0].Applied != c.applied {
					t.Errorf("after two at once, before %.60q: %+v %v", raced, list, err)
				}
				if raced == "" {
					break
				}
			}
		})
	}
}

// TestMigrateWaitsForAnother: it waits for the lock of another process for longer than a statement waits for locks.
func TestMigrateWaitsForAnother(t *testing.T) {
	t.Parallel()
	url := testenv.PostgresURL(t, nil)
	holder, db := testenv.OpenDB(t, url), testenv.OpenDB(t, url+"&lock_timeout=50ms")
	done := make(chan error, 1)
	inTx(t, holder, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(?)", dbmodel.MigrationLock); err != nil {
			return err
		}
		go func() {
			_, err := dbmodel.Migrate(t.Context(), db)
			done <- err
		}()
		lockWaits(t, holder)
		_, err := tx.ExecContext(ctx, "SELECT pg_sleep(0.2)") // four times the longest wait for a lock
		return err
	})
	if err := <-done; err != nil {
		t.Error(err)
	}
}
