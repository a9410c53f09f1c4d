package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/channel"
)

const (
	secretPrefix = "whsec_"
	keyBytes     = 32
)

// NewSecret returns a new random secret, in the form in which a receiver gets it: "whsec_" and base64 of 32 bytes.
func NewSecret() channel.Secret {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	return channel.Secret(secretPrefix + base64.StdEncoding.EncodeToString(key))
}

// CheckSecret returns an error, which never repeats secret, where secret does not have the form and length of one that
// NewSecret returns.
func CheckSecret(secret channel.Secret) error {
	_, err := keyOf(secret)
	return err
}

func keyOf(secret channel.Secret) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret.Reveal(), secretPrefix)
	if !ok || strings.ContainsAny(encoded, "\r\n") { // the decoder would pass over these
		return nil, errMalformed
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) != keyBytes {
		return nil, errMalformed
	}
	return key, nil
}

var errMalformed = errors.New("must be whsec_ and the base64 of 32 bytes")

// sign returns the header webhook-signature: one signature for each secret, with spaces between them. A receiver that
// knows one of the secrets finds its own.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
func sign(secrets []channel.Secret, id string, at time.Time, body []byte) (string, error) {
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		key, err := keyOf(secret)
		if err != nil {
			return "", err
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " "), nil
}
