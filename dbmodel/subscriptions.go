package dbmodel

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Subscription adds recipients to the notifications of a product, of a product group or of everything that pass its
// filter. Its contacts are rows of their own.
type Subscription struct {
	bun.BaseModel `bun:"table:subscriptions,alias:subscriptions"`

	ID             int64 `bun:",pk,autoincrement"`
	Name           string
	UserID         *int64 // nil: it is a team's
	ProductID      *int64 // at most one of these two is set; neither: everything
	ProductGroupID *int64

	Types          []rule.Type       `bun:",type:jsonb"`
	Events         []rule.Event      `bun:",type:jsonb"`
	ParserTypes    []rule.ParserType `bun:",type:jsonb"`
	MinSeverity    rule.Severity
	Statuses       []rule.Status `bun:",type:jsonb"`
	MinPriority    *int
	KnownExploited bool

	Schedule             string // cron line; empty: at once
	Timezone             string
	ImmediateMinSeverity rule.Severity // of a schedule: notifications at least this severe go at once

	Enabled    bool
	EnabledAt  time.Time  `bun:",nullzero"` // since when it is enabled
	LastSlotAt *time.Time // the newest slot that is done; nil: none is
	NextSlotAt *time.Time // nil: there is no schedule, or the subscription is disabled; where s Ends: its last slot
	Reported   int64      // the number up to which slots have reported notifications; only read: see EndSlot
	// ImmediateChangedAt is when the choice of what goes at once was last changed; nil: never.
	ImmediateChangedAt *time.Time
	CreatedAt          time.Time `bun:",nullzero"`

	Username         string `bun:",scanonly"` // empty: it is a team's
	ProductName      string `bun:",scanonly"` // these two are empty where the viewer does not see the product or group
	ProductGroupName string `bun:",scanonly"`
}

// Filter is the filter as rule must know it.
func (s *Subscription) Filter() rule.Filter {
	return rule.Filter{
		Types: s.Types, Events: s.Events, ParserTypes: s.ParserTypes,
		MinSeverity: s.MinSeverity, Statuses: s.Statuses, MinPriority: s.MinPriority, KnownExploited: s.KnownExploited,
	}
}

// Holder is the holder of the subscription's contacts.
func (s *Subscription) Holder() rule.Holder {
	return rule.Holder{Kind: rule.HolderSubscription, ID: s.ID}
}

// SubscriptionFilter says which subscriptions are wanted; the zero value wants all.
type SubscriptionFilter struct {
	ProductID      int64
	ProductGroupID int64
	UserID         int64
	Everywhere     bool  // those of teams to everything
	After          int64 // only ids above; 0: all
}

// subscriptions is the condition that v sees a subscription, whose table is alias in the statement: a member sees
// those of teams to the product or group, a user their own, and an administrator all.
func (v Viewer) subscriptions(alias string) string {
	switch {
	case v.Admin:
		return "NOT " + alias + ".deleted"
	case v.Ingest || v.UserID == 0:
		return "FALSE"
	}
	return fmt.Sprintf(`NOT %[3]s.deleted AND (%[3]s.user_id = %[1]d
		OR %[3]s.user_id IS NULL AND (%[3]s.product_id IN (%[2]s)
		OR %[3]s.product_group_id IN (SELECT product_group_id FROM product_group_members WHERE user_id = %[1]d)))`,
		v.UserID, v.productIDs(rule.Reader), alias)
}

// selectSubscriptions restricts a query to the subscriptions that v sees, and reads the names of users, products and
// groups with them.
func (v Viewer) selectSubscriptions(q *bun.SelectQuery) *bun.SelectQuery {
	return q.ColumnExpr("?TableColumns").
		ColumnExpr("coalesce((SELECT u.username FROM users u WHERE u.id = subscriptions.user_id), '') AS username").
		ColumnExpr("coalesce((SELECT p.name FROM products p WHERE p.id = subscriptions.product_id AND " +
			VisibleProducts(v, "p.id") + "), '') AS product_name").
		ColumnExpr("coalesce((SELECT g.name FROM product_groups g WHERE g.id = subscriptions.product_group_id AND " +
			v.groups("g.id") + "), '') AS product_group_name").
		Where(v.subscriptions("subscriptions"))
}

// VisibleSubscriptionByID returns a subscription, ErrNotFound where there is none with this id that v sees.
func VisibleSubscriptionByID(ctx context.Context, db bun.IDB, v Viewer, id int64) (*Subscription, error) {
	s := new(Subscription)
	return s, Translate(db.NewSelect().Model(s).Apply(v.selectSubscriptions).Where("subscriptions.id = ?", id).Scan(ctx))
}

// VisibleSubscriptionForUpdate is VisibleSubscriptionByID that keeps others from changing the subscription until the
// transaction ends.
func VisibleSubscriptionForUpdate(ctx context.Context, tx bun.Tx, v Viewer, id int64) (*Subscription, error) {
	s := new(Subscription)
	q := tx.NewSelect().Model(s).Apply(v.selectSubscriptions).Where("subscriptions.id = ?", id)
	return s, Translate(locked(q).Scan(ctx))
}

// Subscriptions lists up to limit subscriptions that v sees, by id.
func Subscriptions(ctx context.Context, db bun.IDB, v Viewer, f SubscriptionFilter, limit int) ([]Subscription, error) {
	var list []Subscription
	q := db.NewSelect().Model(&list).Apply(v.selectSubscriptions).Where("subscriptions.id > ?", f.After)
	if f.ProductID != 0 {
		q = q.Where("subscriptions.product_id = ?", f.ProductID)
	}
	if f.ProductGroupID != 0 {
		q = q.Where("subscriptions.product_group_id = ?", f.ProductGroupID)
	}
	if f.UserID != 0 {
		q = q.Where("subscriptions.user_id = ?", f.UserID)
	}
	if f.Everywhere {
		q = q.Where(`subscriptions.user_id IS NULL
			AND subscriptions.product_id IS NULL AND subscriptions.product_group_id IS NULL`)
	}
	return list, Translate(q.Order("subscriptions.id").Limit(int64(limit)).Scan(ctx))
}

