package dbmodel

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// KeySize is the length of TOCSIN_SECRET_KEY in bytes.
const KeySize = 32

// ErrSealed says that a value was sealed with another key than TOCSIN_SECRET_KEY and TOCSIN_SECRET_KEY_OLD.
var ErrSealed = errors.New("sealed with another key: set TOCSIN_SECRET_KEY, or TOCSIN_SECRET_KEY_OLD, to the key that was used before")

// Vault seals addresses of targets and hashes them. Targets are addressed by a keyed hash whose key lies sealed in the
// database and never changes, so a new TOCSIN_SECRET_KEY splits no target in two.
type Vault struct {
	seals   []cipher.AEAD // the first one seals, all open
	hashKey []byte
}

// OpenVault makes a Vault of the 32-byte key and, while keys are rotated, the one before (else nil). The first call on a
// database generates the key of the hash.
func OpenVault(ctx context.Context, db bun.IDB, key, oldKey []byte) (*Vault, error) {
	v := &Vault{}
	for _, k := range [][]byte{key, oldKey} {
		if k == nil {
			continue
		}
		if len(k) != KeySize {
			return nil, fmt.Errorf("the secret key has %d bytes: it needs %d", len(k), KeySize)
		}
		block, err := aes.NewCipher(k)
		if err != nil {
			return nil, fmt.Errorf("use the secret key: %w", err)
		}
		seal, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("use the secret key: %w", err)
		}
		v.seals = append(v.seals, seal)
	}
	const name = "target-hash-key"
	fresh := make([]byte, sha256.Size)
	rand.Read(fresh) // never fails: it would end the program
	var sealed []byte
	read := func() error {
		return raw(db).QueryRowContext(ctx, "SELECT value FROM secrets WHERE name = $1", name).Scan(&sealed)
	}
	err := read()
	if errors.Is(err, sql.ErrNoRows) {
		if _, err = execCount(ctx, db, "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", name, v.seal(fresh, name)); err != nil {
			return nil, err
		}
		err = read()
	}
	if err != nil {
		return nil, Translate(err)
	}
	v.hashKey, err = v.open(sealed, name)
	return v, err
}

// seal encrypts text; purpose must be the same when it is opened.
func (v *Vault) seal(text []byte, purpose string) []byte {
	return v.seals[0].Seal(nil, nil, text, []byte(purpose))
}

func (v *Vault) open(sealed []byte, purpose string) ([]byte, error) {
	for _, s := range v.seals {
		if text, err := s.Open(nil, nil, sealed, []byte(purpose)); err == nil {
			return text, nil
		}
	}
	return nil, ErrSealed
}

// SealAddress encrypts the address of a target.
func (v *Vault) SealAddress(channel rule.Channel, address string) []byte {
	return v.seal([]byte(address), "target "+string(channel))
}

// OpenAddress decrypts the address of a target; the error is ErrSealed.
func (v *Vault) OpenAddress(channel rule.Channel, sealed []byte) (string, error) {
	text, err := v.open(sealed, "target "+string(channel))
	return string(text), err
}

// TargetKey is the hash under which a target is found. Email addresses are the same whatever their case.
func (v *Vault) TargetKey(channel rule.Channel, address string) []byte {
	if channel == rule.Email {
		address = strings.ToLower(address)
	}
	h := hmac.New(sha256.New, v.hashKey)
	fmt.Fprintf(h, "%s\x00%s", channel, address)
	return h.Sum(nil)
}

// ExceptionKey is the hash under which an exception with the given fingerprint is claimed.
func (v *Vault) ExceptionKey(fingerprint string) string {
	h := hmac.New(sha256.New, v.hashKey)
	fmt.Fprintf(h, "exception\x00%s", fingerprint)
	return hex.EncodeToString(h.Sum(nil))
}

// BrowserKey proves that the user with this name has logged in with the browser of this id.
func (v *Vault) BrowserKey(username, browser string) string {
	h := hmac.New(sha256.New, v.hashKey)
	fmt.Fprintf(h, "browser\x00%s\x00%s", username, browser)
	return hex.EncodeToString(h.Sum(nil))
}
