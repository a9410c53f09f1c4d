package dbmodel

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// SubscriptionContact is a contact of a subscription.
type SubscriptionContact struct {
	ID             int64
	SubscriptionID int64
	Channel        rule.Channel
	Target         int64      // 0: the email of a user who has no address
	Address        string     // as it was written; empty for URLs, and for email of a personal subscription
	Sealed         []byte     // the address of the target
	DisabledAt     *time.Time // since when its receiver is gone
}

// SubscriptionContacts returns the contacts of subscriptions, in the order in which they were written.
func SubscriptionContacts(ctx context.Context, db bun.IDB, ids ...int64) (map[int64][]SubscriptionContact, error) {
	in, arg := anyOf(db, "c.subscription_id", 1, ids)
	list, err := collect(ctx, db, func(rows *sql.Rows) (c SubscriptionContact, err error) {
		var disabled instant
		err = rows.Scan(&c.ID, &c.SubscriptionID, &c.Channel, &c.Target, &c.Address, &c.Sealed, &disabled)
		c.DisabledAt = disabled.pointer()
		return c, err
	}, `SELECT c.id, c.subscription_id, c.channel, coalesce(c.target_id, 0), c.address, t.address, c.disabled_at
		FROM contacts c LEFT JOIN targets t ON t.id = c.target_id WHERE `+in+" ORDER BY c.subscription_id, c.position", arg)
	if err != nil {
		return nil, fmt.Errorf("load contacts of subscriptions: %w", err)
	}
	out := map[int64][]SubscriptionContact{}
	for _, c := range list {
		out[c.SubscriptionID] = append(out[c.SubscriptionID], c)
	}
	return out, nil
}

// ContactChange is a contact that a subscription shall have.
type ContactChange struct {
	ID      int64 // of one that it has; 0: a new one
	Channel rule.Channel
	// Address is where it goes; empty: where it went before or, by email of a personal subscription, the address of its user.
	Address string
	Secret  string // of a new signed webhook
}

// SetSubscriptionContacts gives a subscription these contacts, in this order, and removes all others. The caller keeps
// others from changing the subscription meanwhile.
func SetSubscriptionContacts(ctx context.Context, tx bun.Tx, v *Vault, s *Subscription, list []ContactChange) error {
	kept := []int64{0}
	for _, c := range list {
		kept = append(kept, c.ID)
	}
	in, arg := anyOf(tx, "id", 2, kept)
	if _, err := execCount(ctx, tx, "DELETE FROM contacts WHERE subscription_id = $1 AND NOT ("+in+")", s.ID, arg); err != nil {
		return err
	}
	for i, c := range list {
		var err error
		switch {
		case c.ID == 0:
			err = addSubscriptionContact(ctx, tx, v, s, i, c)
		case c.Address == "":
			_, err = execCount(ctx, tx, "UPDATE contacts SET position = $3 WHERE id = $1 AND subscription_id = $2", c.ID, s.ID, i)
		default:
			err = moveSubscriptionContact(ctx, tx, v, s, i, c)
		}
		if err != nil {
			return fmt.Errorf("store a contact of subscription %d: %w", s.ID, err)
		}
	}
	if s.UserID == nil {
		return nil
	}
	return FollowEmail(ctx, tx, v, *s.UserID)
}

func addSubscriptionContact(ctx context.Context, tx bun.Tx, v *Vault, s *Subscription, position int, c ContactChange) error {
	var target *int64 // nil: that of the user, see FollowEmail
	var err error
	switch {
	case c.Channel == rule.Webhook:
		target, err = addSignedTarget(ctx, tx, v, c.Address, c.Secret)
	case c.Address != "":
		target, err = ensureTarget(ctx, tx, v, c.Channel, c.Address)
	}
	if err != nil {
		return err
	}
	_, err = execCount(ctx, tx, `INSERT INTO contacts (kind, subscription_id, channel, position, target_id, address)
		VALUES ('subscription', $1, $2, $3, $4, $5)`, s.ID, string(c.Channel), position, target, written(c))
	return err
}

// moveSubscriptionContact gives a contact another address. A signed webhook keeps its target: what waits goes to the new one.
func moveSubscriptionContact(ctx context.Context, tx bun.Tx, v *Vault, s *Subscription, position int, c ContactChange) error {
	if c.Channel == rule.Webhook {
		n, err := execCount(ctx, tx, "UPDATE contacts SET position = $3, disabled_at = NULL WHERE id = $1 AND subscription_id = $2", c.ID, s.ID, position)
		if err != nil || n == 0 {
			return err
		}
		_, err = execCount(ctx, tx, "UPDATE targets SET address = $2 WHERE id = (SELECT target_id FROM contacts WHERE id = $1)",
			c.ID, v.SealAddress(c.Channel, c.Address))
		return err
	}
	target, err := ensureTarget(ctx, tx, v, c.Channel, c.Address)
	if err != nil {
		return err
	}
	_, err = execCount(ctx, tx, "UPDATE contacts SET position = $3, target_id = $4, address = $5 WHERE id = $1 AND subscription_id = $2",
		c.ID, s.ID, position, target, written(c))
	return err
}

