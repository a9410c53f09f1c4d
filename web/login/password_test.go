package login_test

import (
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/web/login"
)

func TestPassword(t *testing.T) {
	t.Parallel()
	const password = "correct horse"
	hash, err := login.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(hash, password) || !strings.HasPrefix(hash, "$argon2id$v=19$") {
		t.Errorf("the hash is %s", hash)
	}
	if other, _ := login.HashPassword(password); other == hash {
		t.Error("two hashes are the same: there is no salt")
	}
	if !login.CheckPassword(hash, password) {
		t.Error("the password does not fit")
	}
	for _, wrong := range []string{"", "correct hors", "correct horse ", "Correct horse", hash} {
		if login.CheckPassword(hash, wrong) {
			t.Errorf("%q fits", wrong)
		}
	}
	for _, broken := range []string{"", password, "$", hash[:len(hash)-30], strings.Replace(hash, "t=2", "t=0", 1), strings.Replace(hash, "v=19", "v=16", 1), strings.Replace(hash, "argon2id", "argon2i", 1), "$argon2id$v=19$m=19456,t=2,p=1$$"} {
		if login.CheckPassword(broken, password) || login.CheckPassword(broken, "") {
			t.Errorf("the broken hash %q is opened", broken)
		}
	}
	for _, refused := range []string{"", "1234567", "\xff\xff\xff\xff\xff\xff\xff\xff", strings.Repeat("x", 1025)} {
		if _, err := login.HashPassword(refused); err == nil {
			t.Errorf("%.20q is taken", refused)
		}
	}
}
