package dbmodel_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestDeleteNotificationsByFilter: what the filter wants and the caller may delete is gone at once from lists, counts and
// deliveries, and nothing else is.
func TestDeleteNotificationsByFilter(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		c := newCrowd(t, db)
		member := c.member(t, "owner", 1, 2)
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.SetMember(ctx, tx, dbmodel.InProduct(2), member.UserID, rule.Owner)
		})
		admin := c.member(t, "admin")
		admin.Admin = true
		viewed := c.notifications[100].ID
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.MarkViewed(ctx, tx, admin, []int64{viewed})
		})
		ofProduct := func(n *dbmodel.Notification, p int64) bool { return n.ProductID != nil && *n.ProductID == p }
		is := true
		for _, step := range []struct {
			name   string
			viewer dbmodel.Viewer
			filter dbmodel.NotificationFilter
			wanted func(n *dbmodel.Notification) bool
		}{
			{"nobody", dbmodel.Viewer{}, dbmodel.NotificationFilter{}, func(*dbmodel.Notification) bool { return false }},
			{"owner", member, dbmodel.NotificationFilter{}, func(n *dbmodel.Notification) bool {
				return ofProduct(n, 2) && (n.Type == rule.TypeObservation || n.Type == rule.TypeTask)
			}},
			{"event of a product", admin, dbmodel.NotificationFilter{ProductID: 3, Event: rule.EventNew}, func(n *dbmodel.Notification) bool {
				return ofProduct(n, 3) && n.Event == rule.EventNew
			}},
			{"text", admin, dbmodel.NotificationFilter{Contains: "NAME 7"}, func(n *dbmodel.Notification) bool { return n.Name == "Name 7" }},
			{"viewed", admin, dbmodel.NotificationFilter{Viewed: &is}, func(n *dbmodel.Notification) bool { return n.ID == viewed }},
			{"time", admin, dbmodel.NotificationFilter{Until: hour(20)}, func(n *dbmodel.Notification) bool { return n.CreatedAt.Before(hour(20)) }},
			{"all", admin, dbmodel.NotificationFilter{}, func(*dbmodel.Notification) bool { return true }},
		} {
			c.deleteByFilter(t, step.name, step.viewer, step.filter, step.wanted)
		}
	})
}

// deleteByFilter deletes by a filter, and compares with what must be left of the crowd.
func (c *crowd) deleteByFilter(t *testing.T, name string, v dbmodel.Viewer, f dbmodel.NotificationFilter, wanted func(*dbmodel.Notification) bool) {
	t.Helper()
	gone := map[int64]bool{}
	var left []dbmodel.Notification
	for _, n := range c.notifications {
		if wanted(&n) {
			gone[n.ID] = true
		} else {
			left = append(left, n)
		}
	}
	var deliveries []dbmodel.Delivery
	counts := dbmodel.Counts{}
	for _, d := range c.deliveries {
		if gone[d.NotificationID] {
			continue
		}
		deliveries = append(deliveries, d)
		switch d.State {
		case dbmodel.Pending:
			counts.PendingDeliveries++
		case dbmodel.Failed:
			counts.FailedDeliveries++
		case dbmodel.Sent:
		}
	}
	count, err := dbmodel.CountDeletable(t.Context(), c.db, v, f)
	if err != nil || count != len(gone) {
		t.Errorf("%s: %d to be deleted, want %d: %v", name, count, len(gone), err)
	}
	deleted, err := dbmodel.DeleteNotificationsByFilter(t.Context(), c.db, v, f)
	if err != nil || deleted != len(gone) {
		t.Errorf("%s: %d deleted, want %d: %v", name, deleted, len(gone), err)
	}
	all, err := dbmodel.Notifications(t.Context(), c.db, everything, dbmodel.NotificationFilter{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(left, all, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s: notifications:\n%s", name, diff)
	}
	shown, err := dbmodel.Deliveries(t.Context(), c.db, everything, dbmodel.DeliveryFilter{}, 1000)
	if err != nil || len(shown) != len(deliveries) {
		t.Fatalf("%s: %d deliveries, want %d: %v", name, len(shown), len(deliveries), err)
	}
	if got, err := dbmodel.Count(t.Context(), c.db); err != nil || got != counts {
		t.Fatalf("%s: counts %+v, want %+v: %v", name, got, counts, err)
	}
	c.notifications, c.deliveries = left, deliveries
}

// TestDeleteManyNotificationsByFilter: more than one transaction hides.
func TestDeleteManyNotificationsByFilter(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		list := make([]dbmodel.NewNotification, 10_001)
		for i := range list {
			list[i].Notification = dbmodel.Notification{Type: rule.TypeException, Name: "x"}
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.InsertNotifications(ctx, tx, list) })
		deleted, err := dbmodel.DeleteNotificationsByFilter(t.Context(), db, everything, dbmodel.NotificationFilter{})
		if err != nil || deleted != len(list) {
			t.Fatalf("%d deleted: %v", deleted, err)
		}
		if deleted, err = dbmodel.DeleteNotificationsByFilter(t.Context(), db, everything, dbmodel.NotificationFilter{}); err != nil || deleted != 0 {
			t.Fatalf("%d deleted again: %v", deleted, err)
		}
	})
}

// TestDeletedNotificationsLeaveNoDeliveries: also those go that are added while their notification is deleted.
func TestDeletedNotificationsLeaveNoDeliveries(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		target := slackTarget(t, db)
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			list := make([]dbmodel.NewNotification, 3)
			for i := range list {
				list[i].Notification = dbmodel.Notification{Type: rule.TypeTask, Name: "x"}
				list[i].Targets = []int64{target}
			}
			return dbmodel.InsertNotifications(ctx, tx, list)
		})
		left := func() (ids []int64) {
			if err := db.NewRaw("SELECT notification_id FROM deliveries ORDER BY id").Scan(t.Context(), &ids); err != nil {
				t.Fatal(err)
			}
			return ids
		}
		deleted := make(chan error, 1)
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			to := []rule.Recipient{{Contact: rule.Contact{Target: target}}}
			if err := dbmodel.AddDigestDeliveries(ctx, tx, []int64{1, 2}, to, 0); err != nil {
				return err
			}
			began := make(chan bool)
			go func() {
				close(began)
				deleted <- db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					return dbmodel.DeleteNotifications(ctx, tx, []int64{1, 4})
				})
			}()
			<-began
			return nil
		})
		if err := <-deleted; err != nil {
			t.Fatal(err)
		}
		if got, want := left(), []int64{2, 3, 2}; !slices.Equal(got, want) {
			t.Errorf("deliveries of the notifications %v are left, want %v", got, want)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewRaw("UPDATE deliveries SET state = 'sent' WHERE notification_id = 2").Exec(ctx); err != nil {
				return err
			}
			_, err := dbmodel.DeleteQuietNotifications(ctx, tx, []int64{2, 3})
			return err
		})
		if got, want := left(), []int64{3}; !slices.Equal(got, want) {
			t.Errorf("deliveries of the notifications %v are left after the clean-up, want %v", got, want)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			to := []rule.Recipient{{Contact: rule.Contact{Target: target}}}
			return dbmodel.AddDigestDeliveries(ctx, tx, []int64{1, 2}, to, 0)
		})
		if got, want := left(), []int64{3}; !slices.Equal(got, want) {
			t.Errorf("deliveries of the notifications %v are there, want %v: the others are deleted", got, want)
		}
	})
}
