package dbmodel_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// A product that is deleted while an exception that names it is being notified takes the notification with it. SQLite writes
// one after the other.
func TestDeleteProductNamedByAnException(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		return dbmodel.SaveProduct(ctx, tx, &dbmodel.Product{ID: 4, Name: "P"})
	})
	deleted := make(chan error, 1)
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		named, err := dbmodel.NamedBy(ctx, tx, &dbmodel.Exception{ProductID: 4})
		if err != nil || named.Product == nil {
			t.Fatalf("named: %+v %v", named, err)
		}
		go func() {
			deleted <- db.InTx(context.Background(), func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteProduct(ctx, tx, 4) })
		}()
		testenv.Eventually(t, 10*time.Second, func() error { return waitsForLock(ctx, db, deleted) }, "the deletion does not begin")
		return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{{
			Notification: dbmodel.Notification{Type: rule.TypeException, Name: "KeyError", ProductID: &named.Product.ID},
		}})
	})
	if err := <-deleted; err != nil {
		t.Fatal(err)
	}
	left, err := dbmodel.Notifications(t.Context(), db, everything, dbmodel.NotificationFilter{}, 10)
	if err != nil || len(left) > 0 {
		t.Errorf("left after deleting the product: %+v %v", left, err)
	}
}

// waitsForLock returns nil once somebody in the database waits for a lock, or ended has a value.
func waitsForLock(ctx context.Context, db *dbmodel.DB, ended <-chan error) error {
	if len(ended) > 0 {
		return nil
	}
	var waits bool
	err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')").Scan(&waits)
	if err == nil && !waits {
		err = errors.New("nobody waits")
	}
	return err
}
