package dbmodel

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// KeySize is the length of TOCSIN_SECRET_KEY in bytes.
const KeySize = 32

// ErrSealed says that a value was sealed with another key than TOCSIN_SECRET_KEY and TOCSIN_SECRET_KEY_OLD.
var ErrSealed = errors.New("sealed with another key: set TOCSIN_SECRET_KEY, or TOCSIN_SECRET_KEY_OLD, " +
	"to the key that was used before; docs/keys.md says what to do where it is lost")

// ErrAddressLost says that an address was sealed with a key that the database has no longer, so no secret key opens
// it.
var ErrAddressLost = errors.New("the key that sealed it is lost: set the address anew")

// ErrSecretLost is ErrAddressLost of the secret of a signed webhook.
var ErrSecretLost = errors.New("the key that sealed it is lost: rotate the secret")

// Vault seals addresses of targets and the secrets of signed webhooks with one key. With another key it hashes texts
// that are compared and never read back. Both keys lie sealed in the database and never change. So a new
// TOCSIN_SECRET_KEY seals these two keys anew and nothing else: processes that still run with the old one go on, and
// no target is split in two.
type Vault struct {
	seal    cipher.AEAD
	hashKey []byte
}

// OpenVault opens the Vault with key, which has KeySize bytes; oldKey is the key before it while keys are rotated,
// else nil. The first call on a database makes the keys in it. The keys that oldKey has sealed are sealed anew, so
// that from then on key alone is enough; any number of processes may do so at once. The error is ErrSealed where
// neither key opens them.
func OpenVault(ctx context.Context, db bun.IDB, key, oldKey []byte) (*Vault, error) {
	var seals []cipher.AEAD
	for _, k := range [][]byte{key, oldKey} {
		if k == nil {
			continue
		}
		seal, err := newSeal(k)
		if err != nil {
			return nil, err
		}
		seals = append(seals, seal)
	}
	sealed, err := IsSealed(ctx, db)
	if err != nil {
		return nil, err
	}
	if sealed {
		return openVault(ctx, db, seals)
	}
	var v *Vault
	err = db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) (err error) {
		if v, err = openVault(ctx, tx, seals); err != nil {
			return err
		}
		return renewContacts(ctx, tx, v)
	})
	return v, Translate(err)
}

func openVault(ctx context.Context, db bun.IDB, seals []cipher.AEAD) (*Vault, error) {
	addressKey, err := storedKey(ctx, db, seals, "target-address-key")
	if err != nil {
		return nil, err
	}
	v := &Vault{}
	if v.seal, err = newSeal(addressKey); err != nil {
		return nil, err
	}
	v.hashKey, err = storedKey(ctx, db, seals, "target-hash-key")
	return v, err
}

// IsSealed reports whether a vault was ever opened on the database: from then on OpenVault needs the key that it was
// last opened with.
func IsSealed(ctx context.Context, db bun.IDB) (sealed bool, err error) {
	return queryOne[bool](ctx, db, `SELECT EXISTS (SELECT 1 FROM secrets)`, nil)
}

// sealWith encrypts text; purpose must be the same when it is opened.
func sealWith(seal cipher.AEAD, text []byte, purpose string) []byte {
	// #nosec G407 -- a seal of newSeal puts a random nonce before the text
	return seal.Seal(nil, nil, text, []byte(purpose))
}

func newSeal(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the secret key has %d bytes: it needs %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use the secret key: %w", err)
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("use the secret key: %w", err)
	}
	return seal, nil
}

