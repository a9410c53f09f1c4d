package database_test

import (
	"context"
	"strings"
	"testing"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var poolModes = []testenv.PoolMode{testenv.SessionPool, testenv.TransactionPool}

// TestSettingsThroughPgBouncer: every transaction runs with the settings of Tocsin and with those of the URL, and nothing of
// them is left on a connection of the server that other programs share.
func TestSettingsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range poolModes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			url := testenv.PgBouncer(t, testenv.PostgresURL(t, nil), mode)
			db := testenv.OpenDB(t, url+"&statement_timeout=7s&lock_timeout=3s")
			for range 2 {
				var idle, lock, statement string
				err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					return tx.QueryRowContext(ctx, `SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout'),
						current_setting('statement_timeout')`).Scan(&idle, &lock, &statement)
				})
				if err != nil || idle != "15s" || lock != "3s" || statement != "7s" {
					t.Errorf("idle_in_transaction_session_timeout %q, lock_timeout %q, statement_timeout %q, %v", idle, lock, statement, err)
				}
			}
			if err := db.Snapshot(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				var isolation, readOnly string
				err := tx.QueryRowContext(ctx, "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')").Scan(&isolation, &readOnly)
				if isolation != "repeatable read" || readOnly != "on" {
					t.Errorf("a snapshot is %s, read only %s", isolation, readOnly)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
			var lock string
			if err := db.QueryRowContext(t.Context(), "SHOW lock_timeout").Scan(&lock); err != nil || lock != "0" {
				t.Errorf("lock_timeout %q is left (%v)", lock, err)
			}
		})
	}
}

// TestDirectSettings: without a pooler the settings belong to the connection.
func TestDirectSettings(t *testing.T) {
	t.Parallel()
	db := testenv.OpenDB(t, testenv.PostgresURL(t, nil)+"&lock_timeout=3s&search_path=elsewhere,public")
	var lock, jit, path string
	err := db.QueryRowContext(t.Context(), "SELECT current_setting('lock_timeout'), current_setting('jit'), current_setting('search_path')").Scan(&lock, &jit, &path)
	if err != nil || lock != "3s" || jit != "off" || path != "elsewhere,public" {
		t.Errorf("lock_timeout %q, jit %q, search_path %q, %v", lock, jit, path, err)
	}
}

// TestSearchPathThroughPgBouncer: a pooler does not keep the schema, without which queries go to other tables.
func TestSearchPathThroughPgBouncer(t *testing.T) {
	t.Parallel()
	db := testenv.OpenDB(t, testenv.PgBouncer(t, testenv.PostgresURL(t, nil), testenv.TransactionPool)+"&search_path=elsewhere")
	if err := db.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "ALTER ROLE") {
		t.Error(err)
	}
}

// TestMigrateThroughPgBouncer has several processes migrate at once, as a start of all roles may do.
func TestMigrateThroughPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range poolModes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			url := testenv.PgBouncer(t, testenv.PostgresURL(t, nil), mode)
			var all errgroup.Group
			for range 4 {
				all.Go(func() error {
					db, err := database.Open(url, 2)
					if err != nil {
						return err
					}
					defer db.Close()
					if _, err = dbmodel.Migrate(t.Context(), db); err != nil {
						return err
					}
					return dbmodel.CheckSchema(t.Context(), db)
				})
			}
			if err := all.Wait(); err != nil {
				t.Fatal(err)
			}
			var locks int
			if err := testenv.OpenDB(t, url).QueryRowContext(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&locks); err != nil || locks > 0 {
				t.Errorf("%d advisory locks are left (%v)", locks, err)
			}
		})
	}
}
