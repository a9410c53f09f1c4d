package dbmodel

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// PeriodicSecObserve is the name of the task that reads SecObserve; it is also the name of its row in ticks.
const PeriodicSecObserve = "secobserve:sync"

// SecObserveState says how far the connector to SecObserve has come.
type SecObserveState struct {
	Loaded    bool
	ReadTo    *int64     // by a reading of all observations that is under way
	ReadBegan *time.Time // the last one that began
	TodayRead *time.Time
	Approvals *time.Time
	Gap       int64
	Frontend  string // where the links of the settings lead
	Settings  string // a hash of those that were stored
	Problems  string // that were reported and last, with commas between them
	Failures  int    // passes in a row that failed
}

// LoadSecObserve returns how far the connector has come.
func LoadSecObserve(ctx context.Context, db bun.IDB) (*SecObserveState, error) {
	var s SecObserveState
	var began, today, approvals instant
	err := raw(db).QueryRowContext(ctx, `SELECT loaded, read_to, read_began, today_read, approvals, gap, frontend, settings, problems, failures
		FROM secobserve WHERE id = 1`).
		Scan(&s.Loaded, &s.ReadTo, &began, &today, &approvals, &s.Gap, &s.Frontend, &s.Settings, &s.Problems, &s.Failures)
	s.ReadBegan, s.TodayRead, s.Approvals = began.pointer(), today.pointer(), approvals.pointer()
	return &s, Translate(err)
}

// SaveSecObserve stores how far the connector has come.
func SaveSecObserve(ctx context.Context, tx bun.Tx, s *SecObserveState) error {
	_, err := execCount(ctx, tx, `UPDATE secobserve SET loaded = $1, read_to = $2, read_began = $3, today_read = $4, approvals = $5, gap = $6,
		frontend = $7, settings = $8, problems = $9, failures = $10 WHERE id = 1`,
		s.Loaded, s.ReadTo, timeOrNull(tx, s.ReadBegan), timeOrNull(tx, s.TodayRead), timeOrNull(tx, s.Approvals), s.Gap,
		s.Frontend, s.Settings, s.Problems, s.Failures)
	return err
}

// timeOrNull is a time that may be missing as an argument of a statement below bun.
func timeOrNull(db bun.IDB, t *time.Time) any {
	if t == nil {
		return nil
	}
	return timeArg(db, *t)
}

// SecObserveProduct is a product that comes from SecObserve.
type SecObserveProduct struct {
	ID         int64
	Settings   string     // a hash of what was stored
	LastChange *time.Time // nil: its observations are not stored yet
	Newest     *time.Time // the newest stamp that was read of its observations
	Gate       *bool
}

// SecObserveProducts returns the products that come from SecObserve, by id.
func SecObserveProducts(ctx context.Context, db bun.IDB) (map[int64]*SecObserveProduct, error) {
	list, err := collect(ctx, db, func(rows *sql.Rows) (*SecObserveProduct, error) {
		var p SecObserveProduct
		var change, newest instant
		err := rows.Scan(&p.ID, &p.Settings, &change, &newest, &p.Gate)
		p.LastChange, p.Newest = change.pointer(), newest.pointer()
		return &p, err
	}, `SELECT s.product_id, s.settings, s.last_change, s.newest, p.security_gate_passed FROM secobserve_products s
		JOIN products p ON p.id = s.product_id`)
	if err != nil {
		return nil, err
	}
	out := make(map[int64]*SecObserveProduct, len(list))
	for _, p := range list {
		out[p.ID] = p
	}
	return out, nil
}

// SaveSecObserveProduct stores that a product comes from SecObserve, and how far its observations are stored.
func SaveSecObserveProduct(ctx context.Context, tx bun.Tx, p *SecObserveProduct) error {
	_, err := execCount(ctx, tx, `INSERT INTO secobserve_products (product_id, settings, last_change, newest) VALUES ($1, $2, $3, $4)
		ON CONFLICT (product_id) DO UPDATE SET settings = EXCLUDED.settings, last_change = EXCLUDED.last_change, newest = EXCLUDED.newest`,
		p.ID, p.Settings, timeOrNull(tx, p.LastChange), timeOrNull(tx, p.Newest))
	return err
}

