package dbmodel_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// inLocaleC opens a database of PostgreSQL whose own functions know upper and lower case of ASCII only.
func inLocaleC(t *testing.T) *dbmodel.DB {
	t.Helper()
	address, err := url.Parse(testenv.PostgresURL(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	server := testenv.OpenDB(t, address.String())
	address.Path += "_c"
	name := bun.Ident(strings.TrimPrefix(address.Path, "/"))
	_, err = server.ExecContext(t.Context(), "CREATE DATABASE ? TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := server.ExecContext(context.Background(), "DROP DATABASE ? WITH (FORCE)", name); err != nil {
			t.Error(err)
		}
	})
	db := testenv.OpenDB(t, address.String())
	if _, err := dbmodel.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return db
}

// TestWithoutCase asks the same of SQLite, of PostgreSQL, and of PostgreSQL with the locale C.
func TestWithoutCase(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		names := []string{"Müller", "STRASSE", "straße", "ΟΔΟΣ", "οδος", "istanbul", "İstanbul", "zebra", "Ärger", "apple"}
		for i, name := range names {
			if err := dbmodel.SaveProduct(ctx, db, &dbmodel.Product{ID: int64(i + 1), Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		search := func(part string, after int64) []string {
			list, err := dbmodel.SearchProducts(ctx, db, dbmodel.AutomationViewer(), dbmodel.ProductSearch{Part: part, After: after}, 20)
			if err != nil {
				t.Fatal(err)
			}
			found := []string{}
			for _, p := range list {
				found = append(found, p.Name)
			}
			return found
		}
		all := []string{"apple", "istanbul", "Müller", "STRASSE", "straße", "zebra", "Ärger", "İstanbul", "ΟΔΟΣ", "οδος"}
		for part, want := range map[string][]string{
			"": all, "müller": {"Müller"}, "MÜLL": {"Müller"}, "ß": {"STRASSE", "straße"}, "strasse": {"STRASSE", "straße"},
			"οδοσ": {"ΟΔΟΣ", "οδος"}, "ΔΟς": {"ΟΔΟΣ", "οδος"}, "istanbul": {"istanbul"}, "İSTANBUL": {"İstanbul"}, "ärger": {"Ärger"},
		} {
			if diff := cmp.Diff(want, search(part, 0)); diff != "" {
				t.Errorf("%q (-want +got):\n%s", part, diff)
			}
		}
		if diff := cmp.Diff(all[3:], search("", 1)); diff != "" {
			t.Errorf("behind Müller (-want +got):\n%s", diff)
		}
		if _, err := dbmodel.AddUser(ctx, db, "ute"); err != nil {
			t.Fatal(err)
		}
		u, err := dbmodel.UserByName(ctx, db, "ute")
		if err != nil {
			t.Fatal(err)
		}
		u.FullName, u.Email = "Ute", "Ute@MÜLLER.example"
		if err := dbmodel.SaveUser(ctx, db, u); err != nil {
			t.Fatal(err)
		}
		for _, email := range []string{"ute@müller.example", "UTE@xn--mller-kva.EXAMPLE"} {
			if name, err := dbmodel.FullNameOf(ctx, db, email); err != nil || name != "Ute" {
				t.Errorf("%s: %q %v", email, name, err)
			}
		}
	}
	testenv.EachDatabase(t, test)
	t.Run("locale C", func(t *testing.T) { test(t, inLocaleC(t)) })
}
