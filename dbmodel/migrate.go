package dbmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"

	"github.com/seed91453169/tocsin/dbmodel/migrations"
)

// MigrationStatus is one migration and whether the database has it.
type MigrationStatus struct {
	Name    string
	Applied bool
}

// SchemaError says that the schema of the database is not this program's, and what to do.
type SchemaError string

func (e SchemaError) Error() string { return string(e) }

// Migrate brings the schema to the version of this program, or returns a SchemaError where it is newer. Any number of
// processes may call it at once. It returns the names of the migrations that it applied.
func Migrate(ctx context.Context, db *DB) ([]string, error) {
	return migrateTo(ctx, db, schemaFiles(schemaFolder(db)))
}

func migrateTo(ctx context.Context, db *DB, files fs.FS) ([]string, error) {
	var applied []string
	mark := func(ctx context.Context, tx bun.IConn, m *migrate.Migration) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO "+migrationTable+" (name, group_id) VALUES (?, ?)", m.Name, m.GroupID)
		return err
	}
	err := withMigrator(ctx, db, files, hooks{unlessApplied, mark}, func(m *migrate.Migrator) error {
		list, err := m.MigrationsWithStatus(ctx)
		if err != nil {
			return err
		}
		group := list.LastGroupID()
		for _, migration := range list.Unapplied() {
			group++ // each in one of its own: a rollback takes back a group
			migration.GroupID = group
			if err := migration.Up(ctx, m, &migration); err != nil {
				return fmt.Errorf("apply migration %s: %w", migration.Name, err)
			}
			applied = append(applied, migration.Name)
		}
		return nil
	})
	return applied, err
}

// Rollback takes back the last migration and returns its name, or an empty one where none is applied. It returns
// ErrAlive while processes that need the schema are running.
func Rollback(ctx context.Context, db *DB) (string, error) {
	return rollBackFrom(ctx, db, schemaFiles(schemaFolder(db)))
}

func rollBackFrom(ctx context.Context, db *DB, files fs.FS) (string, error) {
	undone := ""
	unmark := func(ctx context.Context, tx bun.IConn, m *migrate.Migration) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM "+migrationTable+" WHERE name = ?", m.Name)
		return err
	}
	err := withMigrator(ctx, db, files, hooks{whileApplied, unmark}, func(m *migrate.Migrator) error {
		if err := nobodyAlive(ctx, db); err != nil {
			return err
		}
		list, err := m.MigrationsWithStatus(ctx)
		if err != nil {
			return err
		}
		for _, migration := range list.LastGroup().Migrations {
			if migration.Down == nil {
				return fmt.Errorf("this program cannot take back migration %s: it has no file that does", migration.Name)
			}
			if err := migration.Down(ctx, m, &migration); err != nil {
				return fmt.Errorf("take back migration %s: %w", migration.Name, err)
			}
			undone = migration.Name
		}
		return nil
	})
	return undone, err
}

// ErrAlive says that processes that need the schema are running.
var ErrAlive = errors.New("processes of Tocsin run on this database: stop them first; " +
	"one that was killed counts for half a minute more")

// nobodyAlive returns ErrAlive with the names of the processes that are alive, nil where there are none.
func nobodyAlive(ctx context.Context, db *DB) error {
	list, err := LiveProcesses(ctx, db)
	if err != nil && isMissingTable(err) {
		return nil
	}
	if err != nil || len(list) == 0 {
		return err
	}
	var words []string
	for _, p := range list {
		words = append(words, p.Role+" on "+p.Host)
	}
	return fmt.Errorf("%w: %s", ErrAlive, strings.Join(words, ", "))
}

// Loss is a table, or a column of one, that taking back a migration destroys.
type Loss struct {
	Name string // "table", or "table.column"
	Rows int64  // of a column: rows in which it is not null
}

// LastMigration returns the name of the migration that Rollback takes back, empty where none is applied, and the
// tables and columns that are lost then. It changes nothing.
func LastMigration(ctx context.Context, db *DB) (string, []Loss, error) {
	return lastMigration(ctx, db, schemaFiles(schemaFolder(db)))
}