// written is what is kept of an address in the clear.
func written(c ContactChange) string {
	if c.Channel.Info().Addresses {
		return c.Address
	}
	return ""
}

func ensureTarget(ctx context.Context, db bun.IDB, v *Vault, channel rule.Channel, address string) (*int64, error) {
	ids, err := EnsureTargets(ctx, db, v, channel, []string{strings.TrimSpace(address)})
	if err != nil {
		return nil, err
	}
	return &ids[0], nil
}

// addSignedTarget stores the target of one contact alone.
func addSignedTarget(ctx context.Context, db bun.IDB, v *Vault, address, secret string) (*int64, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	id := new(int64)
	err := raw(db).QueryRowContext(ctx, "INSERT INTO targets (channel, key, address, secret) VALUES ($1, $2, $3, $4) RETURNING id",
		string(rule.Webhook), key, v.SealAddress(rule.Webhook, address), v.sealSigningSecret(secret)).Scan(id)
	return id, Translate(err)
}

// FollowEmail has the email of a user's subscriptions go to the address that the user has now. It follows SaveUser where the
// address of a user changes.
func FollowEmail(ctx context.Context, db bun.IDB, v *Vault, userID int64) error {
	const theirs = "channel = 'email' AND subscription_id IN (SELECT id FROM subscriptions WHERE user_id = $1)"
	var email string
	var wanted bool
	err := raw(db).QueryRowContext(ctx, "SELECT email, EXISTS (SELECT 1 FROM contacts WHERE "+theirs+") FROM users WHERE id = $1", userID).
		Scan(&email, &wanted)
	if err != nil || !wanted {
		return Translate(err)
	}
	var target *int64
	if email != "" {
		if target, err = ensureTarget(ctx, db, v, rule.Email, email); err != nil {
			return err
		}
	}
	_, err = execCount(ctx, db, "UPDATE contacts SET target_id = $2 WHERE target_id "+differs(db)+" CAST($2 AS bigint) AND "+theirs, userID, target)
	return err
}

// RotationTime is how long the secret before still signs after a rotation.
const RotationTime = 24 * time.Hour

// RotateSecret gives a contact, which is a signed webhook of this subscription, a new secret; the one before signs too for
// RotationTime. It returns ErrNotFound where there is no such contact.
func RotateSecret(ctx context.Context, db bun.IDB, v *Vault, subscriptionID, contactID int64, secret string) error {
	n, err := execCount(ctx, db, "UPDATE targets SET previous_secret = secret, previous_secret_until = "+later(db, RotationTime)+`, secret = $3
		WHERE id = (SELECT target_id FROM contacts WHERE id = $1 AND subscription_id = $2 AND channel = 'webhook')`,
		contactID, subscriptionID, v.sealSigningSecret(secret))
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// SigningSecrets returns what signs messages to a target now: its secret and, for a while after a rotation, the one before.
func SigningSecrets(ctx context.Context, db bun.IDB, v *Vault, target int64) ([]string, error) {
	var current, previous []byte
	err := raw(db).QueryRowContext(ctx, "SELECT secret, CASE WHEN previous_secret_until > "+now(db)+" THEN previous_secret END FROM targets WHERE id = $1",
		target).Scan(&current, &previous)
	if err != nil {
		return nil, Translate(err)
	}
	var out []string
	for _, sealed := range [][]byte{current, previous} {
		if sealed == nil {
			continue
		}
		secret, err := v.openSigningSecret(sealed)
		if err != nil {
			return nil, err
		}
		out = append(out, secret)
	}
	return out, nil
}

// DisableContacts notes that the receiver of a target is gone, for all contacts that name it.
func DisableContacts(ctx context.Context, db bun.IDB, target int64) error {
	_, err := execCount(ctx, db, "UPDATE contacts SET disabled_at = "+now(db)+" WHERE target_id = $1 AND disabled_at IS NULL", target)
	return err
}

// EnableContacts takes DisableContacts back.
func EnableContacts(ctx context.Context, db bun.IDB, target int64) error {
	_, err := execCount(ctx, db, "UPDATE contacts SET disabled_at = NULL WHERE target_id = $1 AND disabled_at IS NOT NULL", target)
	return err
}
