package config

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const redacted = "[redacted]"

// Secret is a text that never prints. Reveal gives the text itself.
type Secret string

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// MarshalText keeps the secret out of JSON and logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Key is a key of 32 bytes that never prints; convert it to []byte to use it.
type Key []byte

// Format implements fmt.Formatter: %x would otherwise print the bytes.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText keeps the key out of JSON and logs.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const (
	keySize = 32
	keyFile = "secret.key"
	makeKey = "openssl rand -base64 32"
)

// parseKey reads base64, standard or for URLs, padded or not.
func parseKey(value string) (Key, error) {
	text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(value, "="))
	key, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("is not base64: make a key with `%s`", makeKey)
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("holds %d bytes and must hold %d: make a key with `%s`", len(key), keySize, makeKey)
	}
	return key, nil
}

// SecretKeyFile returns the path of the generated secret key.
func (c *Config) SecretKeyFile() string { return filepath.Join(c.DataDir, keyFile) }

// ReadSecretKey reads the key from the data folder where the environment holds none. The error is fs.ErrNotExist where
// there is no key file.
func (c *Config) ReadSecretKey() error {
	if c.SecretKey != nil {
		return nil
	}
	path := c.SecretKeyFile()
	text, err := readFile(path)
	if err != nil {
		return fmt.Errorf("read the secret key: %w", err)
	}
	key, err := parseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s does not hold a key of %d bytes in base64: restore it from a backup; "+
			"docs/keys.md says what to do where it is lost", path, keySize)
	}
	c.SecretKey = key
	return nil
}

// EnsureSecretKey is ReadSecretKey, and generates the key where there is none. Several processes that start at once
// get the same key, and a crash leaves either no key or a whole one.
func (c *Config) EnsureSecretKey() error {
	err := c.ReadSecretKey()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := generateKey(c.DataDir); err != nil {
		return fmt.Errorf("generate the secret key: %w (set TOCSIN_SECRET_KEY, or let %s be writable)", err, c.DataDir)
	}
	return c.ReadSecretKey()
}

// generateKey writes a key file into dir, unless another process has written one first.
func generateKey(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, keyFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	// A link, unlike a rename, does not replace the key of a process that was faster.
	if err := os.Link(f.Name(), filepath.Join(dir, keyFile)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new file in dir outlast a power cut: without the key all that it encrypts is lost.
func syncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the operator says where
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkDataDir refuses the characters that end a path in the URL of a SQLite database.
func checkDataDir(dir string) error {
	if strings.ContainsAny(dir, "?#\x00") {
		return errors.New("holds a ?, a # or a NUL: choose a folder without one")
	}
	return nil
}
