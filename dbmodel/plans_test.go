package dbmodel_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestImportScansNothing imports into a large table of which PostgreSQL has no statistics yet: each observation, and each title,
// is looked up by key.
func TestImportScansNothing(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), testenv.PostgresURL(t, testenv.MigrateSchema)
	db := testenv.OpenDB(t, url)
	exec := func(query string) {
		t.Helper()
		if _, err := db.ExecContext(ctx, query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	exec("ALTER TABLE observations SET (autovacuum_enabled = off)")
	exec("INSERT INTO products (id, name) VALUES (1, 'Product')")
	exec(`INSERT INTO observations (id, product_id, title, title_hash, severity, status, parser_type)
		SELECT 1000000 + i, 1, 'CVE-2025-' || i, hashint8extended(i, 0), 'Low', 'Open', 'SCA' FROM generate_series(1, 300000) i`)
	scans := func() (n int) {
		t.Helper()
		exec("SELECT pg_stat_clear_snapshot()")
		if err := db.QueryRowContext(ctx, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'observations'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := scans()
	for chunk := range 3 {
		importChunk(t, db, int64(chunk*5000+1))
	}
	// A connection reports what it counted a second later, or when it ends.
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = testenv.OpenDB(t, url)
	if after := scans(); after != before {
		t.Errorf("%d sequential scans of observations", after-before)
	}
}

// TestAcceptLooksUpEachObservation reads on SQLite, which keeps no statistics, what is accepted once, and looks up for each row of
// it the product and what is stored.
func TestAcceptLooksUpEachObservation(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		if db.Dialect().Name() == dialect.PG {
			return // see TestImportScansNothing
		}
		list := []dbmodel.Observation{{ID: 1, ProductID: 1, Title: "CVE-1", Severity: rule.High, Status: rule.Open}}
		plan := planOf(t, db, dbmodel.UpsertStatement, dbmodel.Args{
			"observations": dbmodel.ObservationCols(list), "products": dbmodel.Numbers{1}, "products_expected": 1,
			"reported_at": (*time.Time)(nil),
		})
		if strings.Contains(plan, "SCAN k\n") || !strings.Contains(plan, "SEARCH k USING") ||
			!strings.Contains(plan, "SEARCH e USING INTEGER PRIMARY KEY") {
			t.Errorf("not looked up row by row:\n%s", plan)
		}
	})
}

// importChunk accepts 5,000 observations and does to them what their evaluation does.
func importChunk(t *testing.T, db *dbmodel.DB, first int64) {
	t.Helper()
	list, ids := make([]dbmodel.Observation, 5000), make([]int64, 5000)
	titles, values := make([]string, 500), make([]*rule.Values, 500)
	for i := range list {
		ids[i] = first + int64(i)
		list[i] = dbmodel.Observation{ID: ids[i], ProductID: 1, Title: fmt.Sprint("CVE-", ids[i]), Severity: rule.High, Status: rule.Open, ParserType: "SCA"}
		if i < len(titles) {
			titles[i], values[i] = list[i].Title, &rule.Values{Severity: rule.High, Status: rule.Open}
		}
	}
	for range 2 { // the second time everything is unchanged
		if _, err := dbmodel.AcceptObservations(t.Context(), db, list, dbmodel.AcceptOptions{Bulk: true}); err != nil {
			t.Fatal(err)
		}
	}
	err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if _, err := dbmodel.Observations(ctx, tx, ids); err != nil {
			return err
		}
		if _, err := dbmodel.ObservationsForUpdate(ctx, tx, ids[:500]); err != nil {
			return err
		}
		if _, err := dbmodel.TitleCounts(ctx, tx, titles); err != nil {
			return err
		}
		return dbmodel.Remember(ctx, tx, ids[:500], values)
	})
	if err != nil {
		t.Fatal(err)
	}
}
