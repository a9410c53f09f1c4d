package dbmodel

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// LeaseTime is how long a target belongs to a drain that shows no sign of life.
const LeaseTime = 20 * time.Second

// Target is an email address or a webhook, and the state of delivering to it.
type Target struct {
	bun.BaseModel `bun:"table:targets,alias:targets"`

	ID              int64 `bun:",pk,autoincrement"`
	Channel         rule.Channel
	Key             []byte
	Address         []byte // sealed
	NextAt          time.Time
	Failures        int        // tries that failed since the last success
	FailingSince    *time.Time // when the first of these was, see TargetFailed; nil: there is none
	Batch           int64      `bun:",nullzero"` // the number of the digest or batch that is tried again
	FailureNotified bool       // it was notified, since the last success, that a delivery failed for good
}

// TargetByID returns a target, ErrNotFound where there is none with this id.
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

const (
	findTargets = `
		SELECT t.id, t.key, t.unused_since IS NOT NULL AS unused FROM targets t
		WHERE t.channel = @channel AND t.key IN (SELECT i.key FROM @keys AS i) ORDER BY t.id FOR KEY SHARE`

	addTargets = `
		INSERT INTO targets (channel, key, address)
		SELECT @channel, i.key, i.address FROM @targets AS i WHERE true ORDER BY i.key
		ON CONFLICT (channel, key) DO NOTHING`

	targetsInUse = `
		UPDATE targets SET unused_since = NULL
		WHERE id IN (SELECT id FROM targets WHERE id = ANY (@ids) ORDER BY id FOR NO KEY UPDATE)`
)

// EnsureTargets returns the ids of the targets with the given addresses, in their order; those that are new are
// stored. None of them is removed before the caller's transaction ends.
func EnsureTargets(
	ctx context.Context, db bun.IDB, v *Vault, channel rule.Channel, addresses []string,
) ([]int64, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	keys, addressOf := make([]string, len(addresses)), make(map[string]string, len(addresses))
	for i, a := range addresses {
		keys[i] = string(v.TargetKey(channel, a))
		if _, found := addressOf[keys[i]]; !found {
			addressOf[keys[i]] = a
		}
	}
	ids, err := targetIDs(ctx, db, channel, slices.Collect(maps.Keys(addressOf)))
	if err != nil {
		return nil, err
	}
	if len(ids) < len(addressOf) {
		var missing, sealed [][]byte
		for key, a := range addressOf {
			if _, found := ids[key]; !found {
				missing, sealed = append(missing, []byte(key)), append(sealed, v.SealAddress(channel, a))
			}
		}
		added := rows{{"key", "bytea", missing}, {"address", "bytea", sealed}}
		if _, err := exec(ctx, db, addTargets, args{"channel": string(channel), "targets": added}); err != nil {
			return nil, err
		}
		if ids, err = targetIDs(ctx, db, channel, slices.Collect(maps.Keys(addressOf))); err != nil {
			return nil, err
		}
	}
	out := make([]int64, len(addresses))
	for i, k := range keys {
		out[i] = ids[k]
	}
	return out, nil
}

// targetIDs returns the ids of the targets that have the given keys, by key, and keeps these from being removed.
func targetIDs(ctx context.Context, db bun.IDB, channel rule.Channel, keys []string) (map[string]int64, error) {
	list, err := queryAll[struct {
		ID     int64
		Key    []byte
		Unused bool
	}](ctx, db, findTargets, args{
		"channel": string(channel),
		"keys":    rows{column(keys, "key", "bytea", func(k *string) []byte { return []byte(*k) })},
	})
	if err != nil {
		return nil, err
	}
	ids := make(map[string]int64, len(list))
	var unused numbers
	for _, t := range list {
		ids[string(t.Key)] = t.ID
		if t.Unused {
			unused = append(unused, t.ID)
		}
	}
	if len(unused) > 0 {
		_, err = exec(ctx, db, targetsInUse, args{"ids": unused})
	}
	return ids, err
}

// Lease is the result of TakeTarget.
type Lease struct {
	Target
	Mine bool // false: another worker holds the target, and looks again before it ends its lease
}

const (
	takeTarget = `
		UPDATE targets SET
			again = owner IS NOT NULL AND lease_until > clock_timestamp(),
			owner = CASE WHEN owner IS NULL OR lease_until <= clock_timestamp() THEN @owner ELSE owner END,
			lease_until = CASE WHEN owner IS NULL OR lease_until <= clock_timestamp()
				THEN clock_timestamp() + @lease_time ELSE lease_until END
		WHERE id = @target AND (owner IS NOT NULL AND lease_until > clock_timestamp() OR next_at <= clock_timestamp())
		RETURNING id, owner, channel, address, failures, failing_since, batch, failure_notified`

	renewTarget = `
		UPDATE targets SET lease_until = clock_timestamp() + @lease_time WHERE id = @target AND owner = @owner`

	releaseAndRest = `
		UPDATE targets SET owner = NULL, next_at = clock_timestamp() + @rest WHERE id = @target AND owner = @owner`

	releaseUnlessAgain = `
		UPDATE targets SET owner = NULL
		WHERE id = @target AND owner = @owner AND (NOT again OR next_at > clock_timestamp())`

	clearAgain = `UPDATE targets SET again = false WHERE id = @target AND owner = @owner`

	yieldTarget = `UPDATE targets SET owner = NULL WHERE id = @target AND owner = @owner`

	restTarget = `
		UPDATE targets SET next_at = clock_timestamp() + @rest
		WHERE id = @target AND owner IS NULL AND next_at < clock_timestamp() + @rest`

	forgetFailures = `
		UPDATE targets SET failures = 0, failing_since = NULL WHERE id IN (
			SELECT id FROM targets INDEXED BY targets_failing WHERE failing_since IS NOT NULL AND owner IS NULL
				AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.target_id = targets.id AND d.state = 'pending')
			ORDER BY id FOR NO KEY UPDATE)`
)

