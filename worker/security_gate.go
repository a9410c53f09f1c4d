package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// securityGateEvaluate evaluates for queue.TypeSecurityGateEvaluate: whichever event the task names, the oldest that waits of its
// product, and then the next ones, so that two workers cannot swap them.
func (w *Worker) securityGateEvaluate(ctx context.Context, t *asynq.Task) error {
	p, err := eventTask(t)
	if err != nil {
		return err
	}
	defer w.exclusive(p.Alone)()
	for !w.isStopping() {
		id, err := dbmodel.NextGateEvent(ctx, w.DB, p.ProductID)
		if errors.Is(err, dbmodel.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("find the next gate event of product %d: %w", p.ProductID, err)
		}
		if done, err := w.evaluate(ctx, dbmodel.KindSecurityGate, id, p.Alone, nil, w.evaluateGate); err != nil || !done {
			return err
		}
	}
	return nil
}

// evaluateGate notifies one change of a product's security gate.
func (w *Worker) evaluateGate(ctx context.Context, tx bun.Tx, event *dbmodel.Event) ([]int64, error) {
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
