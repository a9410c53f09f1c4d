package tasks

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// SecurityGate accepts the value of a product's security gate, nil where it has none. It returns whether that is another
// value than the stored one; every change is notified, in order. The error is dbmodel.ErrNotFound where there is no such
// product.
func (a *Acceptor) SecurityGate(ctx context.Context, productID int64, passed *bool) (changed bool, err error) {
	event := dbmodel.NewEvent{Kind: dbmodel.KindSecurityGate, ProductID: productID, Queued: a.queue.Room(QueueEvents)}
	var id int64
	err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		product, err := dbmodel.ProductForUpdate(ctx, tx, productID)
		if err != nil {
			return err
		}
		if changed = rule.Gate(product.SecurityGatePassed, passed) != rule.NoEvent; !changed {
			return nil
		}
		if err := dbmodel.SetSecurityGate(ctx, tx, productID, passed); err != nil {
			return err
		}
		event.Payload = dbmodel.EventPayload{Before: product.SecurityGatePassed, After: passed}
		id, err = dbmodel.InsertEvent(ctx, tx, event)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("store the security gate of product %d: %w", productID, err)
	}
	if changed && event.Queued {
		a.queue.Enqueue(ctx, []dbmodel.QueueableEvent{{ID: id, Kind: event.Kind, ProductID: productID}})
	}
	return changed, nil
}
