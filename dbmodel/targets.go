package dbmodel

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// LeaseTime is how long a target belongs to a drain that shows no sign of life.
const LeaseTime = 20 * time.Second

// Target is an email address or a webhook, and the state of telling it.
type Target struct {
	bun.BaseModel `bun:"table:targets,alias:targets"`

	ID              int64 `bun:",pk,autoincrement"`
	Channel         rule.Channel
	Key             []byte
	Address         []byte // sealed
	NextAt          time.Time
	Failures        int        // tries that failed since the last success
	FailingSince    *time.Time // the first of these
	Batch           int64      `bun:",nullzero"` // the digest that is tried again
	FailureNotified bool       // since the last success: that a delivery failed for good
}

// TargetByID returns ErrNotFound where there is none.
func TargetByID(ctx context.Context, db bun.IDB, id int64) (*Target, error) {
	t := new(Target)
	return t, Translate(db.NewSelect().Model(t).Where("id = ?", id).Scan(ctx))
}

// TargetsByID returns the targets with the given ids by id; those that do not exist are left out.
func TargetsByID(ctx context.Context, db bun.IDB, ids []int64) (map[int64]*Target, error) {
	out := make(map[int64]*Target, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	var list []Target
	if err := db.NewSelect().Model(&list).Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, Translate(err)
	}
	for i := range list {
		out[list[i].ID] = &list[i]
	}
	return out, nil
}

// EnsureTargets returns the ids of the targets with the given addresses, in their order; those that are new are stored.
func EnsureTargets(ctx context.Context, db bun.IDB, v *Vault, channel rule.Channel, addresses []string) ([]int64, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	ids := make(map[string]int64, len(addresses))
	keys := make([]string, len(addresses))
	for i, a := range addresses {
		keys[i] = string(v.TargetKey(channel, a))
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(keys)))
	find := func() error {
		columns := make([][]byte, len(distinct))
		for i, k := range distinct {
			columns[i] = []byte(k)
		}
		from, args := rowsFrom(db, "i", 2, col{"key", "bytea", columns})
		_, err := collect(ctx, db, func(rows *sql.Rows) (struct{}, error) {
			var id int64
			var key []byte
			err := rows.Scan(&id, &key)
			ids[string(key)] = id
			return struct{}{}, err
		}, "SELECT t.id, t.key FROM targets t JOIN "+from+" ON t.key = i.key WHERE t.channel = $1", append([]any{channel}, args...)...)
		return err
	}
	if err := find(); err != nil {
		return nil, err
	}
	if len(ids) < len(distinct) {
		for i, a := range addresses {
			if _, found := ids[keys[i]]; found {
				continue
			}
			_, err := execCount(ctx, db, "INSERT INTO targets (channel, key, address) VALUES ($1, $2, $3) ON CONFLICT (channel, key) DO NOTHING",
				channel, []byte(keys[i]), v.SealAddress(channel, a))
			if err != nil {
				return nil, err
			}
		}
		if err := find(); err != nil {
			return nil, err
		}
	}
	out := make([]int64, len(addresses))
	for i, k := range keys {
		out[i] = ids[k]
	}
	return out, nil
}

// Lease is what TakeTarget found.
type Lease struct {
	Target
	Mine bool // false: somebody else works on the target, and will look again before it ends
}

// TakeTarget makes owner, a text that is never used twice, the only one that sends to the target. It returns ErrNotFound where
// the target is not due before its next_at; then the search for due targets finds it again.
func TakeTarget(ctx context.Context, db bun.IDB, id int64, owner string) (*Lease, error) {
	n := now(db)
	const free = "(owner IS NULL OR lease_until <= "
	isFree := free + n + ")"
	row := raw(db).QueryRowContext(ctx, `UPDATE targets SET
		again = NOT `+isFree+`,
		owner = CASE WHEN `+isFree+` THEN $2 ELSE owner END,
		lease_until = CASE WHEN `+isFree+` THEN `+later(db, LeaseTime)+` ELSE lease_until END
		WHERE id = $1 AND (NOT `+isFree+` OR next_at <= `+n+`)
		RETURNING owner, channel, address, failures, failing_since, coalesce(batch, 0), failure_notified`, id, owner)
	var holder string
	var since instant
	l := &Lease{Target: Target{ID: id}}
	if err := row.Scan(&holder, &l.Channel, &l.Address, &l.Failures, &since, &l.Batch, &l.FailureNotified); err != nil {
		return nil, Translate(err)
	}
	l.FailingSince = since.pointer()
	l.Mine = holder == owner
	return l, nil
}

// RenewTarget prolongs the lease and reports whether owner still has it.
func RenewTarget(ctx context.Context, db bun.IDB, id int64, owner string) (bool, error) {
	n, err := execCount(ctx, db, "UPDATE targets SET lease_until = "+later(db, LeaseTime)+" WHERE id = $1 AND owner = $2", id, owner)
	return n > 0, err
}

// ReleaseTarget ends the lease; nothing is sent to the target for pause. It returns false, and the lease goes on, where somebody
// asked for another look meanwhile.
func ReleaseTarget(ctx context.Context, db bun.IDB, id int64, owner string, pause time.Duration) (bool, error) {
	if pause > 0 { // the sweep looks again when it is over
		_, err := execCount(ctx, db, "UPDATE targets SET owner = NULL, next_at = "+later(db, pause)+" WHERE id = $1 AND owner = $2", id, owner)
		return err == nil, err
	}
	n, err := execCount(ctx, db, "UPDATE targets SET owner = NULL WHERE id = $1 AND owner = $2 AND (NOT again OR next_at > "+now(db)+")", id, owner)
	if err != nil || n > 0 {
		return n > 0, err
	}
	n, err = execCount(ctx, db, "UPDATE targets SET again = false WHERE id = $1 AND owner = $2", id, owner)
	return n == 0, err // 0: the lease was lost, there is nothing to end
}

