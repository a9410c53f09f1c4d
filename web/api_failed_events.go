package web

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/input"
)

type failedEventAnswer struct {
	ID             int64             `json:"id"`
	Kind           dbmodel.EventKind `json:"kind" enum:"observation,security_gate,exception,refused"`
	Reason         string            `json:"reason"`
	Attempts       int               `json:"attempts"`
	CreatedAt      time.Time         `json:"created_at"`
	FailedAt       time.Time         `json:"failed_at"`
	ObservationIDs []int64           `json:"observation_ids" nullable:"false"`
	ProductID      *int64            `json:"product_id"`
}

type retryFields struct {
	IDs input.Field[[]int64] `json:"ids" doc:"Left out: all of them"`
}

type retriedOutput struct {
	Body struct {
		Retried int64 `json:"retried"`
	}
}

func (s *server) apiListFailedEvents(ctx context.Context, in *ListParams) (*listOutput[failedEventAnswer], error) {
	before, err := idCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	events, err := dbmodel.FailedEvents(ctx, s.db.Reader, before, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list failed events: %w", err)
	}
	return page(events, in.Limit, showFailedEvent, func(e *dbmodel.FailedEvent) string { return idCursorOf(e.ID) }), nil
}

func (s *server) apiRetryFailedEvents(ctx context.Context, _ *struct{}) (*retriedOutput, error) {
	var sent retryFields
	if err := readOptionalJSON(ctx, &sent); err != nil {
		return nil, err
	}
	return s.retryFailedEvents(ctx, &sent)
}

// retryFailedEvents makes events that are set aside due again: those that were sent, or all.
func (s *server) retryFailedEvents(ctx context.Context, sent *retryFields) (*retriedOutput, error) {
	out := new(retriedOutput)
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		out.Body.Retried, err = dbmodel.RetryFailedEvents(ctx, tx, !sent.IDs.Set || sent.IDs.Null, sent.IDs.Value)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("retry failed events: %w", err)
	}
	return out, nil
}

// showFailedEvent shows what an event names, never what it says: that may be anything.
func showFailedEvent(e *dbmodel.FailedEvent) failedEventAnswer {
	out := failedEventAnswer{
		ID: e.ID, Kind: e.Kind, Reason: e.Reason, Attempts: e.Attempts, CreatedAt: e.CreatedAt.UTC(), FailedAt: e.FailedAt.UTC(),
		ObservationIDs: filled(e.Payload.IDs),
	}
	product := e.ProductID
	if x := e.Payload.Exception; x != nil {
		product = x.ProductID
		if x.ObservationID != 0 {
			out.ObservationIDs = []int64{x.ObservationID}
		}
	}
	if product != 0 {
		out.ProductID = &product
	}
	return out
}
