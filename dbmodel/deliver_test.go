package dbmodel_test

import (
	"context"
	"testing"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestDeliverBesideALateSuccess: a delivery that is about to be recorded as sent does not wait again. SQLite has one
// writer.
func TestDeliverBesideALateSuccess(t *testing.T) {
	t.Parallel()
	ctx, db := t.Context(), testenv.PostgresDB(t)
	target := slackTarget(t, db)
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		n := dbmodel.Notification{Type: rule.TypeException, Name: "x"}
		return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{{Notification: n, Targets: []int64{target}}})
	})
	if _, err := db.ExecContext(ctx, "UPDATE deliveries SET state = 'failed'"); err != nil {
		t.Fatal(err)
	}
	list, err := dbmodel.Deliveries(ctx, db, everything, dbmodel.DeliveryFilter{}, 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	delivery := list[0]
	var again []rule.Recipient
	done := make(chan error, 1)
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		if _, err := dbmodel.MarkSent(ctx, tx, dbmodel.DeliverySet{TargetID: target, IDs: []int64{delivery.ID}}); err != nil {
			return err
		}
		go func() {
			done <- db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) (err error) {
				to := rule.Recipient{Contact: rule.Contact{Holder: rule.Holder{Kind: rule.HolderExceptions}, Target: target}}
				again, err = dbmodel.AddDeliveries(ctx, tx, delivery.NotificationID, []rule.Recipient{to})
				return err
			})
		}()
		lockWaits(t, db)
		return nil
	})
	if err := <-done; err != nil || len(again) > 0 {
		t.Errorf("waits again: %+v %v", again, err)
	}
	list, err = dbmodel.Deliveries(ctx, db, everything, dbmodel.DeliveryFilter{}, 10)
	if err != nil || len(list) != 1 || list[0].State != dbmodel.Sent {
		t.Errorf("%+v %v", list, err)
	}
}
