package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauth2-proxy/mockoidc"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/web"
	"github.com/seed91453169/tocsin/web/login"
)

// newProvider starts an OpenID Connect provider.
func newProvider(t *testing.T) *mockoidc.MockOIDC {
	t.Helper()
	p, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

func withProvider(p *mockoidc.MockOIDC) func(*web.Config) {
	return func(c *web.Config) {
		c.OIDC = &login.OIDC{Issuer: p.Issuer(), ClientID: p.ClientID, ClientSecret: p.ClientSecret}
	}
}

// providerUser is a user whose UserInfo names its subject, as the standard demands.
type providerUser struct{ *mockoidc.MockUser }

func (u providerUser) Userinfo([]string) ([]byte, error) {
	return json.Marshal(map[string]string{"sub": u.Subject, "preferred_username": u.PreferredUsername})
}

// atProvider goes to the provider and comes back to the address that it leads to.
func (e *env) atProvider(p *mockoidc.MockOIDC, u *mockoidc.MockUser) (back, cookie string) {
	e.t.Helper()
	p.QueueUser(providerUser{u})
	r := e.send("GET", "/login/oidc?next=/products", nil, "Authorization", "")
	if r.status != 303 {
		e.t.Fatalf("to the provider: %d %s\n%s", r.status, r.text, e.log)
	}
	cookie, _, _ = strings.Cut(r.header.Get("Set-Cookie"), ";")
	there, err := url.Parse(r.header.Get("Location"))
	if err != nil {
		e.t.Fatal(err)
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if there.Query().Get(name) == "" {
			e.t.Errorf("the provider does not get %s: %s", name, there)
		}
	}
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, there.String(), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	res, err := e.client.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	res.Body.Close()
	to, err := res.Location()
	if err != nil {
		e.t.Fatal(err)
	}
	return to.RequestURI(), cookie
}

func (e *env) logInWithProvider(p *mockoidc.MockOIDC, u *mockoidc.MockUser) (status int, username string) {
	e.t.Helper()
	back, cookie := e.atProvider(p, u)
	r := e.send("GET", back, nil, "Authorization", "", "Cookie", cookie)
	if r.status != 303 {
		return r.status, ""
	}
	if to := r.header.Get("Location"); to != "/products" {
		e.t.Errorf("the login leads to %s", to)
	}
	for _, c := range r.header.Values("Set-Cookie") {
		if session, _, _ := strings.Cut(c, ";"); strings.HasPrefix(session, "__Host-tocsin_session=") {
			v, err := dbmodel.ViewerBySession(e.t.Context(), e.db, strings.TrimPrefix(session, "__Host-tocsin_session="))
			if err != nil {
				e.t.Fatal(err)
			}
			return r.status, v.Username
		}
	}
	e.t.Fatalf("no session: %v", r.header)
	return 0, ""
}

// Who comes from the provider is known by issuer and sub, and becomes nobody else by name or email.
func TestOIDC(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		p := newProvider(t)
		e := newEnv(t, db, withProvider(p))
		e.user("invited", true)
		e.withPassword("guarded", true)
		user := func(sub, name string) *mockoidc.MockUser {
			return &mockoidc.MockUser{Subject: sub, PreferredUsername: name, Email: "guarded@example.com", EmailVerified: true}
		}
		for _, step := range []struct{ why, sub, name, want string }{
			{"a new user", "1", "jane", "jane"},
			{"the same again", "1", "jane", "jane"},
			{"with another name by now", "1", "guarded", "jane"},
			{"another with that name", "2", "jane", "jane-2"},
			{"the one that was made without a password is taken over", "3", "invited", "invited"},
			{"once", "4", "invited", "invited-2"},
			{"one with a password is not", "5", "guarded", "guarded-2"},
			{"nor the reserved one", "6", "automation", "automation-2"},
			{"a name that is none here", "7", "jane doe/ops", "user"},
			{"and another", "8", "", "user-2"},
			{"one that looks like another's", "9", "gu\u0430rded", "user-3"},
			{"one with an invisible letter", "10", "guarded\u200b", "user-4"},
		} {
			status, name := e.logInWithProvider(p, user(step.sub, step.name))
			if status != 303 || name != step.want {
				t.Errorf("%s: %d as %q instead of %q\n%s", step.why, status, name, step.want, e.log)
			}
		}
		for name, admin := range map[string]bool{"invited": true, "guarded-2": false, "jane": false, "automation-2": false} {
			if u, err := dbmodel.UserByName(t.Context(), e.db, name); err != nil || u.IsAdmin != admin {
				t.Errorf("%s: administrator %t, %v", name, u.IsAdmin, err)
			}
		}
	})
}

// A way back that does not belong to this browser's way there, or was used, opens nothing.
func TestOIDCRefuses(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	e := newEnv(t, testenv.SQLiteDB(t), withProvider(p))
	jane := mockoidc.DefaultUser()
	back, cookie := e.atProvider(p, jane)
	if !strings.HasPrefix(cookie, "__Host-") {
		t.Errorf("another host may set the cookie of the way: %.20s", cookie)
	}
	_, others := e.atProvider(p, jane)
	refused := func(why string, status int, path, cookie string) {
		t.Helper()
		r := e.send("GET", path, nil, "Authorization", "", "Cookie", cookie)
		if r.status != status || strings.Contains(strings.Join(r.header.Values("Set-Cookie"), " "), "tocsin_session") {
			t.Errorf("%s: answered %d", why, r.status)
		}
	}
	refused("no cookie", 400, back, "")
	refused("another browser", 400, back, others)
	refused("another state", 400, back+"x", cookie)
	refused("the provider says no", 403, "/login/oidc/callback?error=access_denied&state="+url.QueryEscape(queryOf(t, back).Get("state")), cookie)
	if r := e.send("GET", back, nil, "Authorization", "", "Cookie", cookie); r.status != 303 {
		t.Fatalf("the right one is answered %d: %s", r.status, e.log)
	}
	refused("the code for the second time", 502, back, cookie)
	if err := p.Shutdown(); err != nil {
		t.Fatal(err)
	}
	refused("the provider is away", 502, back, cookie)
}

// Who logs in for the first time in two windows at once is one user.
func TestOIDCTwiceAtOnce(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	db := testenv.PostgresDB(t)
	e := newEnv(t, db, withProvider(p))
	back, cookie := e.atProvider(p, &mockoidc.MockUser{Subject: "1", PreferredUsername: "jane"})
	answered := make(chan *reply, 1)
	err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error { // the other window
		if _, err := dbmodel.AddUser(ctx, tx, "jane"); err != nil {
			return err
		}
		u, err := dbmodel.UserByName(ctx, tx, "jane")
		if err != nil {
			return err
		}
		go func() { answered <- e.send("GET", back, nil, "Authorization", "", "Cookie", cookie) }()
		testenv.Eventually(t, testTime, func() error {
			var waiting bool
			err := db.DB.DB.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')").Scan(&waiting)
			if err == nil && !waiting {
				err = errors.New("not yet")
			}
			return err
		}, "this one waits")
		return dbmodel.SetSubject(ctx, tx, u.ID, p.Issuer(), "1")
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := <-answered; r.status != 303 || !strings.Contains(strings.Join(r.header.Values("Set-Cookie"), " "), "tocsin_session") {
		t.Errorf("answered %d: %s\n%s", r.status, r.text, e.log)
	}
}

func queryOf(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}