const subscriptionsBeside = `
	SELECT count(*) FROM (SELECT 1 FROM subscriptions WHERE id <> @id AND NOT deleted AND (user_id = @user
		OR user_id IS NULL AND (product_id = @product OR product_group_id = @group)) LIMIT @limit) AS found`

// HasOtherSubscriptions reports whether there are at least n other subscriptions of the user of s or, where s is a
// team's, of its product or group. Those of teams to everything are not counted.
func HasOtherSubscriptions(ctx context.Context, db bun.IDB, s *Subscription, n int) (bool, error) {
	of := args{"id": s.ID, "user": s.UserID, "product": s.ProductID, "group": s.ProductGroupID, "limit": n}
	if s.UserID != nil {
		of["product"], of["group"] = (*int64)(nil), (*int64)(nil)
	}
	found, err := queryOne[int](ctx, db, subscriptionsBeside, of)
	return found >= n, err
}

// AddSubscription stores a new subscription and gives it its id. It returns ErrConflict where its user, product or
// group is gone by now.
func AddSubscription(ctx context.Context, tx bun.Tx, s *Subscription) error {
	s.noNulls()
	if err := s.setNextSlot(ctx, tx); err != nil {
		return err
	}
	_, err := tx.NewInsert().Model(s).ExcludeColumn("id", "enabled_at", "created_at").Value("reported", lastNumber(tx)).
		Returning("id, enabled_at, created_at, reported").Exec(ctx)
	return Translate(err)
}

// SaveSubscription stores all of a subscription but its user. One that becomes enabled is enabled since now. A
// schedule that is new counts from now on, one that is changed from its last slot; the next slot is the first after
// now. Where the schedule is removed, or the subscription disabled, there is a last slot for the notifications that
// waited: it comes once all is stored that was decided under the schedule.
func SaveSubscription(ctx context.Context, tx bun.Tx, s *Subscription) error {
	s.noNulls()
	if err := s.setNextSlot(ctx, tx); err != nil {
		return err
	}
	last, clock := bun.Safe(lastNumber(tx)), bun.Safe(now(tx))
	_, err := tx.NewUpdate().Model(s).WherePK().
		Column("name", "product_id", "product_group_id", "types", "events", "parser_types", "min_severity", "statuses",
			"min_priority", "known_exploited", "schedule", "timezone", "immediate_min_severity", "enabled").
		Set("enabled_at = CASE WHEN ? AND NOT enabled THEN ? ELSE enabled_at END", s.Enabled, clock).
		Set("reported = CASE WHEN next_slot_at IS NULL AND ? AND ? <> '' THEN ? ELSE reported END",
			s.Enabled, s.Schedule, last).
		Set("immediate_changed_at = CASE WHEN enabled <> ? OR (schedule = '') <> (? = '') OR immediate_min_severity <> ? "+
			"THEN ? ELSE immediate_changed_at END", s.Enabled, s.Schedule, s.ImmediateMinSeverity, clock).
		Set("next_slot_at = CASE WHEN enabled = ? AND schedule = ? AND timezone = ? THEN next_slot_at "+
			"WHEN (? = '' OR NOT ?) AND next_slot_at IS NOT NULL THEN "+endOfSchedule(tx)+" ELSE ? END",
			s.Enabled, s.Schedule, s.Timezone, s.Schedule, s.Enabled, s.NextSlotAt).
		Exec(ctx)
	return Translate(err)
}

const (
	disableSubscription = `
		UPDATE subscriptions SET enabled = false,
			next_slot_at = CASE WHEN enabled AND next_slot_at IS NOT NULL THEN @last ELSE next_slot_at END
		WHERE id = @id AND user_id IS NOT NULL AND NOT deleted`

	hideSubscription = `
		UPDATE subscriptions SET enabled = false, deleted = true, next_slot_at = @last
		WHERE id = @id AND next_slot_at IS NOT NULL AND NOT deleted`

	deleteSubscription = `DELETE FROM subscriptions WHERE id = @id AND NOT deleted`

	deleteEnded = `DELETE FROM subscriptions WHERE id = ANY (@ids) AND deleted`
)

// DisableSubscription disables a personal subscription and reports whether there is one, which may be disabled
// already.
func DisableSubscription(ctx context.Context, db bun.IDB, id int64) (bool, error) {
	n, err := exec(ctx, db, disableSubscription, args{"id": id, "last": bun.Safe(endOfSchedule(db))})
	return n > 0, err
}

// DeleteSubscription removes a subscription with its contacts; one with a schedule once its last slot is done, and
// until then nobody sees it. Deliveries that wait for its contacts fail, see AskAgain. It returns ErrNotFound where
// there is none.
func DeleteSubscription(ctx context.Context, db bun.IDB, id int64) error {
	n, err := exec(ctx, db, hideSubscription, args{"id": id, "last": bun.Safe(endOfSchedule(db))})
	if err != nil || n > 0 {
		return err
	}
	return execOne(ctx, db, deleteSubscription, args{"id": id})
}

// noNulls makes nil lists empty, as they are stored.
func (s *Subscription) noNulls() {
	s.Types, s.Events = append([]rule.Type{}, s.Types...), append([]rule.Event{}, s.Events...)
	s.ParserTypes = append([]rule.ParserType{}, s.ParserTypes...)
	s.Statuses = append([]rule.Status{}, s.Statuses...)
}