// TakeTarget makes owner, a text that is never used twice, the only one that sends to the target; where another worker
// holds it, that one is asked to look again. It returns ErrNotFound where the target is not due yet; when it is, the
// search for due targets finds it.
func TakeTarget(ctx context.Context, db bun.IDB, id int64, owner string) (*Lease, error) {
	t, err := queryOne[struct {
		Target
		Owner string
	}](ctx, db, takeTarget, args{"target": id, "owner": owner, "lease_time": LeaseTime})
	if err != nil {
		return nil, err
	}
	return &Lease{Target: t.Target, Mine: t.Owner == owner}, nil
}

// RenewTarget prolongs the lease and reports whether owner still has it.
func RenewTarget(ctx context.Context, db bun.IDB, id int64, owner string) (bool, error) {
	n, err := exec(ctx, db, renewTarget, args{"target": id, "owner": owner, "lease_time": LeaseTime})
	return n > 0, err
}

// ReleaseTarget ends the lease; nothing is sent to the target for rest. Without a rest it returns false, and the lease
// goes on, where owner was asked to look again meanwhile.
func ReleaseTarget(ctx context.Context, db bun.IDB, id int64, owner string, rest time.Duration) (bool, error) {
	if rest > 0 { // the sweep finds the target when it is over
		_, err := exec(ctx, db, releaseAndRest, args{"target": id, "owner": owner, "rest": rest})
		return err == nil, err
	}
	n, err := exec(ctx, db, releaseUnlessAgain, args{"target": id, "owner": owner})
	if err != nil || n > 0 {
		return n > 0, err
	}
	n, err = exec(ctx, db, clearAgain, args{"target": id, "owner": owner})
	return n == 0, err // 0: the lease was lost, there is nothing to end
}

// YieldTarget ends the lease whether or not there is more to do; the caller sees to it that another worker goes on.
func YieldTarget(ctx context.Context, db bun.IDB, id int64, owner string) error {
	_, err := exec(ctx, db, yieldTarget, args{"target": id, "owner": owner})
	return err
}

// RestTarget has nothing sent to a target for rest, unless a worker holds it. A longer rest, which the receiver may
// have asked for, stays.
func RestTarget(ctx context.Context, db bun.IDB, id int64, rest time.Duration) error {
	_, err := exec(ctx, db, restTarget, args{"target": id, "rest": rest})
	return err
}

// ForgetFailures ends the counting of failures of targets for which nothing waits any more: for deliveries that come
// later, the time after which Tocsin gives a target up begins anew.
func ForgetFailures(ctx context.Context, db bun.IDB) error {
	_, err := exec(ctx, db, forgetFailures, nil)
	return err
}

// ConfiguredTarget is a target that contacts name.
type ConfiguredTarget struct {
	Target
	Places []ContactPlace
}

// ContactPlace is where a contact is set; the settings have no name.
type ContactPlace struct {
	rule.Holder
	Name string
}

const (
	anyContact = `SELECT EXISTS (SELECT 1 FROM contacts WHERE channel = @channel)`

	contactPlaces = `
		SELECT c.target_id, c.kind, coalesce(c.product_id, c.product_group_id, c.subscription_id, 0) AS id,
			coalesce(p.name, g.name, s.name, '') AS name
		FROM contacts c
		LEFT JOIN products p ON p.id = c.product_id
		LEFT JOIN product_groups g ON g.id = c.product_group_id
		LEFT JOIN subscriptions s ON s.id = c.subscription_id`

	placesOfTarget = contactPlaces + `
		WHERE c.target_id = @target
		ORDER BY CASE c.kind WHEN 'product' THEN 1 WHEN 'product_group' THEN 2 ELSE 3 END, c.kind, 3`

	placesOfWebhooks = contactPlaces + `
		WHERE c.channel NOT IN (@address_channels)
		ORDER BY CASE c.kind WHEN 'product' THEN 3 WHEN 'product_group' THEN 2 ELSE 1 END, c.kind, 3, c.channel`
)

// HasEmailContacts reports whether there is a contact by email anywhere.
func HasEmailContacts(ctx context.Context, db bun.IDB) (bool, error) {
	return queryOne[bool](ctx, db, anyContact, args{"channel": string(rule.Email)})
}

// placeRow is a place, and the target of the contact there.
type placeRow struct {
	ContactPlace
	TargetID int64
}

// PlacesOf lists the places of the contacts that name a target now.
func PlacesOf(ctx context.Context, db bun.IDB, target int64) ([]ContactPlace, error) {
	list, err := queryAll[placeRow](ctx, db, placesOfTarget, args{"target": target})
	places := make([]ContactPlace, len(list))
	for i := range list {
		places[i] = list[i].ContactPlace
	}
	return places, err
}

// ConfiguredWebhooks lists the targets that are URLs and that contacts name now, by id.
func ConfiguredWebhooks(ctx context.Context, db bun.IDB) ([]ConfiguredTarget, error) {
	list, err := queryAll[placeRow](ctx, db, placesOfWebhooks, args{"address_channels": bun.Safe(addressChannels())})
	if err != nil {
		return nil, err
	}
	places := map[int64][]ContactPlace{}
	for _, r := range list {
		places[r.TargetID] = append(places[r.TargetID], r.ContactPlace)
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

// RetryTarget has the deliveries that wait for a target tried at once.
func RetryTarget(ctx context.Context, tx bun.Tx, id int64) error {
	return startAnew(ctx, tx, []int64{id})
}