// YieldTarget ends the lease whether or not there is more to do; the caller sees to it that somebody goes on.
func YieldTarget(ctx context.Context, db bun.IDB, id int64, owner string) error {
	_, err := execCount(ctx, db, "UPDATE targets SET owner = NULL WHERE id = $1 AND owner = $2", id, owner)
	return err
}

// RestTarget keeps a target from being sent to for a while, unless a worker holds it.
func RestTarget(ctx context.Context, db bun.IDB, id int64, rest time.Duration) error {
	_, err := execCount(ctx, db, "UPDATE targets SET next_at = "+later(db, rest)+" WHERE id = $1 AND owner IS NULL", id)
	return err
}

// DueTargets lists up to limit targets that have pending deliveries, are due, and that nobody works on; the longest due
// first. It steps from target to target through the index of pending deliveries, however many there are of each.
func DueTargets(ctx context.Context, db bun.IDB, limit int) ([]int64, error) {
	n := now(db)
	return collect(ctx, db, scanID, `WITH RECURSIVE waiting(id) AS (
			SELECT min(target_id) FROM deliveries WHERE state = 'pending'
			UNION ALL
			SELECT (SELECT min(target_id) FROM deliveries WHERE state = 'pending' AND target_id > waiting.id) FROM waiting WHERE waiting.id IS NOT NULL
		)
		SELECT t.id FROM waiting JOIN targets t ON t.id = waiting.id
		WHERE t.next_at <= `+n+` AND (t.owner IS NULL OR t.lease_until <= `+n+`)
		ORDER BY t.next_at, t.id LIMIT $1`, limit)
}

// ForgetFailures ends the counting of failures of targets for which nothing waits any more: what comes next to them has
// its whole time.
func ForgetFailures(ctx context.Context, db bun.IDB) error {
	_, err := execCount(ctx, db, `UPDATE targets SET failures = 0, failing_since = NULL WHERE failing_since IS NOT NULL AND owner IS NULL
		AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.target_id = targets.id AND d.state = 'pending')`)
	return err
}

// ConfiguredTarget is a target that is set somewhere.
type ConfiguredTarget struct {
	Target
	Places []ContactPlace
}

// ContactPlace is where a contact is set; the settings have no name.
type ContactPlace struct {
	rule.Holder
	Name string
}

// HasEmailContacts reports whether a product, a group or the settings name an email address.
func HasEmailContacts(ctx context.Context, db bun.IDB) (there bool, err error) {
	err = raw(db).QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM contacts WHERE channel = $1)", string(rule.Email)).Scan(&there)
	return there, Translate(err)
}

// PlacesOf lists where a target is set now.
func PlacesOf(ctx context.Context, db bun.IDB, target int64) ([]ContactPlace, error) {
	return collect(ctx, db, func(rows *sql.Rows) (p ContactPlace, err error) {
		err = rows.Scan(&p.Kind, &p.ID, &p.Name)
		return p, err
	}, `SELECT c.kind, coalesce(c.product_id, c.product_group_id, c.subscription_id, 0), coalesce(p.name, g.name, s.name, '') FROM contacts c
		LEFT JOIN products p ON p.id = c.product_id LEFT JOIN product_groups g ON g.id = c.product_group_id
		LEFT JOIN subscriptions s ON s.id = c.subscription_id
		WHERE c.target_id = $1 ORDER BY CASE c.kind WHEN 'product' THEN 1 WHEN 'product_group' THEN 2 ELSE 3 END, c.kind, 2`, target)
}

// ConfiguredWebhooks lists the targets that are URLs and that products, groups and settings name now, by id.
func ConfiguredWebhooks(ctx context.Context, db bun.IDB) ([]ConfiguredTarget, error) {
	type row struct {
		target int64
		place  ContactPlace
	}
	list, err := collect(ctx, db, func(rows *sql.Rows) (r row, err error) {
		err = rows.Scan(&r.target, &r.place.Kind, &r.place.ID, &r.place.Name)
		return r, err
	}, `SELECT c.target_id, c.kind, coalesce(c.product_id, c.product_group_id, c.subscription_id, 0), coalesce(p.name, g.name, s.name, '') FROM contacts c
		LEFT JOIN products p ON p.id = c.product_id LEFT JOIN product_groups g ON g.id = c.product_group_id
		LEFT JOIN subscriptions s ON s.id = c.subscription_id
		WHERE c.channel NOT IN (`+addressChannels()+`)
		ORDER BY CASE c.kind WHEN 'product' THEN 3 WHEN 'product_group' THEN 2 ELSE 1 END, c.kind, 3, c.channel`)
	if err != nil {
		return nil, err
	}
	places := map[int64][]ContactPlace{}
	for _, r := range list {
		places[r.target] = append(places[r.target], r.place)
	}
	targets, err := TargetsByID(ctx, db, slices.Collect(maps.Keys(places)))
	if err != nil {
		return nil, err
	}
	out := make([]ConfiguredTarget, 0, len(targets))
	for _, id := range slices.Sorted(maps.Keys(targets)) {
		out = append(out, ConfiguredTarget{Target: *targets[id], Places: places[id]})
	}
	return out, nil
}
