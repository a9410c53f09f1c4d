package dbmodel_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestFindingWhatWaitsReadsLittle finds what waits where the statistics of PostgreSQL are from before it did: each step
// reads one delivery, however many there are of a target. Counts stop where they are asked to.
func TestFindingWhatWaitsReadsLittle(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		slackTarget(t, db)
		postgres := db.Dialect().Name() == dialect.PG
		statements := []string{
			"INSERT INTO products (id, name) VALUES (1, 'Product')",
			"INSERT INTO notifications (type, event, name, product_id) VALUES ('security_gate', 'failed', 'Product', 1)",
			`INSERT INTO deliveries (notification_id, target_id, type, state)
				WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 20000)
				SELECT (SELECT min(id) FROM notifications), (SELECT min(id) FROM targets), 'security_gate', 'sent' FROM s`,
			"UPDATE deliveries SET state = 'pending'",
			`INSERT INTO outbox (kind, product_id, payload, bulk)
				WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 20000) SELECT 'observation', 1, '{}', true FROM s`,
		}
		if postgres {
			last := len(statements) - 2
			statements = slices.Insert(statements, last, "ALTER TABLE deliveries SET (autovacuum_enabled = off)",
				"ALTER TABLE outbox SET (autovacuum_enabled = off)", "ANALYZE deliveries")
		}
		for _, s := range statements {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
		if c, err := dbmodel.CountUpTo(t.Context(), db, 100); err != nil || c.PendingDeliveries != 100 || c.Outbox != 100 {
			t.Errorf("counted up to 100: %+v %v", c, err)
		}
		if !postgres {
			return // it keeps no statistics; for its plans see TestPlansOfDeliveries
		}
		plan := planOf(t, db, dbmodel.CountWorkStatement, dbmodel.Args{"live": bun.Safe("true"), "events": bun.Safe("true"), "most": 100})
		if regexp.MustCompile("(Seq Scan|Bitmap Heap Scan) on (outbox|deliveries)").MatchString(plan) {
			t.Errorf("what waits is counted by\n%s", plan)
		}
		read := regexp.MustCompile(`on deliveries.*rows=(\d+) loops`)
		for statement, args := range map[string]dbmodel.Args{
			dbmodel.WaitingTargetsStatement: {"after": int64(0), "limit": 1000},
			dbmodel.OldestWorkStatement:     {"live": bun.Safe("true"), "events": bun.Safe("true"), "most": 2000},
		} {
			plan := planOf(t, db, "(ANALYZE, COSTS OFF, TIMING OFF) "+statement, args)
			found := read.FindAllStringSubmatch(plan, -1)
			for _, node := range found {
				if node[1] != "0" && node[1] != "1" {
					t.Errorf("a step reads %s deliveries", node[1])
				}
			}
			if len(found) < 2 || t.Failed() {
				t.Errorf("%s\n\nis read by\n%s", statement, plan)
			}
		}
	})
}
