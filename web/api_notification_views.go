package web

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/input"
)

type viewedFields struct {
	IDs   input.Field[[]int64]   `json:"ids" doc:"Or until"`
	Until input.Field[time.Time] `json:"until" doc:"All that was created before it, but nothing that is still to come"`
}

type countAnswer struct {
	Count int `json:"count"`
}

type countOutput struct{ Body countAnswer }

func (s *server) apiViewNotification(ctx context.Context, in *IDParam) (*struct{}, error) {
	if _, err := dbmodel.VisibleNotificationByID(ctx, s.db.Reader, viewerOf(ctx), in.ID); err != nil {
		return nil, missing(err, "notification", in.ID)
	}
	return nil, s.markViewed(ctx, []int64{in.ID})
}

func (s *server) apiViewNotifications(ctx context.Context, _ *struct{}) (*struct{}, error) {
	var sent viewedFields
	if err := readJSON(ctx, &sent); err != nil {
		return nil, err
	}
	byID, byTime := sent.IDs.Set && !sent.IDs.Null, sent.Until.Set && !sent.Until.Empty
	switch {
	case byID == byTime:
		return nil, invalid(input.Fault{Location: "ids", Message: "either ids or until must be given"})
	case byID:
		return nil, s.markViewed(ctx, sent.IDs.Value)
	}
	return nil, s.markViewedUntil(ctx, sent.Until.Value)
}

func (s *server) markViewedUntil(ctx context.Context, until time.Time) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return dbmodel.MarkViewedUntil(ctx, tx, viewerOf(ctx), until)
	})
	if err != nil {
		return fmt.Errorf("mark notifications as viewed: %w", err)
	}
	s.unread.look()
	return nil
}

func (s *server) markViewed(ctx context.Context, ids []int64) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return dbmodel.MarkViewed(ctx, tx, viewerOf(ctx), ids)
	})
	if err != nil {
		return fmt.Errorf("mark notifications as viewed: %w", err)
	}
	s.unread.look()
	return nil
}

func (s *server) apiCountUnread(ctx context.Context, _ *struct{}) (*countOutput, error) {
	n, err := dbmodel.UnreadCount(ctx, s.db.Reader, viewerOf(ctx), 0)
	if err != nil {
		return nil, fmt.Errorf("count what is not viewed: %w", err)
	}
	return &countOutput{countAnswer{n}}, nil
}
