package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/input"
)

type failedEventAnswer struct {
	ID             int64     `json:"id"`
	Kind           eventKind `json:"kind"`
	Why            string    `json:"why" doc:"What happened, in words and with numbers"`
	Reason         string    `json:"reason" doc:"The error that it ended with"`
	Attempts       int       `json:"attempts" doc:"Evaluations that were begun; 0: it was refused when it was accepted"`
	CreatedAt      time.Time `json:"created_at"`
	FailedAt       time.Time `json:"failed_at"`
	ObservationIDs []int64   `json:"observation_ids" nullable:"false"`
	ProductID      *int64    `json:"product_id"`
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
	return pageOf(events, in.Limit, showFailedEvent, func(e *dbmodel.FailedEvent) string { return idCursorOf(e.ID) }), nil
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

// apiDismissFailedEvent deletes an event that is set aside: it is not evaluated any more.
func (s *server) apiDismissFailedEvent(ctx context.Context, in *IDParam) (*struct{}, error) {
	var e *dbmodel.FailedEvent
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if e, err = dbmodel.DismissFailedEvent(ctx, tx, in.ID); err != nil || e.Payload.Exception == nil {
			return err
		}
		// The next equal one is notified: this one never was.
		if s.queue.Release(ctx, s.vault.ExceptionKey(e.Payload.Exception.Fingerprint), e.ID) != nil {
			return newProblem(http.StatusServiceUnavailable,
				"Redis does not answer, which says that this exception was notified. Try again; nothing was dismissed.")
		}
		return nil
	})
	if err != nil {
		return nil, missing(err, "failed event", in.ID)
	}
	s.audit(ctx, "failed_event_dismissed").Int64("event", e.ID).Str("kind", string(e.Kind)).
		Int64("product", e.ProductID).Ints64("observations", e.Payload.IDs).Str("reason", e.Reason).
		Msg("a failed event was dismissed")
	return nil, nil //nolint:nilnil // 204
}

// whySetAside says in words, and with numbers, what preceded the reason of an event that is set aside.
func whySetAside(e *dbmodel.FailedEvent) string {
	switch {
	case e.Kind == dbmodel.KindRefused:
		return "It came through Redis and was refused, so that it was never evaluated."
	case e.ProcessesLost >= dbmodel.SetAsideAfter:
		return fmt.Sprintf("%d processes ended while they evaluated it.", e.ProcessesLost)
	case e.Failures > 0:
		return "Its evaluation failed " + plural(e.Failures, "time", "times") + "."
	}
	return "It cannot be evaluated."
}

// showFailedEvent shows what an event names, never what it says: that may be anything.
func showFailedEvent(e *dbmodel.FailedEvent) failedEventAnswer {
	out := failedEventAnswer{
		ID: e.ID, Kind: eventKind(e.Kind), Why: whySetAside(e), Reason: e.Reason, Attempts: e.Attempts,
		CreatedAt:      e.CreatedAt.UTC(),
		FailedAt:       e.FailedAt.UTC(),
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
