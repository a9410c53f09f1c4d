package dbmodel

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// decisionTime is longer than an evaluation takes from deciding what goes at once until its commit.
const decisionTime = 30 * time.Second

// endOfSchedule is an expression of the time of the last slot of a schedule that ends now.
func endOfSchedule(db bun.IDB) string {
	if isSQLite(db) {
		return fmt.Sprintf("%s + %d", now(db), decisionTime.Microseconds())
	}
	return fmt.Sprintf("%s + interval '%d seconds'", now(db), int(decisionTime.Seconds()))
}

// Ends reports whether the schedule of s was removed, or s disabled or deleted, and its last slot has yet to be made.
func (s *Subscription) Ends() bool { return (s.Schedule == "" || !s.Enabled) && s.NextSlotAt != nil }

// IsUnsettled reports whether the setting of what goes at once was changed so late that notifications which no slot
// has reported yet may have been evaluated under either value.
func (s *Subscription) IsUnsettled() bool {
	return s.Ends() || s.ImmediateChangedAt != nil &&
		(s.LastSlotAt == nil || !s.ImmediateChangedAt.Add(decisionTime).Before(*s.LastSlotAt))
}

// setNextSlot sets NextSlotAt to the first slot after now, by the database's clock; nil where s has no schedule or is
// disabled.
func (s *Subscription) setNextSlot(ctx context.Context, db bun.IDB) error {
	s.NextSlotAt = nil
	if s.Schedule == "" || !s.Enabled {
		return nil
	}
	slots, refused := rule.Schedule{Line: s.Schedule, Timezone: s.Timezone}.Slots()
	if len(refused) > 0 {
		return fmt.Errorf("schedule of a subscription: %s", refused[0].Reason)
	}
	now, err := DatabaseNow(ctx, db)
	if err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	next := slots.Next(now).UTC()
	s.NextSlotAt = &next
	return nil
}

const (
	slotsAhead = `
		SELECT DISTINCT schedule, timezone, enabled, next_slot_at FROM subscriptions WHERE next_slot_at > clock_timestamp()`

	mendSlot = `
		UPDATE subscriptions SET next_slot_at = @next WHERE id IN (
			SELECT id FROM subscriptions
			WHERE schedule = @schedule AND timezone = @timezone AND enabled = @enabled AND next_slot_at = @due
			ORDER BY id FOR NO KEY UPDATE)`
)

