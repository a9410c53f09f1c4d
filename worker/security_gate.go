package worker

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// evaluateGate notifies one change of a product's security gate.
func (w *Worker) evaluateGate(ctx context.Context, tx bun.Tx, event *dbmodel.Event, _ prepared) ([]int64, error) {
	e, err := w.begin(ctx, tx, []int64{event.ProductID})
	if err != nil {
		return nil, err
	}
	product, found := e.products[event.ProductID]
	if !found {
		return nil, nil // deleted meanwhile
	}
	e.add(dbmodel.Notification{
		Type: rule.TypeSecurityGate, Event: rule.Gate(event.Payload.Before, event.Payload.After), Name: product.Name, ProductID: &product.ID,
		Facts: dbmodel.Facts{ProductName: product.Name, ProductGroupName: product.GroupName},
	}, e.applied[event.ProductID])
	return e.store(ctx)
}
