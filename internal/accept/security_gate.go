package accept

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// NewSecurityGate reports whether a product passed its security gate; nil: the gate has no result.
func NewSecurityGate(productID int64, passed *bool) (*Event, error) {
	if err := checkID("product_id", productID); err != nil {
		return nil, err
	}
	return &Event{kind: dbmodel.KindSecurityGate, id: productID, passed: passed}, nil
}

func securityGateFrom(p payload) (*Event, error) {
	if p.ReportedAt.IsZero() {
		return nil, errNotDated
	}
	return NewSecurityGate(p.ID, p.Passed)
}

func acceptSecurityGate(ctx context.Context, db bun.IDB, e *Event, how circumstances) (Accepted, error) {
	before, storedLater, err := dbmodel.SecurityGateForUpdate(ctx, db, e.id, how.reportedAt)
	if err != nil {
		return Accepted{}, fmt.Errorf("load the security gate of product %d: %w", e.id, err)
	}
	changed := rule.Gate(before, e.passed) != rule.NoEvent
	switch {
	case storedLater && changed:
		return Accepted{PassedOver: 1}, nil
	case storedLater || !changed && how.reportedAt == nil:
		return Accepted{}, nil
	}
	// Also where the value stays: the time is stored with it, so that an older report that arrives later changes nothing.
	if err := dbmodel.SetSecurityGate(ctx, db, e.id, e.passed, how.reportedAt); err != nil {
		return Accepted{}, fmt.Errorf("store the security gate of product %d: %w", e.id, err)
	}
	if !changed {
		return Accepted{}, nil
	}
	a, err := insert(ctx, db, dbmodel.NewEvent{
		Kind: dbmodel.KindSecurityGate, ProductID: e.id, Queued: how.queued,
		Payload: dbmodel.EventPayload{Before: before, After: e.passed, TraceParent: e.traceParent},
	})
	a.GateChanged = err == nil
	return a, err
}
