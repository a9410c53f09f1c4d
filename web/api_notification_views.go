package web

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

type viewedFields struct {
	IDs   input.Field[[]int64]   `json:"ids" doc:"Or until"`
	Until input.Field[time.Time] `json:"until" doc:"All that was created before it, but nothing that is still to come"`
}

type idsFields struct {
	IDs input.Must[[]int64] `json:"ids"`
}

type countAnswer struct {
	Count int `json:"count"`
}

type countOutput struct{ Body countAnswer }

func (s *server) apiViewNotification(ctx context.Context, in *notificationIDParam) (*struct{}, error) {
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
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error { return dbmodel.MarkViewed(ctx, tx, viewerOf(ctx), ids) })
	if err != nil {
		return fmt.Errorf("mark notifications as viewed: %w", err)
	}
	s.unread.look()
	return nil
}

func (s *server) apiDeleteNotification(ctx context.Context, in *notificationIDParam) (*struct{}, error) {
	n, err := s.deleteNotifications(ctx, []int64{in.ID})
	if err == nil && n == 0 {
		err = notFound("notification")
	}
	return nil, err
}

func (s *server) apiDeleteNotifications(ctx context.Context, _ *struct{}) (*struct{}, error) {
	var sent idsFields
	if err := readJSON(ctx, &sent); err != nil {
		return nil, err
	}
	_, err := s.deleteNotifications(ctx, sent.IDs.Value)
	return nil, err
}

var errDeleteRight = forbidden("Notifications are deleted by owners of their product and by administrators.")

// deleteNotifications deletes what the caller sees of the given notifications: everything or, where the right is missing for
// one, nothing. It returns how many these are.
func (s *server) deleteNotifications(ctx context.Context, ids []int64) (n int, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		may, mayNot, err := dbmodel.NotificationRights(ctx, tx, viewerOf(ctx), ids, rule.Owner)
		if err != nil {
			return fmt.Errorf("ask for the rights on notifications: %w", err)
		}
		n = len(may)
		if len(mayNot) > 0 {
			return errDeleteRight
		}
		if err := dbmodel.DeleteNotifications(ctx, tx, may); err != nil {
			return fmt.Errorf("delete notifications: %w", err)
		}
		return nil
	})
	if err == nil {
		s.unread.look()
	}
	return n, err
}

func (s *server) apiCountUnread(ctx context.Context, _ *struct{}) (*countOutput, error) {
	n, err := dbmodel.UnreadCount(ctx, s.db.Reader, viewerOf(ctx), 0)
	if err != nil {
		return nil, fmt.Errorf("count what is not viewed: %w", err)
	}
	return &countOutput{countAnswer{n}}, nil
}
