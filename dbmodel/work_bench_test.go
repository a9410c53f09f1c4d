package dbmodel_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// BenchmarkWork measures what a scrape, /api/v1/status and "tocsin check" ask the database for: at a million notifications that
// were delivered to 2,000 targets; then at as many that wait, beside 100,000 events.
func BenchmarkWork(b *testing.B) {
	const stored, targets, events = 1_000_000, 2_000, 100_000
	for name, open := range map[string]func(testing.TB) *dbmodel.DB{"postgres": testenv.PostgresDB, "sqlite": testenv.SQLiteDB} {
		b.Run(name, func(b *testing.B) {
			db := open(b)
			run := func(statement string) {
				b.Helper()
				if _, err := db.ExecContext(b.Context(), statement); err != nil {
					b.Fatalf("%s: %v", statement, err)
				}
			}
			numbers := func(n int) string {
				return fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) ", n)
			}
			run("INSERT INTO products (id, name) VALUES (1, 'p')")
			run("INSERT INTO targets (channel, key, address) " + numbers(targets) +
				"SELECT 'slack', CAST('k' || i AS " + bytesOf(db) + "), CAST('a' AS " + bytesOf(db) + ") FROM n")
			run("INSERT INTO notifications (type, event, name, product_id) " + numbers(stored) + "SELECT 'security_gate', 'failed', 'p', 1 FROM n")
			run(fmt.Sprintf("INSERT INTO deliveries (notification_id, target_id, source_kind, source_id, product_id, type, state) "+
				"SELECT id, id %% %d + 1, 'product', 1, 1, 'security_gate', 'sent' FROM notifications", targets))
			run("ANALYZE")
			measureWork(b, db, "delivered")
			run("UPDATE deliveries SET state = 'pending'")
			run("INSERT INTO outbox (kind, product_id, payload, bulk) " + numbers(events) + "SELECT 'observation', 1, '{}', true FROM n")
			measureWork(b, db, "waiting")
		})
	}
}

func measureWork(b *testing.B, db *dbmodel.DB, state string) {
	b.Helper()
	for _, question := range []struct {
		name string
		ask  func(context.Context) error
	}{
		{"counts of a scrape", func(ctx context.Context) error { _, err := dbmodel.CountUpTo(ctx, db.Reader, 10_000); return err }},
		{"all counts", func(ctx context.Context) error { _, err := dbmodel.Count(ctx, db.Reader); return err }},
		{"the oldest", func(ctx context.Context) error { _, err := dbmodel.OldestWork(ctx, db.Reader); return err }},
		{"failing targets", func(ctx context.Context) error { _, err := dbmodel.FailingByChannel(ctx, db.Reader); return err }},
		{"processes", func(ctx context.Context) error { _, err := dbmodel.LiveProcesses(ctx, db.Reader); return err }},
		{"periodic tasks", func(ctx context.Context) error { _, err := dbmodel.LastRunsByTask(ctx, db.Reader); return err }},
	} {
		b.Run(state+"/"+question.name, func(b *testing.B) {
			for b.Loop() {
				if err := question.ask(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