// mendSlots corrects next slots that lie too far ahead because the database's clock was set back: each becomes the
// next slot by the time that the clock shows now.
func mendSlots(ctx context.Context, db *DB) error {
	list, err := queryAll[Subscription](ctx, db, slotsAhead, nil)
	if err != nil || len(list) == 0 {
		return err
	}
	now, err := DatabaseNow(ctx, db)
	if err != nil {
		return err
	}
	for i := range list {
		s := &list[i]
		next, tooFar := s.slotTooFarAhead(now)
		if !tooFar {
			continue
		}
		_, err := exec(ctx, db, mendSlot, args{
			"schedule": s.Schedule, "timezone": s.Timezone, "enabled": s.Enabled, "due": s.NextSlotAt, "next": next,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// slotTooFarAhead reports whether the next slot of s lies too far ahead of now, and returns the time of the one that
// would be set now. The second slot after now is not too far: the digests of the first may have been made before the
// clock was set back.
func (s *Subscription) slotTooFarAhead(now time.Time) (next time.Time, tooFar bool) {
	if s.Ends() {
		next = now.Add(decisionTime)
		return next, s.NextSlotAt.After(next)
	}
	slots, refused := rule.Schedule{Line: s.Schedule, Timezone: s.Timezone}.Slots()
	if len(refused) > 0 { // the run that makes its digest reports that
		return time.Time{}, false
	}
	next = slots.Next(now).UTC()
	return next, s.NextSlotAt.After(slots.Next(next))
}

const hasDueSlots = `SELECT EXISTS (SELECT 1 FROM subscriptions WHERE next_slot_at <= clock_timestamp())`

// HasDueDigests reports whether the slot of a subscription has come, or a pause is over.
func HasDueDigests(ctx context.Context, db bun.IDB) (bool, error) {
	due, err := queryOne[bool](ctx, db, hasDueSlots, nil)
	if err != nil || due {
		return due, err
	}
	p, err := unfinishedPause(ctx, db)
	if err != nil || p != nil {
		return p != nil, err
	}
	products, err := releasableProducts(ctx, db)
	return len(products) > 0, err
}

// DueSubscriptions lists the first limit subscriptions with an id above after whose slot has come by now, by id.
func DueSubscriptions(
	ctx context.Context, db bun.IDB, now time.Time, after int64, limit int,
) ([]Subscription, error) {
	var list []Subscription
	err := db.NewSelect().Model(&list).ColumnExpr("?TableColumns").Where("id > ?", after).
		Where("next_slot_at <= ?", now).Order("id").Limit(int64(limit)).Scan(ctx)
	return list, Translate(err)
}

// Subscribed returns subscriptions as rule must know them, by id; those without a contact are left out.
func Subscribed(
	ctx context.Context, db bun.IDB, ids []int64, memberTypes []rule.Type,
) (map[int64]*rule.Subscription, error) {
	return ruleSubscriptions(ctx, db, ids, memberTypes)
}

var subscribedProducts = `
	SELECT p.id FROM products p
	WHERE (@product::bigint = 0 OR p.id = @product) AND (@group::bigint = 0 OR ` + inProductGroup("p", "@group") + `)
	AND @visible ORDER BY p.id`

// ProductsOf lists the ids of the products whose notifications s takes, in their order. whole is
// rule.Subscription.Whole of s. These are all products in the scope of s or, where s is personal and whole is false,
// those of them that the user sees. Where s is a subscription to everything and whole is true, ProductsOf returns no
// ids, and all is true.
func (s *Subscription) ProductsOf(ctx context.Context, db bun.IDB, whole bool) (ids []int64, all bool, err error) {
	visible, product, group := "TRUE", int64(0), int64(0)
	if s.ProductID != nil {
		product = *s.ProductID
	}
	if s.ProductGroupID != nil {
		group = *s.ProductGroupID
	}
	if whole && product == 0 && group == 0 {
		return nil, true, nil
	}
	if s.UserID != nil && !whole {
		visible = VisibleProducts(Viewer{UserID: *s.UserID}, "p.id")
	}
	ids, err = queryAll[int64](ctx, db, subscribedProducts,
		args{"product": product, "group": group, "visible": bun.Safe(visible)})
	return ids, false, err
}

// Slot is one moment of a schedule that some subscriptions share.
type Slot struct {
	Due      time.Time  // the next slot, as it was stored
	At       time.Time  // the newest slot that has come: those in between were missed
	Next     *time.Time // nil: it was the last one
	Reported int64      // the number up to which the slot before has reported
	Through  int64      // the number up to which this one reports
}

const endSlot = `
	UPDATE subscriptions SET last_slot_at = @at, next_slot_at = @next, reported = @through
	WHERE id = ANY (@ids) AND next_slot_at = @due AND reported = @reported RETURNING id`

// EndSlot notes that a slot of subscriptions is done, and returns those for which no other process has done so. It
// removes those that were deleted.
func EndSlot(ctx context.Context, tx bun.Tx, ids []int64, s Slot) ([]int64, error) {
	ended, err := queryAll[int64](ctx, tx, endSlot, args{
		"ids": numbers(ids), "at": s.At, "next": s.Next, "due": s.Due, "reported": s.Reported, "through": s.Through,
	})
	if err == nil && s.Next == nil {
		_, err = exec(ctx, tx, deleteEnded, args{"ids": numbers(ended)})
	}
	return ended, err
}
