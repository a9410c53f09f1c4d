package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

type deleteFields struct {
	IDs    input.Field[[]int64]      `json:"ids" doc:"Or filter"`
	Filter input.Field[input.Object] `json:"filter" doc:"What GET /notifications filters by: type, event, severity, product_id, product_group_id, user, viewed, q, since, until"`
}

// filterFields are the filters of GET /notifications.
type filterFields struct {
	Type      input.Field[rule.Type]       `json:"type"`
	Event     input.Field[rule.Event]      `json:"event"`
	Severity  input.Field[[]rule.Severity] `json:"severity"`
	ProductID input.ID                     `json:"product_id"`
	GroupID   input.ID                     `json:"product_group_id"`
	User      input.Field[string]          `json:"user"`
	Viewed    input.Field[bool]            `json:"viewed"`
	Q         input.Field[string]          `json:"q"`
	Since     input.Field[time.Time]       `json:"since"`
	Until     input.Field[time.Time]       `json:"until"`
}

// deletedOutput is the answer to a filter.
type deletedOutput struct {
	Status int
	Body   deletedAnswer
}

type deletedAnswer struct {
	Deleted int `json:"deleted"`
}

func (s *server) apiDeleteNotification(ctx context.Context, in *IDParam) (*struct{}, error) {
	n, err := s.deleteNotifications(ctx, []int64{in.ID})
	if err == nil && n == 0 {
		err = notFound("notification")
	}
	return nil, err
}

// apiDeleteNotifications deletes notifications by id, which answers 204, or by filter, which answers 202.
func (s *server) apiDeleteNotifications(ctx context.Context, _ *struct{}) (*deletedOutput, error) {
	var sent deleteFields
	if err := readJSON(ctx, &sent); err != nil {
		return nil, err
	}
	byID, byFilter := sent.IDs.Set && !sent.IDs.Null, sent.Filter.Set && !sent.Filter.Empty
	switch {
	case byID == byFilter:
		return nil, invalid(input.Fault{Location: "ids", Message: "either ids or filter must be given"})
	case byID:
		_, err := s.deleteNotifications(ctx, sent.IDs.Value)
		return nil, err
	}
	filter, err := readFilter(sent.Filter.Value)
	if err != nil {
		return nil, err
	}
	n, err := s.deleteByFilter(ctx, filter)
	return &deletedOutput{http.StatusAccepted, deletedAnswer{n}}, err
}

// readFilter reads the filter in a body, whose faults are named as fields of it.
func readFilter(object input.Object) (dbmodel.NotificationFilter, error) {
	var sent filterFields
	faults, err := input.ReadJSON(bytes.NewReader(object), &sent)
	if err != nil {
		return dbmodel.NotificationFilter{}, err
	}
	for i := range faults {
		faults[i].Location = "filter." + faults[i].Location
	}
	f := dbmodel.NotificationFilter{
		Type: sent.Type.Value, Event: sent.Event.Value, Severities: sent.Severity.Value, ProductID: sent.ProductID.Value,
		GroupID: sent.GroupID.Value, User: sent.User.Value, Contains: sent.Q.Value, Since: sent.Since.Value,
		Until: sent.Until.Value,
	}
	if sent.Viewed.Set && !sent.Viewed.Null {
		f.Viewed = &sent.Viewed.Value
	}
	return f, faults.Err()
}

// deleteByFilter deletes what the caller may of the notifications that a filter wants, and returns how many these are.
// It answers 403 where the caller sees some of them and may delete none.
func (s *server) deleteByFilter(ctx context.Context, f dbmodel.NotificationFilter) (n int, err error) {
	var search string // what has many to delete takes its time, and must not end half-way for a filter by severity
	if f.Contains != "" {
		search = "q"
	}
	err = s.list(ctx, search, func(ctx context.Context) (err error) {
		n, err = dbmodel.DeleteNotificationsByFilter(ctx, s.db, viewerOf(ctx), f)
		return err
	})
	if n > 0 {
		s.unread.look()
		s.removeDeleted(ctx)
		s.audit(ctx, "notifications_deleted").Int("notifications", n).Bool("by_filter", true).
			Msg("notifications were deleted")
	}
	if err != nil {
		return n, fmt.Errorf("delete notifications by filter: %w", err)
	}
	if n == 0 {
		err = s.mayDeleteNone(ctx, f)
	}
	return n, err
}

// mayDeleteNone returns errDeleteRight where the caller sees a notification that f wants.
func (s *server) mayDeleteNone(ctx context.Context, f dbmodel.NotificationFilter) error {
	var seen []dbmodel.Notification
	err := s.list(ctx, f.Unindexed(viewerOf(ctx)), func(ctx context.Context) (err error) {
		seen, err = dbmodel.Notifications(ctx, s.db.Reader, viewerOf(ctx), f, 1)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("look for what a filter wants: %w", err)
	case len(seen) > 0 && !viewerOf(ctx).Admin:
		return errDeleteRight
	}
	return nil
}

var errDeleteRight = forbidden("Notifications are deleted by owners of their product and by administrators.")

// deleteNotifications deletes what the caller sees of the given notifications: everything or, where the right is
// missing for one, nothing. It returns how many these are.
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
	if err == nil && n > 0 {
		s.unread.look()
		s.audit(ctx, "notifications_deleted").Int("notifications", n).Bool("by_filter", false).
			Msg("notifications were deleted")
	}
	return n, err
}
