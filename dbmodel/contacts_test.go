package dbmodel_test

import (
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestContactsAreFoundByTheirHolder: contacts of one product are replaced without a look at those of all others.
func TestContactsAreFoundByTheirHolder(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		for _, statement := range []string{
			"INSERT INTO targets (id, channel, key, address) VALUES (1, 'slack', '1', '')",
			`INSERT INTO products (id, name) WITH RECURSIVE p(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM p WHERE i < 3000)
				SELECT i, 'P' FROM p`,
			`INSERT INTO contacts (kind, product_id, channel, position, target_id)
				SELECT 'product', id, 'slack', 1, 1 FROM products`,
			"ANALYZE contacts",
		} {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		for _, kind := range []rule.HolderKind{
			rule.HolderProduct, rule.HolderGroup, rule.HolderTitles, rule.HolderExceptions, rule.HolderSubscription,
		} {
			plan := planOf(t, db, dbmodel.DeleteContactsStatement, dbmodel.Args{
				"kind": string(kind), "channel": "slack", "held": dbmodel.Held(rule.Holder{Kind: kind, ID: 7}),
			})
			if strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "SCAN") {
				t.Errorf("%s:\n%s", kind, plan)
			}
		}
	})
}
