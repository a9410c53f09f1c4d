package worker

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// evaluateBaseline remembers observations that match, and their titles, as if they had been notified, and forgets those
// that do not match; it stores no notification, because these observations are known already. The values that the
// baseline reported decide, not the current ones: a change since then has an event of its own, which waits for this
// one.
func (w *Worker) evaluateBaseline(
	ctx context.Context, tx bun.Tx, event *dbmodel.Event, _ prepared,
) (decision, error) {
	observations, e, err := w.lockObservations(ctx, tx, event.Payload.IDs)
	if err != nil {
		return decision{}, err
	}
	var ids []int64
	var values []*rule.Values // to remember of these; nil: nothing
	for i := range observations {
		o := &observations[i]
		if v, found := event.Payload.Reported[o.ID]; found {
			o.Severity, o.Status, o.Priority, o.KnownExploited = v.Severity, v.Status, v.Priority, v.KnownExploited
		}
		switch now := o.Rule(); {
		case e.applied[o.ProductID].Conditions.Matches(now):
			ids, values = append(ids, o.ID), append(values, &now.Values)
		case o.Remembered != nil:
			ids, values = append(ids, o.ID), append(values, nil)
		}
	}
	if err := dbmodel.Remember(ctx, tx, ids, values); err != nil {
		return decision{}, fmt.Errorf("remember observations: %w", err)
	}
	titles, _, err := e.lockTitles(ctx, observations)
	if err != nil || len(titles) == 0 {
		return decision{}, err
	}
	return decision{}, e.rememberTitles(ctx, titles)
}
