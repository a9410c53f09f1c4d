package dbmodel

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// SecObserveState says how far the connector to SecObserve has come.
type SecObserveState struct {
	Loaded    bool       // the first load is over
	ReadTo    *int64     // the last id that a reading of all observations has stored; nil: none is under way
	ReadBegan *time.Time // when the last reading of all observations began
	TodayRead *time.Time // when the observations that changed today were last read
	Approvals *time.Time // the time of the newest approval that was read
	Gates     *time.Time // the newest change of a security gate that was read
	GatesRead *time.Time // when all security gates were last read
	Gap       int64      // how many more observations SecObserve had than the tables at the last comparison
	Frontend  string     // the address of SecObserve's pages, to which URLs in the settings lead; empty: not known
	Sender    string     // email_from as it was last taken from SecObserve; empty: it was not taken
	Settings  string     // a hash of the settings that were stored
	Problems  string     // the classes of the problems that were reported and are not over, with commas between them
	Failures  int        // passes in a row that failed
}

const secObserveState = `
	SELECT loaded, read_to, read_began, today_read, approvals, gates, gates_read, gap, frontend, sender, settings,
		problems, failures
	FROM secobserve WHERE id = 1`

// LoadSecObserve returns how far the connector has come.
func LoadSecObserve(ctx context.Context, db bun.IDB) (*SecObserveState, error) {
	s, err := queryOne[SecObserveState](ctx, db, secObserveState, nil)
	return &s, err
}

const saveSecObserve = `
	UPDATE secobserve SET loaded = @loaded, read_to = @read_to, read_began = @read_began, today_read = @today_read,
		approvals = @approvals, gates = @gates, gates_read = @gates_read, gap = @gap,
		frontend = @frontend, sender = @sender, settings = @settings, problems = @problems, failures = @failures
	WHERE id = 1`

// SaveSecObserve stores how far the connector has come.
func SaveSecObserve(ctx context.Context, tx bun.Tx, s *SecObserveState) error {
	_, err := exec(ctx, tx, saveSecObserve, args{
		"loaded": s.Loaded, "read_to": s.ReadTo, "read_began": s.ReadBegan, "today_read": s.TodayRead,
		"approvals": s.Approvals, "gates": s.Gates, "gates_read": s.GatesRead,
		"gap": s.Gap, "frontend": s.Frontend, "sender": s.Sender, "settings": s.Settings,
		"problems": s.Problems, "failures": s.Failures,
	})
	return err
}

// SecObserveProduct is a product that comes from SecObserve.
type SecObserveProduct struct {
	ID         int64
	Settings   string     // a hash of the settings that were stored
	LastChange *time.Time // the last_observation_change up to which its observations are stored; nil: they are not yet
	Newest     *time.Time // the newest time of a change that was read of its observations
	Gate       *bool
	GateChange int64 // the id in SecObserve of the last change of the gate that was reported
}

const secObserveProducts = `
	SELECT s.product_id AS id, s.settings, s.last_change, s.newest, s.gate_change, p.security_gate_passed AS gate
	FROM secobserve_products AS s JOIN products AS p ON p.id = s.product_id`

// SecObserveProducts returns the products that come from SecObserve, by id.
func SecObserveProducts(ctx context.Context, db bun.IDB) (map[int64]*SecObserveProduct, error) {
	list, err := queryAll[SecObserveProduct](ctx, db, secObserveProducts, nil)
	out := make(map[int64]*SecObserveProduct, len(list))
	for i := range list {
		out[list[i].ID] = &list[i]
	}
	return out, err
}

const saveSecObserveProduct = `
	INSERT INTO secobserve_products (product_id, settings, last_change, newest, gate_change)
	VALUES (@id, @settings, @last_change, @newest, @gate_change)
	ON CONFLICT (product_id) DO UPDATE SET settings = EXCLUDED.settings, last_change = EXCLUDED.last_change,
		newest = EXCLUDED.newest`

// SaveSecObserveProduct stores that a product comes from SecObserve, and how far its observations are stored. It
// stores GateChange only of a product that is new here; see SaveGateChange.
func SaveSecObserveProduct(ctx context.Context, tx bun.Tx, p *SecObserveProduct) error {
	_, err := exec(ctx, tx, saveSecObserveProduct, args{
		"id": p.ID, "settings": p.Settings, "last_change": p.LastChange, "newest": p.Newest,
		"gate_change": p.GateChange,
	})
	return err
}

const saveGateChange = "UPDATE secobserve_products SET gate_change = @change WHERE product_id = @product"

