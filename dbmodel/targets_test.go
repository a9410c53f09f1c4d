package dbmodel_test

import (
	"context"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestLookAlikeAddress: an address with a letter that lower case turns into another one never becomes the target of the
// address that it looks like, whichever is stored first.
func TestLookAlikeAddress(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		vault := newVault(t, db)
		target := func(address string) int64 {
			t.Helper()
			ids, err := dbmodel.EnsureTargets(ctx, db, vault, rule.Email, []string{address})
			if err != nil {
				t.Fatal(err)
			}
			return ids[0]
		}
		attackers := target("ciso@vİctim.example")
		victims := target("ciso@victim.example")
		if attackers == victims || target("ciso@\u212aictim.example") == target("ciso@kictim.example") {
			t.Error("two addresses share a target")
		}
		stored, err := dbmodel.TargetByID(ctx, db, victims)
		if err != nil {
			t.Fatal(err)
		}
		if to, err := vault.OpenAddress(rule.Email, stored.Address); err != nil || to != "ciso@victim.example" {
			t.Errorf("mail goes to %q %v", to, err)
		}
		if target("CISO@Victim.Example") != victims {
			t.Error("case splits a target in two")
		}
		if target("a@BÜCHER.example") != target("a@xn--bcher-kva.example") {
			t.Error("a domain and its Punycode are two targets")
		}
	})
}

// TestUnusedTargetIsUsedAgain: a target that a transaction is about to use is neither marked nor removed, and one that was marked
// loses its mark.
func TestUnusedTargetIsUsedAgain(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		id := slackTarget(t, db)
		vault := newVault(t, db)
		mark := func(want int64) {
			t.Helper()
			inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
				_, err := dbmodel.MarkUnusedTargets(ctx, tx, 0, 10)
				return err
			})
			n, err := db.NewSelect().TableExpr("targets").Where("unused_since IS NOT NULL").Count(t.Context())
			if err != nil || n != want {
				t.Fatalf("%d targets are marked, want %d: %v", n, want, err)
			}
		}
		use := func(ctx context.Context, tx bun.Tx) error {
			ids, err := dbmodel.EnsureTargets(ctx, tx, vault, rule.Slack, []string{"https://hooks.example.com/x"})
			if err == nil && ids[0] != id {
				t.Fatalf("another target: %d, want %d", ids[0], id)
			}
			return err
		}
		mark(1)
		inTx(t, db, use)
		n, err := db.NewSelect().TableExpr("targets").Where("unused_since IS NOT NULL").Count(t.Context())
		if err != nil || n != 0 {
			t.Fatalf("%d targets are marked: %v", n, err)
		}
		if db.Dialect().Name() == dialect.SQLite {
			return // one writer
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			err := use(ctx, tx)
			mark(0)
			return err
		})
		mark(1)
		if _, err := db.ExecContext(t.Context(), "UPDATE targets SET unused_since = 'epoch'"); err != nil {
			t.Fatal(err)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.ExecContext(ctx, "SELECT 1 FROM targets FOR KEY SHARE"); err != nil {
				return err
			}
			inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
				n, err := dbmodel.RemoveUnusedTargets(ctx, tx, []int64{id})
				if n != 0 {
					t.Error("a target was removed that another transaction is about to use")
				}
				return err
			})
			return nil
		})
	})
}
