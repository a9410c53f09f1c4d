package dbmodel_test

import (
	"context"
	"testing"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestWaitingDigestNamesTheHolder: where all deliveries go to the contact of one product group, the digest has its name.
func TestWaitingDigestNamesTheHolder(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		vault := newVault(t, db)
		targets, err := dbmodel.EnsureTargets(ctx, db, vault, rule.Email, []string{"a@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		gate := dbmodel.NewNotification{
			Notification: dbmodel.Notification{Type: rule.TypeSecurityGate, Event: rule.EventFailed, Name: "P"}, Targets: targets,
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			if err := dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{gate, gate}); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO product_groups (id, name) VALUES (3, 'Payments')")
			if err == nil {
				_, err = tx.ExecContext(ctx, "UPDATE deliveries SET source_kind = 'product_group', source_id = 3")
			}
			return err
		})
		digest, err := dbmodel.WaitingDigestOf(ctx, db, targets[0], 0, 10, 10)
		if err != nil {
			t.Fatal(err)
		}
		want := dbmodel.ContactHolder{Holder: rule.Holder{Kind: rule.HolderGroup, ID: 3}, HolderName: "Payments"}
		if digest.ContactHolder != want {
			t.Errorf("got %+v, want %+v", digest.ContactHolder, want)
		}
	})
}
