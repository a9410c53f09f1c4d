package web_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// besideDeletion makes a call that waits for a transaction that deletes something.
func (e *env) besideDeletion(remove func(ctx context.Context, tx bun.Tx) error, call func()) {
	e.t.Helper()
	answered := make(chan struct{})
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if err := remove(ctx, tx); err != nil {
			return err
		}
		go func() {
			defer close(answered)
			call()
		}()
		testenv.Eventually(e.t, time.Minute, func() error {
			n, err := e.db.NewSelect().TableExpr("pg_stat_activity").
				Where("datname = current_database() AND wait_event_type = 'Lock'").Count(context.WithoutCancel(ctx))
			if err == nil && n == 0 {
				err = errors.New("it does not")
			}
			return err
		}, "the call does not wait for the deletion")
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	<-answered
}

func deleteAlex(ctx context.Context, tx bun.Tx) error {
	u, err := dbmodel.UserByName(ctx, tx, "alex")
	if err != nil {
		return err
	}
	return dbmodel.DeleteUser(ctx, tx, u.ID)
}

// TestTokenBesideADeletion: a user who is deleted while a token is made for them is unknown.
func TestTokenBesideADeletion(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.PostgresDB(t))
	e.user("boss", true)
	e.user("alex", false)
	boss := e.visitor("boss")
	var got *sheet
	e.besideDeletion(deleteAlex, func() {
		got = boss.ask(http.MethodPost, "/users/alex/tokens", url.Values{"scope": {"user"}, "expires": {""}})
	})
	if got.status != 404 {
		t.Errorf("%d", got.status)
	}
}

// TestSubscribeBesideADeletion: a user, product or group that is deleted while a subscription is stored is unknown, as
// it is a moment later. SQLite has one writer.
func TestSubscribeBesideADeletion(t *testing.T) {
	t.Parallel()
	product := func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteProduct(ctx, tx, 1) }
	group := func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteProductGroup(ctx, tx, 1) }
	const path, mail = "/api/v1/subscriptions", `,"contacts":[{"channel":"email","address":"a@example.com"}]}`
	for name, c := range map[string]struct {
		field, method, body string
		remove              func(ctx context.Context, tx bun.Tx) error
	}{
		"user":                {"username", "POST", `{"username":"alex","contacts":[{"channel":"email"}]}`, deleteAlex},
		"product":             {"product_id", "POST", `{"product_id":1` + mail, product},
		"group":               {"product_group_id", "POST", `{"product_group_id":1` + mail, group},
		"product of a change": {"product_id", "PATCH", `{"product_id":1}`, product},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, testenv.PostgresDB(t))
			e.user("alex", false)
			e.want(200, "PUT", "/api/v1/product-groups/1", `{"name":"g"}`)
			e.product(1)
			e.product(2)
			path := path
			if c.method == "PATCH" {
				e.want(201, "POST", path, `{"product_id":2`+mail)
				path += "/1"
			}
			var r *reply
			e.besideDeletion(c.remove, func() { r = e.send(c.method, path, c.body) })
			if r.status != 422 || !strings.Contains(r.text, `"location":"`+c.field+`"`) {
				t.Errorf("%d %s", r.status, r.text)
			}
		})
	}
}
