package dbmodel_test

import (
	"context"
	"testing"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestFailuresOfDeletedProduct: a target fails no more once all that it did not take is deleted, and not only removed.
func TestFailuresOfDeletedProduct(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(ctx context.Context, db *dbmodel.DB) error{
		"the product": func(ctx context.Context, db *dbmodel.DB) error {
			return db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteProduct(ctx, tx, 1) })
		},
		"the notifications": func(ctx context.Context, db *dbmodel.DB) error {
			_, err := dbmodel.DeleteNotificationsByFilter(ctx, db, everything, dbmodel.NotificationFilter{})
			return err
		},
	} {
		for _, state := range []dbmodel.State{dbmodel.Pending, dbmodel.Failed} {
			t.Run(name+" "+string(state), func(t *testing.T) {
				t.Parallel()
				testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
					ctx, target := t.Context(), slackTarget(t, db)
					saveProducts(t, db, 1)
					inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
						n := dbmodel.Notification{Type: rule.TypeSecurityGate, Name: "x", ProductID: new(int64(1))}
						return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{{Notification: n, Targets: []int64{target}}})
					})
					for statement, value := range map[string]any{
						"UPDATE deliveries SET state = ?": state, "UPDATE targets SET failing_since = next_at, failures = ?": 1,
					} {
						if _, err := db.ExecContext(ctx, statement, value); err != nil {
							t.Fatal(err)
						}
					}
					for _, want := range []int{1, 0} {
						failing, err := dbmodel.FailingByChannel(ctx, db)
						if err != nil || failing[rule.Slack] != want {
							t.Errorf("%d targets fail, want %d: %v", failing[rule.Slack], want, err)
						}
						if want == 0 {
							break
						}
						if err := remove(ctx, db); err != nil {
							t.Fatal(err)
						}
					}
				})
			})
		}
	}
}
