package dbmodel_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestUnreportedIsNotDeleted: what begins to wait after the clean-up has found it stays, too.
func TestUnreportedIsNotDeleted(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		s := newSubscribers(t, db)
		yearly := s.add(&dbmodel.Subscription{
			Name: "yearly", ProductID: new(int64(1)), Schedule: "0 8 1 1 *", Timezone: "UTC", Enabled: true,
		})
		s.tx(func(ctx context.Context, tx bun.Tx) error {
			list := make([]dbmodel.NewNotification, 3)
			for i, product := range []int64{1, 2, 2} {
				list[i].Notification = dbmodel.Notification{Type: rule.TypeSecurityGate, Name: "P", ProductID: &product}
			}
			if err := dbmodel.InsertNotifications(ctx, tx, list); err != nil {
				return err
			}
			_, err := tx.NewRaw("UPDATE notifications SET held_back = true WHERE id = 2").Exec(ctx)
			return err
		})
		old := func() (ids []int64) {
			s.tx(func(ctx context.Context, tx bun.Tx) (err error) {
				ids, _, err = dbmodel.OldNotifications(ctx, tx, time.Now().Add(time.Hour), nil, 10)
				return err
			})
			return ids
		}
		if got := old(); !slices.Equal(got, []int64{3}) {
			t.Errorf("the clean-up finds %v, want 3 alone", got)
		}
		s.tx(func(ctx context.Context, tx bun.Tx) error {
			deleted, err := dbmodel.DeleteQuietNotifications(ctx, tx, []int64{1, 2, 3})
			if deleted != 1 {
				t.Errorf("%d notifications are deleted, want 1", deleted)
			}
			return err
		})
		var left []int64
		s.ok(db.NewRaw("SELECT id FROM notifications ORDER BY id").Scan(t.Context(), &left))
		if want := []int64{1, 2}; !slices.Equal(left, want) {
			t.Errorf("the notifications %v are left, want %v", left, want)
		}
		s.tx(func(ctx context.Context, tx bun.Tx) error {
			slot := dbmodel.Slot{Due: *yearly.NextSlotAt, At: *yearly.NextSlotAt, Next: yearly.NextSlotAt, Through: 3}
			ended, err := dbmodel.EndSlot(ctx, tx, []int64{yearly.ID}, slot)
			if len(ended) != 1 {
				t.Errorf("%d slots ended, want 1", len(ended))
			}
			return err
		})
		if got := old(); !slices.Equal(got, []int64{1}) {
			t.Errorf("the clean-up finds %v after the slot, want 1 alone", got)
		}
	})
}

// TestMendSlots: after the clock was far ahead the next slot is the first after now; one that the clock repeats
// stays done.
func TestMendSlots(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, s := t.Context(), newSubscribers(t, db)
		slots, _ := rule.Schedule{Line: "0 8 * * *", Timezone: "Europe/Berlin"}.Slots()
		first := slots.Next(time.Now()).UTC()
		second := slots.Next(first).UTC()
		for name, c := range map[string]struct{ due, want time.Time }{
			"planned now":        {first, first},
			"done a moment ago":  {second, second},
			"planned far ahead":  {first.AddDate(1, 0, 0), first},
			"planned days ahead": {slots.Next(second).UTC(), first},
		} {
			sub := s.add(&dbmodel.Subscription{Name: name, Schedule: "0 8 * * *", Timezone: "Europe/Berlin", Enabled: true})
			sub.NextSlotAt = &c.due
			_, err := db.NewUpdate().Model(sub).Column("next_slot_at").WherePK().Exec(ctx)
			s.ok(err)
			s.ok(mendDueTimes(ctx, db, time.Hour))
			got, err := dbmodel.VisibleSubscriptionByID(ctx, db, everything, sub.ID)
			s.ok(err)
			if !got.NextSlotAt.Equal(c.want) {
				t.Errorf("%s: the next slot is %s, want %s", name, got.NextSlotAt, c.want)
			}
		}
	})
}

// TestMendLastSlots: the last slot of a schedule that ended a moment ago stays, for what was decided before has yet to be stored;
// one that lies further ahead comes as late as that of a schedule that ends now.
func TestMendLastSlots(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, s := t.Context(), newSubscribers(t, db)
		alice := s.user("alice", "")
		sub := s.add(&dbmodel.Subscription{Name: "S", UserID: &alice.UserID, Schedule: "0 8 * * *", Timezone: "UTC", Enabled: true})
		_, err := dbmodel.DisableSubscription(ctx, db, sub.ID)
		s.ok(err)
		slot := func() time.Time {
			t.Helper()
			got, err := dbmodel.VisibleSubscriptionByID(ctx, db, everything, sub.ID)
			s.ok(err)
			return *got.NextSlotAt
		}
		last := slot()
		s.ok(mendDueTimes(ctx, db, time.Hour))
		if got := slot(); !got.Equal(last) {
			t.Errorf("the last slot is %s, want %s", got, last)
		}
		ahead := last.Add(time.Hour)
		sub.NextSlotAt = &ahead
		_, err = db.NewUpdate().Model(sub).Column("next_slot_at").WherePK().Exec(ctx)
		s.ok(err)
		s.ok(mendDueTimes(ctx, db, time.Hour))
		if got := slot(); got.Before(last) || !got.Before(ahead) {
			t.Errorf("the last slot, an hour ahead, is %s, want it from %s on", got, last)
		}
	})
}
