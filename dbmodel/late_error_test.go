package dbmodel_test

import (
	"testing"

	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestCommitFailsBehindTheRow: what a statement returned before its own commit failed is not taken for stored.
func TestCommitFailsBehindTheRow(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		refuse := []string{"PRAGMA defer_foreign_keys = ON"} // up to the next commit
		if db.Dialect().Name() == dialect.PG {
			refuse = []string{
				`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$`,
				`CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON tokens DEFERRABLE INITIALLY DEFERRED
					FOR EACH ROW EXECUTE FUNCTION refuse()`,
			}
		}
		for _, statement := range refuse {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		const nobody = 999
		user := int64(nobody)
		if db.Dialect().Name() == dialect.PG {
			user = dbmodel.AutomationViewer().UserID
		}
		if token, _, err := dbmodel.CreateToken(t.Context(), db, user, dbmodel.ScopeUser, nil); err == nil {
			t.Errorf("a token without an error: %q", token)
		}
		var stored int
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM tokens").Scan(&stored); err != nil || stored != 0 {
			t.Errorf("%d tokens are stored, %v", stored, err)
		}
	})
}