// SaveGateChange stores which change of the gate of a product was reported last.
func SaveGateChange(ctx context.Context, tx bun.Tx, product, change int64) error {
	_, err := exec(ctx, tx, saveGateChange, args{"product": product, "change": change})
	return err
}

// SecObserveGroups returns the product groups that come from SecObserve by id, each with a hash of the settings that
// were stored.
func SecObserveGroups(ctx context.Context, db bun.IDB) (map[int64]string, error) {
	list, err := queryAll[struct {
		ID       int64
		Settings string
	}](ctx, db, "SELECT product_group_id AS id, settings FROM secobserve_product_groups", nil)
	out := make(map[int64]string, len(list))
	for _, g := range list {
		out[g.ID] = g.Settings
	}
	return out, err
}

const saveSecObserveGroup = `
	INSERT INTO secobserve_product_groups (product_group_id, settings) VALUES (@id, @settings)
	ON CONFLICT (product_group_id) DO UPDATE SET settings = EXCLUDED.settings`

// SaveSecObserveGroup stores that a product group comes from SecObserve, and the hash of the settings that were
// stored.
func SaveSecObserveGroup(ctx context.Context, tx bun.Tx, id int64, settings string) error {
	_, err := exec(ctx, tx, saveSecObserveGroup, args{"id": id, "settings": settings})
	return err
}

const forgetGroupOfProducts = `
	UPDATE secobserve_products SET settings = '' WHERE product_id IN (
		SELECT s.product_id FROM products p JOIN secobserve_products s ON s.product_id = p.id
		WHERE p.product_group_id = @group AND s.settings <> '' LIMIT @limit)`

// ForgetGroupOfProducts has the next pass store up to limit products of a group again, for the group is about to be
// deleted, and returns how many; 0: none is left.
func ForgetGroupOfProducts(ctx context.Context, tx bun.Tx, group int64, limit int) (int64, error) {
	return exec(ctx, tx, forgetGroupOfProducts, args{"group": group, "limit": limit})
}

// SecObserveUser is a user that comes from SecObserve.
type SecObserveUser struct {
	UserID     int64 // in Tocsin
	ID         int64 // in SecObserve
	Active     bool
	LocalAdmin *bool // whether the user was an administrator here before; nil: there was no such user
	Username   string
	FullName   string
	Email      string
	IsAdmin    bool
}

const secObserveUsers = `
	SELECT s.user_id, s.id, s.active, s.local_admin, u.username, u.full_name, u.email, u.is_admin
	FROM secobserve_users AS s JOIN users AS u ON u.id = s.user_id`

// SecObserveUsers returns the users that come from SecObserve, by their ids in SecObserve.
func SecObserveUsers(ctx context.Context, db bun.IDB) (map[int64]*SecObserveUser, error) {
	list, err := queryAll[SecObserveUser](ctx, db, secObserveUsers, nil)
	out := make(map[int64]*SecObserveUser, len(list))
	for i := range list {
		out[list[i].ID] = &list[i]
	}
	return out, err
}

const saveSecObserveUser = `
	INSERT INTO secobserve_users (user_id, id, active, local_admin) VALUES (@user_id, @id, @active, @local_admin)
	ON CONFLICT (user_id) DO UPDATE SET id = EXCLUDED.id, active = EXCLUDED.active`

// SaveSecObserveUser stores that a user comes from SecObserve. It stores LocalAdmin only the first time.
func SaveSecObserveUser(ctx context.Context, tx bun.Tx, u *SecObserveUser) error {
	_, err := exec(ctx, tx, saveSecObserveUser, args{
		"user_id": u.UserID, "id": u.ID, "active": u.Active, "local_admin": u.LocalAdmin,
	})
	return err
}

// ForgetSecObserveUser stores that a user does not come from SecObserve any more.
func ForgetSecObserveUser(ctx context.Context, tx bun.Tx, userID int64) error {
	_, err := exec(ctx, tx, "DELETE FROM secobserve_users WHERE user_id = @user", args{"user": userID})
	return err
}

// SecObserveMember names a membership in a product or a product group that comes from SecObserve; the ids are
// Tocsin's.
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

const secObserveMembers = `
	SELECT 'product' AS kind, m.product_id AS id, m.user_id, m.role
	FROM product_members AS m JOIN secobserve_products AS s ON s.product_id = m.product_id
	UNION ALL
	SELECT 'product_group' AS kind, m.product_group_id AS id, m.user_id, m.role
	FROM product_group_members AS m JOIN secobserve_product_groups AS s ON s.product_group_id = m.product_group_id`

