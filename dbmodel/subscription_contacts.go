package dbmodel

import (
	"context"
	"crypto/rand"
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
	Target         int64      `bun:"target_id"` // 0: the email of a user who has no address
	Address        string     // as it was written; empty for URLs, and for email of a personal subscription
	Sealed         []byte     // the address of the target
	DisabledAt     *time.Time // since when its receiver is gone
}

const subscriptionContacts = `
	SELECT c.id, c.subscription_id, c.channel, c.target_id, c.address, t.address AS sealed, c.disabled_at
	FROM contacts c LEFT JOIN targets t ON t.id = c.target_id
	WHERE c.subscription_id = ANY (@subscriptions) ORDER BY c.subscription_id, c.position`

// SubscriptionContacts returns the contacts of subscriptions, in the order in which they were written.
func SubscriptionContacts(ctx context.Context, db bun.IDB, ids ...int64) (map[int64][]SubscriptionContact, error) {
	list, err := queryAll[SubscriptionContact](ctx, db, subscriptionContacts, args{"subscriptions": numbers(ids)})
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
	// Address is the new address; empty: the contact keeps its address or, for email of a personal subscription, has
	// the address of the user.
	Address string
	Secret  string // of a new signed webhook
}

// SetSubscriptionContacts gives a subscription these contacts, in this order, and removes all others. The caller keeps
// others from changing the subscription meanwhile.
func SetSubscriptionContacts(ctx context.Context, tx bun.Tx, v *Vault, s *Subscription, list []ContactChange) error {
	kept := make(numbers, len(list))
	for i, c := range list {
		kept[i] = c.ID
	}
	_, err := exec(ctx, tx, `DELETE FROM contacts WHERE subscription_id = @subscription AND NOT (id = ANY (@kept))`,
		args{"subscription": s.ID, "kept": kept})
	if err != nil {
		return err
	}
	for i, c := range list {
		var err error
		switch {
		case c.ID == 0:
			err = addSubscriptionContact(ctx, tx, v, s, i, c)
		case c.Address == "":
			_, err = exec(ctx, tx, `UPDATE contacts SET position = @position WHERE id = @id AND subscription_id = @subscription`,
				args{"id": c.ID, "subscription": s.ID, "position": i})
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

const insertSubscriptionContact = `
	INSERT INTO contacts (kind, subscription_id, channel, position, target_id, address)
	VALUES ('subscription', @subscription, @channel, @position, @target, @address)`

func addSubscriptionContact(
	ctx context.Context, tx bun.Tx, v *Vault, s *Subscription, position int, c ContactChange,
) error {
	var target *int64 // nil: that of the user, see FollowEmail
	var err error
	switch {
	case c.Channel.Info().Signed:
		target, err = addSignedTarget(ctx, tx, v, c)
	case c.Address != "":
		target, err = ensureTarget(ctx, tx, v, c.Channel, c.Address)
	}
	if err != nil {
		return err
	}
	_, err = exec(ctx, tx, insertSubscriptionContact, args{
		"subscription": s.ID, "channel": string(c.Channel), "position": position, "target": target, "address": written(c),
	})
	return err
}

const enableSubscriptionContact = `
	UPDATE contacts SET position = @position, disabled_at = NULL WHERE id = @id AND subscription_id = @subscription`

const replaceSubscriptionContact = `
	UPDATE contacts SET position = @position, target_id = @target, address = @address
	WHERE id = @id AND subscription_id = @subscription`

// moveSubscriptionContact gives a contact another address. A signed webhook keeps its target, so deliveries that wait
// go to the new address.
func moveSubscriptionContact(
	ctx context.Context, tx bun.Tx, v *Vault, s *Subscription, position int, c ContactChange,
) error {
	if c.Channel.Info().Signed {
		n, err := exec(ctx, tx, enableSubscriptionContact, args{"id": c.ID, "subscription": s.ID, "position": position})
		if err != nil || n == 0 {
			return err
		}
		_, err = exec(ctx, tx,
			`UPDATE targets SET address = @address WHERE id = (SELECT target_id FROM contacts WHERE id = @id)`,
			args{"id": c.ID, "address": v.SealAddress(c.Channel, c.Address)})
		return err
	}
	target, err := ensureTarget(ctx, tx, v, c.Channel, c.Address)
	if err != nil {
		return err
	}
	_, err = exec(ctx, tx, replaceSubscriptionContact, args{
		"id": c.ID, "subscription": s.ID, "position": position, "target": target, "address": written(c),
	})
	return err
}

// written is the address as contacts keep it in the clear: empty where it is a secret.
func written(c ContactChange) string {
	if c.Channel.Info().ByAddress {
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

const insertSignedTarget = `
	INSERT INTO targets (channel, key, address, secret) VALUES (@channel, @key, @address, @secret) RETURNING id`

// addSignedTarget stores a target that belongs to one contact alone, under a random key.
func addSignedTarget(ctx context.Context, db bun.IDB, v *Vault, c ContactChange) (*int64, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	id, err := queryOne[int64](ctx, db, insertSignedTarget, args{
		"channel": string(c.Channel), "key": key,
		"address": v.SealAddress(c.Channel, c.Address), "secret": v.sealSigningSecret(c.Secret),
	})
	return &id, err
}

const wantedEmail = `
	SELECT email, EXISTS (SELECT 1 FROM contacts
		WHERE channel = 'email' AND subscription_id IN (SELECT id FROM subscriptions WHERE user_id = @user)) AS wanted
	FROM users WHERE id = @user`

const followEmail = `
	UPDATE contacts SET target_id = @target WHERE target_id IS DISTINCT FROM @target::bigint
		AND channel = 'email' AND subscription_id IN (SELECT id FROM subscriptions WHERE user_id = @user)`

// FollowEmail has the email of a user's subscriptions go to the address that the user has now. It follows SaveUser
// where the address of a user changes.
func FollowEmail(ctx context.Context, db bun.IDB, v *Vault, userID int64) error {
	user, err := queryOne[struct {
		Email  string
		Wanted bool
	}](ctx, db, wantedEmail, args{"user": userID})
	if err != nil || !user.Wanted {
		return err
	}
	var target *int64
	if user.Email != "" {
		if target, err = ensureTarget(ctx, db, v, rule.Email, user.Email); err != nil {
			return err
		}
	}
	_, err = exec(ctx, db, followEmail, args{"user": userID, "target": target})
	return err
}

// RotationTime is how long the previous secret still signs after a rotation.
const RotationTime = 24 * time.Hour

const rotateSecret = `
	UPDATE targets SET previous_secret = secret, previous_secret_until = clock_timestamp() + @rotation_time,
		secret = @secret
	WHERE id = (SELECT target_id FROM contacts WHERE id = @id AND subscription_id = @subscription AND channel = 'webhook')`

// RotateSecret gives a contact, which is a signed webhook of this subscription, a new secret; the previous one signs
// too for RotationTime. It returns ErrNotFound where there is no such contact.
func RotateSecret(ctx context.Context, db bun.IDB, v *Vault, subscriptionID, contactID int64, secret string) error {
	return execOne(ctx, db, rotateSecret,
		args{
			"id": contactID, "subscription": subscriptionID,
			"secret": v.sealSigningSecret(secret), "rotation_time": RotationTime,
		})
}

const signingSecrets = `
	SELECT secret, CASE WHEN previous_secret_until > clock_timestamp() THEN previous_secret END AS previous_secret
	FROM targets WHERE id = @target`

// SigningSecrets returns the secrets that sign messages to a target now: its own and, for RotationTime after a
// rotation, the previous one. It returns none for a target that is no signed webhook, and ErrSecretLost where nobody
// can read the secret; a previous one that nobody can read is left out.
func SigningSecrets(ctx context.Context, db bun.IDB, v *Vault, target int64) ([]string, error) {
	sealed, err := queryOne[struct{ Secret, PreviousSecret []byte }](ctx, db, signingSecrets, args{"target": target})
	if err != nil {
		return nil, err
	}
	if sealed.Secret == nil {
		return nil, nil
	}
	secret, err := v.openSigningSecret(sealed.Secret)
	if err != nil {
		return nil, err
	}
	out := []string{secret}
	if sealed.PreviousSecret != nil {
		if previous, err := v.openSigningSecret(sealed.PreviousSecret); err == nil {
			out = append(out, previous)
		}
	}
	return out, nil
}

// DisableContacts notes that the receiver of a target is gone, for all contacts that name it.
func DisableContacts(ctx context.Context, db bun.IDB, target int64) error {
	_, err := exec(ctx, db,
		`UPDATE contacts SET disabled_at = clock_timestamp() WHERE target_id = @target AND disabled_at IS NULL`,
		args{"target": target})
	return err
}

// EnableContacts takes DisableContacts back.
func EnableContacts(ctx context.Context, db bun.IDB, target int64) error {
	_, err := exec(ctx, db,
		`UPDATE contacts SET disabled_at = NULL WHERE target_id = @target AND disabled_at IS NOT NULL`,
		args{"target": target})
	return err
}
