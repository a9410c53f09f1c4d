package testenv

import (
	"context"
	"path/filepath"
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
	url := "sqlite://" + filepath.Join(t.TempDir(), "tocsin.db")
	if err := MigrateSchema(t.Context(), url); err != nil {
		t.Fatalf("migrate SQLite: %v", err)
	}
	return url
}

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