// SecObserveMembers returns the roles of all members of the products and product groups that come from SecObserve.
func SecObserveMembers(ctx context.Context, db bun.IDB) (map[SecObserveMember]rule.Role, error) {
	list, err := queryAll[struct {
		Kind       rule.HolderKind
		ID, UserID int64
		Role       rule.Role
	}](ctx, db, secObserveMembers, nil)
	out := make(map[SecObserveMember]rule.Role, len(list))
	for _, m := range list {
		out[SecObserveMember{rule.Holder{Kind: m.Kind, ID: m.ID}, m.UserID}] = m.Role
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

const secObserveRefusals = "SELECT kind, id, name, reason FROM secobserve_refusals ORDER BY kind, id"

// SecObserveRefusals lists all refusals, by kind and id.
func SecObserveRefusals(ctx context.Context, db bun.IDB) ([]SecObserveRefusal, error) {
	return queryAll[SecObserveRefusal](ctx, db, secObserveRefusals, nil)
}

const refuse = `
	INSERT INTO secobserve_refusals (kind, id, name, reason) VALUES (@kind, @id, @name, @reason)
	ON CONFLICT (kind, id) DO UPDATE SET name = EXCLUDED.name, reason = EXCLUDED.reason`

// Refuse stores that something is refused.
func Refuse(ctx context.Context, tx bun.Tx, r SecObserveRefusal) error {
	_, err := exec(ctx, tx, refuse, args{
		"kind": r.Kind, "id": r.ID, "name": Clean(r.Name, maxReason), "reason": Clean(r.Reason, maxReason),
	})
	return err
}

// Unrefuse removes a refusal.
func Unrefuse(ctx context.Context, tx bun.Tx, kind string, id int64) error {
	_, err := exec(ctx, tx, "DELETE FROM secobserve_refusals WHERE kind = @kind AND id = @id",
		args{"kind": kind, "id": id})
	return err
}

const productObservations = `
	SELECT o.id FROM observations AS o JOIN products AS p ON p.id = o.product_id AND p.generation = o.generation
	WHERE o.product_id = @product ORDER BY o.id`

// ProductObservationIDs lists the ids of the observations of a product, by id.
func ProductObservationIDs(ctx context.Context, db bun.IDB, product int64) ([]int64, error) {
	return queryAll[int64](ctx, db, productObservations, args{"product": product})
}

const secObserveObservations = `
	SELECT o.id FROM observations AS o JOIN products AS p ON p.id = o.product_id AND p.generation = o.generation
	WHERE o.product_id IN (SELECT product_id FROM secobserve_products) ORDER BY o.id`

// SecObserveObservationIDs lists the ids of the observations of all products that come from SecObserve, by id.
func SecObserveObservationIDs(ctx context.Context, db bun.IDB) ([]int64, error) {
	return queryAll[int64](ctx, db, secObserveObservations, nil)
}

const countSecObserveObservations = `
	SELECT count(*) FROM observations AS o JOIN products AS p ON p.id = o.product_id AND p.generation = o.generation
	WHERE o.product_id IN (SELECT product_id FROM secobserve_products)`

// CountSecObserveObservations counts the observations of all products that come from SecObserve.
func CountSecObserveObservations(ctx context.Context, db bun.IDB) (int64, error) {
	return queryOne[int64](ctx, db, countSecObserveObservations, nil)
}

const (
	productFromSecObserve = "SELECT EXISTS (SELECT 1 FROM secobserve_products WHERE product_id = @id)"
	groupFromSecObserve   = "SELECT EXISTS (SELECT 1 FROM secobserve_product_groups WHERE product_group_id = @id)"
)

// FromSecObserve reports whether a product or a product group comes from SecObserve.
func FromSecObserve(ctx context.Context, db bun.IDB, holder rule.Holder) (bool, error) {
	statement := productFromSecObserve
	if holder.Kind == rule.HolderGroup {
		statement = groupFromSecObserve
	}
	return queryOne[bool](ctx, db, statement, args{"id": holder.ID})
}

// UserFromSecObserve reports whether a user comes from SecObserve.
func UserFromSecObserve(ctx context.Context, db bun.IDB, userID int64) (bool, error) {
	return queryOne[bool](ctx, db, "SELECT EXISTS (SELECT 1 FROM secobserve_users WHERE user_id = @user)",
		args{"user": userID})
}

const anyFromSecObserve = "SELECT EXISTS (SELECT 1 FROM secobserve_products WHERE product_id = ANY (@products))"

// AnyFromSecObserve reports whether one of the products with the given ids comes from SecObserve.
func AnyFromSecObserve(ctx context.Context, db bun.IDB, products []int64) (bool, error) {
	return queryOne[bool](ctx, db, anyFromSecObserve, args{"products": numbers(products)})
}
