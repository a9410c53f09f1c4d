package dbmodel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"
)

// migrationLock is the key of the advisory lock that lets one process migrate at a time.
const migrationLock = 0x746f6373696e // "tocsin"

// hooks are called in the transaction of each migration, before its statements and after them.
type hooks struct{ before, after migrate.MigrationHook }

// errOvertaken ends a migration that another process has applied, or taken back, since the caller looked.
var errOvertaken = errors.New("another process has migrated meanwhile")

func unlessApplied(ctx context.Context, tx bun.IConn, m *migrate.Migration) error {
	return wantApplied(ctx, tx, m, false)
}

func whileApplied(ctx context.Context, tx bun.IConn, m *migrate.Migration) error {
	return wantApplied(ctx, tx, m, true)
}

// wantApplied returns errOvertaken where a migration is applied and must not be, or the reverse.
func wantApplied(ctx context.Context, tx bun.IConn, m *migrate.Migration, want bool) error {
	var applied bool
	err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+migrationTable+" WHERE name = ?)", m.Name).
		Scan(&applied)
	if err == nil && applied != want {
		err = errOvertaken
	}
	return err
}

// newMigrator returns a migrator that calls h in the transaction of each migration. Its callers run the statements of
// migrations by themselves: bun notes a migration only after its transaction, and a process that is killed in between
// would leave a database that no process could migrate again. WithUpsert has Init make the names unique.
func newMigrator(db *DB, files fs.FS, h hooks) (*migrate.Migrator, error) {
	all := migrate.NewMigrations()
	if err := all.Discover(files); err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return migrate.NewMigrator(db.DB, all,
		migrate.BeforeMigration(h.before), migrate.AfterMigration(h.after), migrate.WithUpsert(true),
		migrate.WithTableName(migrationTable), migrate.WithLocksTableName("schema_migration_locks")), nil
}

// withMigrator runs fn while no other process migrates, unless the schema is newer than files. It does not use bun's
// own lock, a row that a killed process leaves behind. On PostgreSQL it holds an advisory lock of a transaction:
// behind a pooler, only a transaction stays on one connection of the server. On SQLite, which has one writer, each
// migration waits for those of other processes, and fn runs again where one of these was the same.
func withMigrator(ctx context.Context, db *DB, files fs.FS, h hooks, fn func(*migrate.Migrator) error) error {
	m, err := newMigrator(db, files, h)
	if err != nil {
		return err
	}
	checkAndRun := func() error {
		if err := m.Init(ctx); err != nil {
			return err
		}
		if err := refuseNewer(ctx, db.DB.DB, files); err != nil {
			return err
		}
		return fn(m)
	}
	if isSQLite(db) {
		for {
			if err := checkAndRun(); !errors.Is(err, errOvertaken) {
				return Translate(err)
			}
		}
	}
	// The lock holds one connection, and bun takes another for the migrations.
	if db.Stats().MaxOpenConnections == 1 {
		db.SetMaxOpenConns(2)
		defer db.SetMaxOpenConns(1)
	}
	return db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// The transaction is idle for as long as the migrations take, and another process waits for it that long.
		for _, statement := range []string{
			"SET LOCAL idle_in_transaction_session_timeout = 0", "SET LOCAL lock_timeout = 0",
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(?)", migrationLock); err != nil {
			return err
		}
		return checkAndRun()
	})
}