// SecObserveGroups returns the product groups that come from SecObserve by id, each with a hash of what was stored.
func SecObserveGroups(ctx context.Context, db bun.IDB) (map[int64]string, error) {
	type group struct {
		id       int64
		settings string
	}
	list, err := collect(ctx, db, func(rows *sql.Rows) (g group, err error) {
		err = rows.Scan(&g.id, &g.settings)
		return g, err
	}, "SELECT product_group_id, settings FROM secobserve_product_groups")
	out := make(map[int64]string, len(list))
	for _, g := range list {
		out[g.id] = g.settings
	}
	return out, err
}

// SaveSecObserveGroup stores that a product group comes from SecObserve, and the hash of what was stored.
func SaveSecObserveGroup(ctx context.Context, tx bun.Tx, id int64, settings string) error {
	_, err := execCount(ctx, tx, `INSERT INTO secobserve_product_groups (product_group_id, settings) VALUES ($1, $2)
		ON CONFLICT (product_group_id) DO UPDATE SET settings = EXCLUDED.settings`, id, settings)
	return err
}

// SecObserveUser is a user that comes from SecObserve.
type SecObserveUser struct {
	UserID     int64 // here
	ID         int64 // there
	Active     bool
	LocalAdmin *bool // whether the user was an administrator here before; nil: there was no such user
	Username   string
	FullName   string
	Email      string
	IsAdmin    bool
}

// SecObserveUsers returns the users that come from SecObserve, by their ids there.
func SecObserveUsers(ctx context.Context, db bun.IDB) (map[int64]*SecObserveUser, error) {
	list, err := collect(ctx, db, func(rows *sql.Rows) (*SecObserveUser, error) {
		var u SecObserveUser
		return &u, rows.Scan(&u.UserID, &u.ID, &u.Active, &u.LocalAdmin, &u.Username, &u.FullName, &u.Email, &u.IsAdmin)
	}, `SELECT s.user_id, s.id, s.active, s.local_admin, u.username, u.full_name, u.email, u.is_admin FROM secobserve_users s
		JOIN users u ON u.id = s.user_id`)
	out := make(map[int64]*SecObserveUser, len(list))
	for _, u := range list {
		out[u.ID] = u
	}
	return out, err
}

// SaveSecObserveUser stores that a user comes from SecObserve.
func SaveSecObserveUser(ctx context.Context, tx bun.Tx, u *SecObserveUser) error {
	_, err := execCount(ctx, tx, `INSERT INTO secobserve_users (user_id, id, active, local_admin) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id) DO UPDATE SET id = EXCLUDED.id, active = EXCLUDED.active`, u.UserID, u.ID, u.Active, u.LocalAdmin)
	return err
}

// ForgetSecObserveUser stores that a user does not come from SecObserve any more.
func ForgetSecObserveUser(ctx context.Context, tx bun.Tx, userID int64) error {
	_, err := execCount(ctx, tx, "DELETE FROM secobserve_users WHERE user_id = $1", userID)
	return err
}

// RenameUser gives a user another name. It returns ErrConflict where another user has it.
func RenameUser(ctx context.Context, tx bun.Tx, userID int64, name string) error {
	_, err := execCount(ctx, tx, "UPDATE users SET username = $1 WHERE id = $2", name, userID)
	return err
}

// EndAccess ends the sessions of a user and revokes the tokens.
func EndAccess(ctx context.Context, tx bun.Tx, userID int64) error {
	for _, table := range []string{"sessions", "tokens"} {
		if _, err := execCount(ctx, tx, "DELETE FROM "+table+" WHERE user_id = $1", userID); err != nil {
			return err
		}
	}
	return nil
}

// SecObserveMember names a membership in a product or a product group that comes from SecObserve; the ids are Tocsin's.
type SecObserveMember struct {
	Holder rule.Holder
	UserID int64
}

// In is where the user is a member.
func (m SecObserveMember) In() Membership {
	if m.Holder.Kind == rule.HolderGroup {
		return InProductGroup(m.Holder.ID)
	}
	return InProduct(m.Holder.ID)
}

// SecObserveMembers returns the roles of all members of what comes from SecObserve.
func SecObserveMembers(ctx context.Context, db bun.IDB) (map[SecObserveMember]rule.Role, error) {
	type member struct {
		SecObserveMember
		role rule.Role
	}
	list, err := collect(ctx, db, func(rows *sql.Rows) (m member, err error) {
		err = rows.Scan(&m.Holder.Kind, &m.Holder.ID, &m.UserID, &m.role)
		return m, err
	}, `SELECT 'product', m.product_id, m.user_id, m.role FROM product_members m JOIN secobserve_products s ON s.product_id = m.product_id
		UNION ALL SELECT 'product_group', m.product_group_id, m.user_id, m.role FROM product_group_members m
		JOIN secobserve_product_groups s ON s.product_group_id = m.product_group_id`)
	out := make(map[SecObserveMember]rule.Role, len(list))
	for _, m := range list {
		out[m.SecObserveMember] = m.role
	}
	return out, err
}