func lastMigration(ctx context.Context, db *DB, files fs.FS) (name string, losses []Loss, err error) {
	if err := refuseNewer(ctx, db.Reader.DB, files); err != nil {
		return "", nil, err
	}
	err = db.Reader.QueryRowContext(ctx,
		"SELECT name FROM "+migrationTable+" ORDER BY group_id DESC, id DESC LIMIT 1").Scan(&name)
	if errors.Is(err, sql.ErrNoRows) || err != nil && isMissingTable(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, Translate(err)
	}
	found, err := fs.Glob(files, name+"_*.down.sql")
	if err != nil {
		return "", nil, fmt.Errorf("find the way back from migration %s: %w", name, err)
	}
	if len(found) != 1 {
		return "", nil, fmt.Errorf("this program cannot take back migration %s: it has %d files that do", name, len(found))
	}
	down, err := fs.ReadFile(files, found[0])
	if err != nil {
		return "", nil, fmt.Errorf("read migration %s: %w", name, err)
	}
	for _, l := range dropped(string(down)) {
		table, column, isColumn := strings.Cut(l, ".")
		query := "SELECT count(*) FROM " + table
		if isColumn {
			query = "SELECT count(" + column + ") FROM " + table
		}
		loss := Loss{Name: l}
		if err := db.Reader.QueryRowContext(ctx, query).Scan(&loss.Rows); err != nil {
			return "", nil, fmt.Errorf("count the rows of %s: %w", l, Translate(err))
		}
		losses = append(losses, loss)
	}
	return name, losses, nil
}

var (
	dropTable  = regexp.MustCompile(`(?is)\bDROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?([\w\s,]+)`)
	alterTable = regexp.MustCompile(`(?is)\bALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(\w+)([^;]+)`)
	dropColumn = regexp.MustCompile(`(?is)\bDROP\s+COLUMN\s+(?:IF\s+EXISTS\s+)?(\w+)`)
)

// dropped lists the tables, and the columns of others, that the statements of a migration drop.
func dropped(statements string) []string {
	var out []string
	for _, m := range dropTable.FindAllStringSubmatch(statements, -1) {
		for table := range strings.SplitSeq(m[1], ",") {
			out = append(out, strings.TrimSpace(table))
		}
	}
	for _, m := range alterTable.FindAllStringSubmatch(statements, -1) {
		for _, column := range dropColumn.FindAllStringSubmatch(m[2], -1) {
			out = append(out, m[1]+"."+column[1])
		}
	}
	return out
}

// Migrations lists the migrations that this program knows, oldest first, and whether the database has them. It changes
// nothing.
func Migrations(ctx context.Context, db *DB) ([]MigrationStatus, error) {
	known, err := knownMigrations(schemaFiles(schemaFolder(db)))
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

// CheckSchemaOf is CheckSchema for a PostgreSQL database that a Go web tier has opened, with any driver.
func CheckSchemaOf(ctx context.Context, db reader) error {
	return checkSchema(ctx, db, "postgres")
}

func checkSchema(ctx context.Context, db reader, folder string) error {
	files := schemaFiles(folder)
	known, err := knownMigrations(files)
	if err != nil {
		return err
	}
	applied, err := appliedMigrations(ctx, db)
	if err != nil {
		return err
	}
	if err := refuseUnknown(applied, known); err != nil {
		return err
	}
	for _, name := range known {
		if !slices.Contains(applied, name) {
			return SchemaError("the database lacks migration " + name + ": run \"tocsin migrate up\"")
		}
	}
	return nil
}

// refuseNewer returns a SchemaError where the database has a migration that is not among files.
func refuseNewer(ctx context.Context, db reader, files fs.FS) error {
	known, err := knownMigrations(files)
	if err != nil {
		return err
	}
	applied, err := appliedMigrations(ctx, db)
	if errors.Is(err, errNoTables) {
		return nil
	}
	if err != nil {
		return err
	}
	return refuseUnknown(applied, known)
}

// refuseUnknown returns a SchemaError that names a migration which is applied and not known.
func refuseUnknown(applied, known []string) error {
	for _, name := range applied {
		if !slices.Contains(known, name) {
			return SchemaError("the database has migration " + name +
				", which this program does not know: use the newer program")
		}
	}
	return nil
}

// knownMigrations lists the names of the migrations of files, oldest first.
func knownMigrations(files fs.FS) ([]string, error) {
	list, err := fs.Glob(files, "*.up.sql")
	if err != nil {
		return nil, fmt.Errorf("find migrations: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("this program has no migrations")
	}
	for i, f := range list {
		list[i], _, _ = strings.Cut(f, "_") // bun's name of a migration is the number that its file begins with
	}
	return list, nil
}

const errNoTables = SchemaError("the database has no tables of Tocsin: run \"tocsin migrate up\"")

// appliedMigrations lists the names of the migrations that the database has, or returns errNoTables.
func appliedMigrations(ctx context.Context, db reader) ([]string, error) {
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

// migrationTable is the table in which bun notes the migrations that it has applied.
const migrationTable = "schema_migrations"

// schemaFolder is where the migrations of a database's dialect are.
func schemaFolder(db bun.IDB) string {
	if isSQLite(db) {
		return "sqlite"
	}
	return "postgres"
}

// schemaFiles are the migrations in a folder.
func schemaFiles(folder string) fs.FS {
	files, err := fs.Sub(migrations.Files, folder)
	if err != nil {
		panic(fmt.Sprintf("dbmodel: migrations: %v", err)) // the folders are part of the program
	}
	return files
}
