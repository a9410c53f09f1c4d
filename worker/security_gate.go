package worker

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// evaluateGate notifies one change of a product's security gate.
func (w *Worker) evaluateGate(ctx context.Context, tx bun.Tx, event *dbmodel.Event, _ prepared) (decision, error) {
	products, err := dbmodel.KeptProductContexts(ctx, tx, []int64{event.ProductID})
	if err != nil {
		return decision{}, fmt.Errorf("keep product %d: %w", event.ProductID, err)
	}
	e, err := newEvaluation(ctx, tx, products)
	if err != nil {
		return decision{}, err
	}
	deleted, err := event.IsDeleted(ctx, tx)
	if err != nil {
		return decision{}, fmt.Errorf("look for a deletion of product %d: %w", event.ProductID, err)
	}
	product, found := e.products[event.ProductID]
	if !found || deleted {
		return decision{}, nil
	}
	e.add(dbmodel.Notification{
		Type: rule.TypeSecurityGate, Event: rule.Gate(event.Payload.Before, event.Payload.After), Name: product.Name,
		ProductID: &product.ID,
		Facts: dbmodel.Facts{
			ProductName: product.Name, ProductGroupName: product.GroupName, GateBefore: rule.GateState(event.Payload.Before),
		},
	}, e.applied[event.ProductID])
	return e.store(ctx, event)
}
