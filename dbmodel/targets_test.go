package dbmodel_test

import (
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestLookAlikeAddress: an address with a letter that lower case turns into another one never becomes the target of the
// address that it looks like, whichever is stored first.
func TestLookAlikeAddress(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		vault, err := dbmodel.OpenVault(ctx, db, make([]byte, dbmodel.KeySize), nil)
		if err != nil {
			t.Fatal(err)
		}
		target := func(address string) int64 {
			t.Helper()
			ids, err := dbmodel.EnsureTargets(ctx, db, vault, rule.Email, []string{address})
			if err != nil {
				t.Fatal(err)
			}
			return ids[0]
		}
		attackers := target("ciso@vİctim.example")
		victims := target("ciso@victim.example")
		if attackers == victims || target("ciso@\u212aictim.example") == target("ciso@kictim.example") {
			t.Error("two addresses share a target")
		}
		stored, err := dbmodel.TargetByID(ctx, db, victims)
		if err != nil {
			t.Fatal(err)
		}
		if to, err := vault.OpenAddress(rule.Email, stored.Address); err != nil || to != "ciso@victim.example" {
			t.Errorf("mail goes to %q %v", to, err)
		}
		if target("CISO@Victim.Example") != victims {
			t.Error("case splits a target in two")
		}
		if target("a@BÜCHER.example") != target("a@xn--bcher-kva.example") {
			t.Error("a domain and its Punycode are two targets")
		}
	})
}