// SecObserveRefusal is something that SecObserve has and Tocsin refuses.
type SecObserveRefusal struct {
	Kind   string
	ID     int64
	Name   string
	Reason string
}

// SecObserveRefusals lists what is refused, by kind and id.
func SecObserveRefusals(ctx context.Context, db bun.IDB) ([]SecObserveRefusal, error) {
	return collect(ctx, db, func(rows *sql.Rows) (r SecObserveRefusal, err error) {
		err = rows.Scan(&r.Kind, &r.ID, &r.Name, &r.Reason)
		return r, err
	}, "SELECT kind, id, name, reason FROM secobserve_refusals ORDER BY kind, id")
}

// Refuse stores that something is refused.
func Refuse(ctx context.Context, tx bun.Tx, r SecObserveRefusal) error {
	_, err := execCount(ctx, tx, `INSERT INTO secobserve_refusals (kind, id, name, reason) VALUES ($1, $2, $3, $4)
		ON CONFLICT (kind, id) DO UPDATE SET name = EXCLUDED.name, reason = EXCLUDED.reason`,
		r.Kind, r.ID, Clean(r.Name, maxReason), Clean(r.Reason, maxReason))
	return err
}

// Unrefuse removes a refusal.
func Unrefuse(ctx context.Context, tx bun.Tx, kind string, id int64) error {
	_, err := execCount(ctx, tx, "DELETE FROM secobserve_refusals WHERE kind = $1 AND id = $2", kind, id)
	return err
}

// SecObserveObservations lists the ids of the observations of a product, or of all products that come from SecObserve where
// product is 0, by id.
func SecObserveObservations(ctx context.Context, db bun.IDB, product int64) ([]int64, error) {
	return collect(ctx, db, scanID, "SELECT id FROM observations WHERE "+ofSecObserve(product)+" ORDER BY id", product)
}

// CountSecObserveObservations counts the observations of all products that come from SecObserve.
func CountSecObserveObservations(ctx context.Context, db bun.IDB) (n int64, err error) {
	err = raw(db).QueryRowContext(ctx, "SELECT count(*) FROM observations WHERE "+ofSecObserve(0), 0).Scan(&n)
	return n, Translate(err)
}

func ofSecObserve(product int64) string {
	if product != 0 {
		return "product_id = $1"
	}
	return "product_id IN (SELECT product_id FROM secobserve_products WHERE product_id > $1)"
}

// FromSecObserve reports whether a product or a product group comes from SecObserve.
func FromSecObserve(ctx context.Context, db bun.IDB, holder rule.Holder) (there bool, err error) {
	query := "SELECT EXISTS (SELECT 1 FROM secobserve_products WHERE product_id = $1)"
	if holder.Kind == rule.HolderGroup {
		query = "SELECT EXISTS (SELECT 1 FROM secobserve_product_groups WHERE product_group_id = $1)"
	}
	err = raw(db).QueryRowContext(ctx, query, holder.ID).Scan(&there)
	return there, Translate(err)
}

// UserFromSecObserve reports whether a user comes from SecObserve.
func UserFromSecObserve(ctx context.Context, db bun.IDB, userID int64) (there bool, err error) {
	err = raw(db).QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM secobserve_users WHERE user_id = $1)", userID).Scan(&there)
	return there, Translate(err)
}

// AnyFromSecObserve reports whether one of the products with the given ids comes from SecObserve.
func AnyFromSecObserve(ctx context.Context, db bun.IDB, products []int64) (there bool, err error) {
	in, arg := anyOf(db, "product_id", 1, products)
	err = raw(db).QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM secobserve_products WHERE "+in+")", arg).Scan(&there)
	return there, Translate(err)
}

// SettingsKey is a hash of settings, which may hold secrets, under which they are known again.
func (v *Vault) SettingsKey(settings string) string {
	h := hmac.New(sha256.New, v.hashKey)
	fmt.Fprintf(h, "settings\x00%s", settings)
	return hex.EncodeToString(h.Sum(nil))
}
