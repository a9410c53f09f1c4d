package dbmodel_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/dbmodel/migrations"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// newerProgram returns the migrations of this program and two more, which it does not know.
func newerProgram(t *testing.T, db *dbmodel.DB) fs.FS {
	t.Helper()
	folder, files := "postgres", fstest.MapFS{}
	if db.Reader != db.DB {
		folder = "sqlite"
	}
	list, err := fs.Glob(migrations.Files, folder+"/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		text, err := fs.ReadFile(migrations.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(name, folder+"/")] = &fstest.MapFile{Data: text}
	}
	maps.Copy(files, fstest.MapFS{
		"29990101000000_second.tx.up.sql":   {Data: []byte("CREATE TABLE second (a integer);")},
		"29990101000000_second.tx.down.sql": {Data: []byte("DROP TABLE second;")},
		"29990102000000_third.tx.up.sql":    {Data: []byte("ALTER TABLE second ADD COLUMN b integer;\n--bun:split\nCREATE TABLE third (c integer);")},
		"29990102000000_third.tx.down.sql":  {Data: []byte("DROP TABLE third;\n--bun:split\nALTER TABLE second DROP COLUMN b;")},
	})
	return files
}

// TestRollbackTakesBackOneMigration applies two migrations at once and takes them back one by one.
func TestRollbackTakesBackOneMigration(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, files := t.Context(), newerProgram(t, db)
		applied, err := dbmodel.MigrateTo(ctx, db, files)
		if diff := cmp.Diff([]string{"29990101000000", "29990102000000"}, applied); err != nil || diff != "" {
			t.Fatalf("applied (-want +got): %v\n%s", err, diff)
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO second (a, b) VALUES (1, 1), (2, NULL), (3, NULL)"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []struct {
			name   string
			losses []dbmodel.Loss
		}{
			{"29990102000000", []dbmodel.Loss{{Name: "third"}, {Name: "second.b", Rows: 1}}},
			{"29990101000000", []dbmodel.Loss{{Name: "second", Rows: 3}}},
		} {
			name, losses, err := dbmodel.LastMigrationOf(ctx, db, files)
			if diff := cmp.Diff(want.losses, losses); err != nil || name != want.name || diff != "" {
				t.Errorf("%s (-want +got): %v\n%s", name, err, diff)
			}
			if undone, err := dbmodel.RollBackFrom(ctx, db, files); err != nil || undone != want.name {
				t.Errorf("took back %q, not %s: %v", undone, want.name, err)
			}
		}
		if err := dbmodel.CheckSchema(ctx, db); err != nil {
			t.Error(err)
		}
	})
}

// TestMigrateWithOneConnection has the lock and the migrations not wait for each other.
func TestMigrateWithOneConnection(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		files := newerProgram(t, db)
		db.SetMaxOpenConns(1)
		if applied, err := dbmodel.MigrateTo(ctx, db, files); err != nil || len(applied) != 2 {
			t.Errorf("applied %v: %v", applied, err)
		}
		if undone, err := dbmodel.RollBackFrom(ctx, db, files); err != nil || undone != "29990102000000" {
			t.Errorf("took back %q: %v", undone, err)
		}
		if most := db.Stats().MaxOpenConnections; most != 1 {
			t.Errorf("the pool has %d connections", most)
		}
	})
}

// TestMigrationIsMissing: the error says in words what this program lacks.
func TestMigrationIsMissing(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		onlyUp := fstest.MapFS{"20261101000000_first.tx.up.sql": {Data: []byte("SELECT 1")}}
		_, _, errLast := dbmodel.LastMigrationOf(ctx, db, onlyUp)
		_, _, errNone := dbmodel.LastMigrationOf(ctx, db, fstest.MapFS{})
		for what, err := range map[string]error{"no way down": errLast, "no migrations": errNone} {
			if err == nil || strings.Contains(err.Error(), "%!") {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// TestOlderProgram meets the schema of a newer one.
func TestOlderProgram(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		if _, err := dbmodel.MigrateTo(ctx, db, newerProgram(t, db)); err != nil {
			t.Fatal(err)
		}
		_, errUp := dbmodel.Migrate(ctx, db)
		_, errDown := dbmodel.Rollback(ctx, db)
		_, _, errLast := dbmodel.LastMigration(ctx, db)
		for what, err := range map[string]error{"up": errUp, "down": errDown, "last": errLast, "check": dbmodel.CheckSchema(ctx, db)} {
			if schema := dbmodel.SchemaError(""); !errors.As(err, &schema) || !strings.Contains(err.Error(), "use the newer program") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n, err := db.NewSelect().Table("second").Count(ctx); err != nil || n != 0 {
			t.Errorf("the table of the newer schema: %v", err)
		}
	})
}

func TestRollbackRefusesWhileARoleIsAlive(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, p := t.Context(), &dbmodel.Process{ID: "a", Role: "worker", Host: "host-a", Version: "1"}
		if err := dbmodel.RenewProcess(ctx, db, p); err != nil {
			t.Fatal(err)
		}
		if _, err := dbmodel.Rollback(ctx, db); !errors.Is(err, dbmodel.ErrAlive) || !strings.Contains(err.Error(), "worker on host-a") {
			t.Errorf("beside a worker: %v", err)
		}
		if err := dbmodel.CheckSchema(ctx, db); err != nil {
			t.Error(err)
		}
		if err := dbmodel.RemoveProcess(ctx, db, p); err != nil {
			t.Fatal(err)
		}
		if undone, err := dbmodel.Rollback(ctx, db); err != nil || undone == "" {
			t.Errorf("after the worker: %q %v", undone, err)
		}
		if undone, err := dbmodel.Rollback(ctx, db); err != nil || undone != "" {
			t.Errorf("with nothing to take back: %q %v", undone, err)
		}
		if name, losses, err := dbmodel.LastMigration(ctx, db); err != nil || name != "" || losses != nil {
			t.Errorf("with nothing to take back: %q %v %v", name, losses, err)
		}
	})
}
