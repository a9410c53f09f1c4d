package web_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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
