package web_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/web"
	"github.com/seed91453169/tocsin/web/login"
)

// forger is a provider that claims what a test sets.
type forger struct {
	*httptest.Server
	key    *rsa.PrivateKey // that it publishes
	sign   *rsa.PrivateKey // that it signs with; nil: the token says that it is not signed
	claims map[string]any
	info   map[string]any // what UserInfo answers; nil: 500
}

func newForger(t *testing.T) *forger {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{key: key}
	mux := http.NewServeMux()
	answer := func(path string, body func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(body())
		})
	}
	answer("/.well-known/openid-configuration", func() any {
		return map[string]any{
			"issuer": f.URL, "authorization_endpoint": f.URL + "/authorize", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/keys",
			"userinfo_endpoint":                     f.URL + "/userinfo",
			"id_token_signing_alg_values_supported": []string{"RS256", "none"},
		}
	})
	answer("/keys", func() any {
		return map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "alg": "RS256", "use": "sig", "n": encoded(key.N.Bytes()), "e": encoded(big.NewInt(int64(key.E)).Bytes()),
		}}}
	})
	answer("/token", func() any {
		return map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": f.token(t)}
	})
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, r *http.Request) {
		if f.info == nil || r.Header.Get("Authorization") != "Bearer x" {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(f.info)
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *forger) token(t *testing.T) string {
	alg, signature := "none", []byte(nil)
	if f.sign != nil {
		alg = "RS256"
	}
	claims, err := json.Marshal(f.claims)
	text := encoded(fmt.Appendf(nil, `{"alg":%q}`, alg)) + "." + encoded(claims)
	if err == nil && f.sign != nil {
		hash := sha256.Sum256([]byte(text))
		signature, err = rsa.SignPKCS1v15(rand.Reader, f.sign, crypto.SHA256, hash[:])
	}
	if err != nil {
		t.Error(err)
	}
	return text + "." + encoded(signature)
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// What the provider says counts only where it is said by this provider, to us, now and for this login.
func TestOIDCForged(t *testing.T) {
	t.Parallel()
	f := newForger(t)
	e := newEnv(t, testenv.SQLiteDB(t), func(c *web.Config) {
		c.OIDC = &login.OIDC{Issuer: f.URL, ClientID: "tocsin", ClientSecret: "verysecret"}
	})
	another, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		why    string
		status int
		forge  func()
	}{
		{"nothing is wrong", 303, func() {}},
		{"for somebody else", 502, func() { f.claims["aud"] = "another" }},
		{"of another provider", 502, func() { f.claims["iss"] = "https://another.example" }},
		{"too old", 502, func() { f.claims["exp"] = time.Now().Add(-time.Hour).Unix() }},
		{"without an end", 502, func() { delete(f.claims, "exp") }},
		{"of another login", 502, func() { f.claims["nonce"] = "another" }},
		{"of no login", 502, func() { delete(f.claims, "nonce") }},
		{"about nobody", 502, func() { delete(f.claims, "sub") }},
		{"not signed", 502, func() { f.sign = nil }},
		{"signed by somebody else", 502, func() { f.sign = another }},
	} {
		r := e.send("GET", "/login/oidc?next=/products", nil, "Authorization", "")
		cookie, _, _ := strings.Cut(r.header.Get("Set-Cookie"), ";")
		there := queryOf(t, r.header.Get("Location"))
		f.sign, f.claims = f.key, map[string]any{
			"iss": f.URL, "aud": "tocsin", "sub": "1", "exp": time.Now().Add(time.Hour).Unix(), "nonce": there.Get("nonce"), "preferred_username": "jane",
		}
		c.forge()
		r = e.send("GET", "/login/oidc/callback?code=x&state="+there.Get("state"), nil, "Authorization", "", "Cookie", cookie)
		session := strings.Contains(strings.Join(r.header.Values("Set-Cookie"), " "), "tocsin_session")
		if r.status != c.status || session != (c.status == 303) {
			t.Errorf("%s: answered %d: %s\n%s", c.why, r.status, r.text, e.log)
		}
		if c.status != 303 && !strings.Contains(r.text, `name="next" value="/products"`) {
			t.Errorf("%s: what was wanted is forgotten: %s", c.why, r.text)
		}
	}
}

// Claims that the ID token lacks come from UserInfo, if it is about the same user; a claim that is no text is passed over.
func TestOIDCUserInfo(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		f := newForger(t)
		e := newEnv(t, db, func(c *web.Config) {
			c.OIDC = &login.OIDC{Issuer: f.URL, ClientID: "tocsin", ClientSecret: "verysecret"}
		})
		logIn := func(claims, info map[string]any) (status int, user *dbmodel.User) {
			t.Helper()
			r := e.send("GET", "/login/oidc", nil, "Authorization", "")
			cookie, _, _ := strings.Cut(r.header.Get("Set-Cookie"), ";")
			there := queryOf(t, r.header.Get("Location"))
			f.sign, f.info = f.key, info
			f.claims = map[string]any{
				"iss": f.URL, "aud": "tocsin", "exp": time.Now().Add(time.Hour).Unix(), "nonce": there.Get("nonce"),
			}
			maps.Copy(f.claims, claims)
			r = e.send("GET", "/login/oidc/callback?code=x&state="+there.Get("state"), nil, "Authorization", "", "Cookie", cookie)
			if r.status != 303 {
				return r.status, nil
			}
			user, err := dbmodel.UserBySubject(t.Context(), db, f.URL, claims["sub"].(string))
			if err != nil {
				t.Fatal(err)
			}
			return r.status, user
		}
		for _, c := range []struct {
			why          string
			claims, info map[string]any
			status       int
			name, full   string
		}{
			{"nothing but sub in the ID token", map[string]any{"sub": "1"}, map[string]any{"sub": "1", "preferred_username": "jane", "name": "Jane Roe"}, 303, "jane", "Jane Roe"},
			{"the ID token comes first", map[string]any{"sub": "2", "preferred_username": "kim"}, map[string]any{"sub": "2", "preferred_username": "x", "name": "Kim"}, 303, "kim", "Kim"},
			{"about another user", map[string]any{"sub": "3"}, map[string]any{"sub": "1", "preferred_username": "jane"}, 502, "", ""},
			{"without an answer, unknown", map[string]any{"sub": "4"}, nil, 502, "", ""},
			{"without an answer, known", map[string]any{"sub": "1"}, nil, 303, "jane", "Jane Roe"},
			{"without an answer, named", map[string]any{"sub": "5", "preferred_username": "lee"}, nil, 303, "lee", ""},
			{"a number", map[string]any{"sub": "6", "preferred_username": 7, "name": []string{"x"}}, map[string]any{"sub": "6"}, 303, "user", ""},
			{"no text at UserInfo either", map[string]any{"sub": "7"}, map[string]any{"sub": "7", "preferred_username": true}, 303, "user-2", ""},
		} {
			status, user := logIn(c.claims, c.info)
			if status != c.status {
				t.Errorf("%s: answered %d instead of %d\n%s", c.why, status, c.status, e.log)
			} else if user != nil && (user.Username != c.name || user.FullName != c.full) {
				t.Errorf("%s: %s (%s)", c.why, user.Username, user.FullName)
			}
		}
		for i := range 30 { // any number of users without a usable name
			sub := fmt.Sprintf("many-%d", i)
			if status, user := logIn(map[string]any{"sub": sub}, map[string]any{"sub": sub}); status != 303 || user.IsAdmin {
				t.Fatalf("user %d without a name: answered %d\n%s", i, status, e.log)
			}
		}
	})
}
