package dbmodel_test

import (
	"fmt"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// BenchmarkTargets measures what the sweep and a drain ask for, at 60,000 targets that wait and behind 20,000 deliveries of one
// target that are done.
func BenchmarkTargets(b *testing.B) {
	const waiting, done = 60_000, 20_000
	for name, open := range map[string]func(testing.TB) *dbmodel.DB{"postgres": testenv.PostgresDB, "sqlite": testenv.SQLiteDB} {
		db := open(b)
		numbers := func(n int) string {
			return fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) ", n)
		}
		for _, statement := range []string{
			"INSERT INTO products (id, name) VALUES (1, 'p')",
			numbers(waiting) + "INSERT INTO targets (channel, key, address) SELECT 'slack', CAST('k' || i AS " + bytesOf(db) + "), CAST('a' AS " + bytesOf(db) + ") FROM n",
			"INSERT INTO notifications (type, event, name, product_id) VALUES ('security_gate', 'failed', 'p', 1)",
			numbers(waiting) + "INSERT INTO deliveries (notification_id, target_id, source_kind, source_id, product_id, type) " +
				"SELECT 1, i, 'product', 1, 1, 'security_gate' FROM n",
			numbers(done) + "INSERT INTO deliveries (notification_id, target_id, source_kind, source_id, product_id, type, state) " +
				"SELECT 1, 1, 'product', 1, 1, 'security_gate', 'sent' FROM n",
		} {
			if _, err := db.ExecContext(b.Context(), statement); err != nil {
				b.Fatalf("%s: %v", statement, err)
			}
		}
		b.Run(name+"/waiting targets", func(b *testing.B) {
			for after := int64(0); b.Loop(); {
				var err error
				if _, after, err = dbmodel.WaitingTargets(b.Context(), db, after, 1_000); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/failing targets", func(b *testing.B) {
			for b.Loop() {
				if _, err := dbmodel.FailingTargetsDue(b.Context(), db, 500); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/deliveries of one target", func(b *testing.B) {
			for b.Loop() {
				list, err := dbmodel.PendingDeliveries(b.Context(), db, 1, 11)
				if err != nil || len(list) != 1 {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

func bytesOf(db *dbmodel.DB) string {
	if db.Reader == db.DB {
		return "bytea"
	}
	return "blob"
}
