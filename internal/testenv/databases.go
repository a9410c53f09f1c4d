package testenv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
)

// MigrateSchema is a Migrate that brings a database to Tocsin's schema.
func MigrateSchema(ctx context.Context, url string) error {
	db, err := database.Open(url, 4)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = dbmodel.Migrate(ctx, db)
	return err
}

// PostgresDB gives the test a PostgreSQL database of its own with Tocsin's schema.
func PostgresDB(t testing.TB) *dbmodel.DB {
	t.Helper()
	return OpenDB(t, PostgresURL(t, MigrateSchema))
}

// SQLiteURL addresses an empty SQLite database of the test's own with Tocsin's schema.
func SQLiteURL(t testing.TB) string {
	t.Helper()
	template, err := sqliteTemplate()
	path := filepath.Join(t.TempDir(), "tocsin.db")
	if err == nil {
		err = os.WriteFile(path, template, 0o600)
	}
	if err != nil {
		t.Fatalf("migrate SQLite: %v", err)
	}
	return "sqlite://" + path
}

// sqliteTemplate returns the file of an empty database with Tocsin's schema, which is made once in this process.
var sqliteTemplate = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "tocsin-sqlite-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "tocsin.db")
	if err := MigrateSchema(context.Background(), "sqlite://"+path); err != nil {
		return nil, err
	}
	return os.ReadFile(path) // #nosec G304 -- made above
})

// SQLiteDB gives the test a SQLite database of its own with Tocsin's schema.
func SQLiteDB(t testing.TB) *dbmodel.DB {
	t.Helper()
	return OpenDB(t, SQLiteURL(t))
}

// EachDatabase runs a test over PostgreSQL and over SQLite.
func EachDatabase(t *testing.T, test func(t *testing.T, db *dbmodel.DB)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, PostgresDB(t)) })
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, SQLiteDB(t)) })
}

// OpenDB opens the database at url until the end of the test.
func OpenDB(t testing.TB, url string) *dbmodel.DB {
	t.Helper()
	db, err := database.Open(url, 10)
	if err != nil {
		t.Fatalf("open the database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return db
}