// storedKey returns the key that lies in the database under a name, and makes it where there is none. Where another
// one than the first of seals opens it, the first one seals it anew.
func storedKey(ctx context.Context, db bun.IDB, seals []cipher.AEAD, name string) ([]byte, error) {
	var sealed []byte
	read := func() error {
		var err error
		sealed, err = queryOne[[]byte](ctx, db, `SELECT value FROM secrets WHERE name = @name`, args{"name": name})
		return err
	}
	err := read()
	if errors.Is(err, ErrNotFound) {
		fresh := make([]byte, KeySize)
		_, _ = rand.Read(fresh) // it never fails: it would end the program
		_, err = exec(ctx, db, `INSERT INTO secrets (name, value) VALUES (@name, @value) ON CONFLICT (name) DO NOTHING`,
			args{"name": name, "value": sealWith(seals[0], fresh, name)})
		if err != nil {
			return nil, err
		}
		err = read()
	}
	if err != nil {
		return nil, err
	}
	for i, s := range seals {
		key, err := s.Open(nil, nil, sealed, []byte(name))
		if err != nil {
			continue
		}
		if i > 0 { // unless another process has just done so
			_, err = exec(ctx, db, `UPDATE secrets SET value = @value WHERE name = @name AND value = @before`,
				args{"name": name, "value": sealWith(seals[0], key, name), "before": sealed})
		}
		return key, err
	}
	return nil, ErrSealed
}

// addressPurpose is the purpose for which the addresses of a channel are sealed: an address of one channel does not
// open as an address of another.
func addressPurpose(channel rule.Channel) string { return "target " + string(channel) }

// SealAddress encrypts the address of a target.
func (v *Vault) SealAddress(channel rule.Channel, address string) []byte {
	return sealWith(v.seal, []byte(address), addressPurpose(channel))
}

// OpenAddress decrypts the address of a target. The error is ErrAddressLost where the key that lay in the database
// when it was sealed is gone.
func (v *Vault) OpenAddress(channel rule.Channel, sealed []byte) (string, error) {
	text, err := v.seal.Open(nil, nil, sealed, []byte(addressPurpose(channel)))
	if err != nil {
		return "", ErrAddressLost
	}
	return string(text), nil
}

// signingPurpose is the purpose for which the secrets of signed webhooks are sealed.
const signingPurpose = "signing secret"

func (v *Vault) sealSigningSecret(secret string) []byte {
	return sealWith(v.seal, []byte(secret), signingPurpose)
}

// openSigningSecret decrypts the secret of a signed webhook. The error is ErrSecretLost where the key that lay in the
// database when it was sealed is gone.
func (v *Vault) openSigningSecret(sealed []byte) (string, error) {
	text, err := v.seal.Open(nil, nil, sealed, []byte(signingPurpose))
	if err != nil {
		return "", ErrSecretLost
	}
	return string(text), nil
}

// TargetKey is the hash under which a target is found: that of its exact address or, for email, of its
// rule.EmailIdentity. An address without an identity stands for itself; it equals no identity.
func (v *Vault) TargetKey(channel rule.Channel, address string) []byte {
	if channel.Info().ByAddress {
		if identity, err := rule.EmailIdentity(address); err == nil {
			address = identity
		}
	}
	h := hmac.New(sha256.New, v.hashKey)
	fmt.Fprintf(h, "%s\x00%s", channel, address)
	return h.Sum(nil)
}

// ExceptionKey is the hash under which an exception with the given fingerprint is claimed.
func (v *Vault) ExceptionKey(fingerprint string) string {
	return v.Proof("exception", fingerprint)
}

// UnsubscribeKey proves that a link to disable a subscription comes from a mail that the subscription caused.
func (v *Vault) UnsubscribeKey(subscription int64) string {
	const length = 32 // hexadecimal digits
	return v.Proof("unsubscribe", strconv.FormatInt(subscription, 10))[:length]
}

// Proof is a hash over texts, which nobody can compute without the key of the vault. The first text names the purpose
// of the proof.
func (v *Vault) Proof(texts ...string) string {
	h := hmac.New(sha256.New, v.hashKey)
	h.Write([]byte(strings.Join(texts, "\x00")))
	return hex.EncodeToString(h.Sum(nil))
}

// SettingsKey is a hash of settings, which may hold secrets: the same for equal settings.
func (v *Vault) SettingsKey(settings string) string { return v.Proof("settings", settings) }
