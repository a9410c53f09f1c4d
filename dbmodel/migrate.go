package dbmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"

	"github.com/seed91453169/tocsin/dbmodel/migrations"
)

// migrationLock is the key of the advisory lock that lets one process migrate at a time.
const migrationLock = 0x746f6373696e // "tocsin"

// MigrationStatus is one migration and whether the database has it.
type MigrationStatus struct {
	Name    string
	Applied bool
}

// Migrate brings the schema to the version of this program. Any number of processes may call it at once. It returns the
// names of the migrations that it applied.
func Migrate(ctx context.Context, db *DB) ([]string, error) {
	var applied []string
	mark := func(ctx context.Context, tx bun.IConn, m *migrate.Migration) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+migrationTable+" (name, group_id) VALUES (?, ?)", m.Name, m.GroupID)
		return err
	}
	err := withMigrator(ctx, db, mark, func(m *migrate.Migrator) error {
		group, err := m.Migrate(ctx)
		if group != nil {
			applied = names(group.Migrations)
		}
		return err
	})
	return applied, err
}

// Rollback takes back what the last Migrate applied and returns the names of these migrations.
func Rollback(ctx context.Context, db *DB) ([]string, error) {
	var undone []string
	unmark := func(ctx context.Context, tx bun.IConn, m *migrate.Migration) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM "+migrationTable+" WHERE name = ?", m.Name)
		return err
	}
	err := withMigrator(ctx, db, unmark, func(m *migrate.Migrator) error {
		group, err := m.Rollback(ctx)
		if group != nil {
			undone = names(group.Migrations)
		}
		return err
	})
	return undone, err
}

// Migrations lists what this program knows, oldest first, and what the database has of it. It changes nothing.
func Migrations(ctx context.Context, db *DB) ([]MigrationStatus, error) {
	known, err := knownMigrations(schemaFolder(db))
	if err != nil {
		return nil, err
	}
	applied, err := appliedMigrations(ctx, db.Reader.DB)
	if err != nil && !errors.Is(err, errNoTables) {
		return nil, err
	}
	var out []MigrationStatus
	for _, name := range known {
		out = append(out, MigrationStatus{Name: name, Applied: slices.Contains(applied, name)})
	}
	return out, nil
}

// CheckSchema returns an error that says what to do where the schema is not this program's.
func CheckSchema(ctx context.Context, db *DB) error {
	return checkSchema(ctx, db.Reader.DB, schemaFolder(db))
}

// CheckSchemaOf is CheckSchema for the PostgreSQL database of somebody else, opened with whatever driver.
func CheckSchemaOf(ctx context.Context, db queryer) error {
	return checkSchema(ctx, db, "postgres")
}

// queryer is what has a schema to be looked at.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func checkSchema(ctx context.Context, db queryer, folder string) error {
	known, err := knownMigrations(folder)
	if err != nil {
		return err
	}
	applied, err := appliedMigrations(ctx, db)
	if err != nil {
		return err
	}
	for _, name := range applied {
		if !slices.Contains(known, name) {
			return fmt.Errorf("the database has migration %s, which this program does not know: use the newer program", name)
		}
	}
	for _, name := range known {
		if !slices.Contains(applied, name) {
			return fmt.Errorf("the database lacks migration %s: run \"tocsin migrate up\"", name)
		}
	}
	return nil
}

// knownMigrations lists the names of the migrations of this program, oldest first.
func knownMigrations(folder string) ([]string, error) {
	files, err := fs.Glob(migrations.Files, folder+"/*.up.sql")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("this program has no migrations: %w", err)
	}
	for i, f := range files {
		files[i], _, _ = strings.Cut(path.Base(f), "_") // bun's name of a migration is the number that its file begins with
	}
	return files, nil
}

var errNoTables = errors.New("the database has no tables of Tocsin: run \"tocsin migrate up\"")

// appliedMigrations lists the names of the migrations that the database has, or returns errNoTables.
func appliedMigrations(ctx context.Context, db queryer) ([]string, error) {
	rows, err := db.QueryContext(ctx, "SELECT name FROM "+migrationTable)
	if err != nil {
		if isMissingTable(err) {
			return nil, errNoTables
		}
		return nil, fmt.Errorf("ask the database for its schema: %w", Translate(err))
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, Translate(err)
		}
		list = append(list, name)
	}
	return list, Translate(rows.Err())
}

// migrationTable is where bun notes what it has applied.
const migrationTable = "schema_migrations"

// schemaFolder is where the migrations of a database's dialect are.
func schemaFolder(db bun.IDB) string {
	if isSQLite(db) {
		return "sqlite"
	}
	return "postgres"
}

// newMigrator returns a migrator that calls mark in the transaction of each migration. bun itself notes what is applied only
// after that: a process that is killed in between would leave a database that no process could migrate again. What is
// noted already bun notes anew.
func newMigrator(db *DB, mark migrate.MigrationHook) (*migrate.Migrator, error) {
	files, err := fs.Sub(migrations.Files, schemaFolder(db))
	if err != nil {
		return nil, fmt.Errorf("open migrations: %w", err)
	}
	all := migrate.NewMigrations()
	if err := all.Discover(files); err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return migrate.NewMigrator(db.DB, all, migrate.WithMarkAppliedOnSuccess(true), migrate.AfterMigration(mark), migrate.WithUpsert(true),
		migrate.WithTableName(migrationTable), migrate.WithLocksTableName("schema_migration_locks")), nil
}

// withMigrator runs fn while no other process migrates. bun's own lock is a row that a killed process leaves behind;
// PostgreSQL's advisory lock ends with its transaction, which behind a pooler is all that stays on one connection of the server,
// and SQLite has one writer.
func withMigrator(ctx context.Context, db *DB, mark migrate.MigrationHook, fn func(*migrate.Migrator) error) error {
	m, err := newMigrator(db, mark)
	if err != nil {
		return err
	}
	migrateAll := func() error {
		if err := m.Init(ctx); err != nil {
			return err
		}
		return fn(m)
	}
	if isSQLite(db) {
		return Translate(migrateAll())
	}
	return db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// The transaction is idle for as long as the migrations take.
		if _, err := tx.ExecContext(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(?)", migrationLock); err != nil {
			return err
		}
		return migrateAll()
	})
}

func names(list migrate.MigrationSlice) []string {
	var out []string
	for _, m := range list {
		out = append(out, m.Name)
	}
	return out
}
