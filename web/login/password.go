// Package login is what proves who a user is: passwords and their hashes, the slowing down of guesses, and OpenID
// Connect. It knows neither pages nor sessions.
package login

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Bounds of a password.
const (
	shortestPassword = 8    // characters
	longestPassword  = 1024 // bytes
)

// Costs of a new hash: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html. One hash takes
// 19 MiB, so several logins at once need no more than a small machine has.
const (
	argonTime    = 2
	argonMemory  = 19 << 10 // KiB
	argonThreads = 1
	saltBytes    = 16
	hashBytes    = 32
)

// HashPassword returns the argon2id hash of a password, with its salt and costs, as users keep it. The error says in
// words what is wrong with the password.
func HashPassword(password string) (string, error) {
	if err := ValidatePassword(password); err != nil {
		return "", err
	}
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // it never fails
	hash := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, hashBytes)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		argonMemory, argonTime, argonThreads, encode(salt), encode(hash)), nil
}

// ValidatePassword says what is wrong with a password that a user chooses; nil: nothing.
func ValidatePassword(password string) error {
	switch {
	case !utf8.ValidString(password):
		return errors.New("the password is not valid UTF-8")
	case utf8.RuneCountInString(password) < shortestPassword:
		return fmt.Errorf("the password is too short: it needs %d characters", shortestPassword)
	case len(password) > longestPassword:
		return fmt.Errorf("the password is longer than %d bytes", longestPassword)
	}
	return nil
}

// CheckPassword reports whether hash was made of password. A hash that is empty or not of HashPassword's
// form fits no password.
func CheckPassword(hash, password string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || len(password) > longestPassword {
		return false
	}
	var version int
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false
	}
	_, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads)
	if err != nil || time < 1 || threads < 1 || memory > 1<<20 {
		return false
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(parts[4])
	want, errHash := base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errHash != nil || len(want) != hashBytes {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, hashBytes)
	return subtle.ConstantTimeCompare(got, want) == 1
}
