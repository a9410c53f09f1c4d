package web_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/uptrace/bun"
	"golang.org/x/crypto/argon2"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/web"
)

const (
	goodPassword = "correct horse battery"
	formType     = "application/x-www-form-urlencoded"
)

// withPassword makes a user who can log in.
func (e *env) withPassword(name string, admin bool) int64 {
	e.t.Helper()
	id := e.user(name, admin)
	e.setPassword(id, goodPassword)
	return id
}

func (e *env) setPassword(id int64, password string) {
	e.t.Helper()
	salt, encode := []byte("salt of the test"), base64.RawStdEncoding.EncodeToString
	key := argon2.IDKey([]byte(password), salt, 1, 8, 1, 32) // a hash names its costs: these are the lowest
	hash := fmt.Sprintf("$argon2id$v=%d$m=8,t=1,p=1$%s$%s", argon2.Version, encode(salt), encode(key))
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error { return dbmodel.SetPassword(ctx, tx, id, hash) })
	if err != nil {
		e.t.Fatal(err)
	}
}

// form sends a form without any token.
func (e *env) form(path string, fields url.Values, header ...string) *reply {
	e.t.Helper()
	return e.send(http.MethodPost, path, fields.Encode(), append([]string{"Authorization", "", "Content-Type", formType}, header...)...)
}

// logIn returns the header Cookie of a new session.
func (e *env) logIn(name, password, next string) (cookie string, r *reply) {
	e.t.Helper()
	r = e.form("/login", url.Values{"username": {name}, "password": {password}, "next": {next}})
	cookie, _, _ = strings.Cut(r.cookie("tocsin_session"), ";")
	return cookie, r
}

// cookie is what an answer sets as the cookie with this name, with its attributes; empty: it sets none.
func (r *reply) cookie(name string) string {
	for _, c := range r.header.Values("Set-Cookie") {
		if strings.HasPrefix(c, "__Host-"+name+"=") {
			return c
		}
	}
	return ""
}

func TestLogIn(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.withPassword("alex", false)
		r := e.send("GET", "/products?q=x", nil, "Authorization", "")
		if to := r.header.Get("Location"); r.status != 303 || to != "/login?next=%2Fproducts%3Fq%3Dx" {
			t.Fatalf("a stranger is answered %d, to %s", r.status, to)
		}
		cookie, r := e.logIn("alex", goodPassword, "/products?q=x")
		if r.status != 303 || r.header.Get("Location") != "/products?q=x" {
			t.Fatalf("%d to %s: %s", r.status, r.header.Get("Location"), r.text)
		}
		for _, name := range []string{"tocsin_session", "tocsin_known"} {
			for _, attribute := range []string{"; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age="} {
				if !strings.Contains(r.cookie(name), attribute) {
					t.Errorf("the cookie lacks %q: %s", attribute, r.cookie(name))
				}
			}
		}
		if r := e.send("GET", "/products", nil, "Authorization", "", "Cookie", cookie); r.status != 200 {
			t.Errorf("with the session: %d", r.status)
		}
		if r := e.send("GET", "/login?next=/products", nil, "Authorization", "", "Cookie", cookie); r.status != 303 || r.header.Get("Location") != "/products" {
			t.Errorf("who has logged in is asked again: %d", r.status)
		}
		e.want(200, "GET", "/api/v1/notifications/unread-count", nil, "Authorization", "", "Cookie", cookie)
		if r := e.form("/logout", nil, "Cookie", cookie); r.status != 303 || !strings.Contains(r.header.Get("Set-Cookie"), "Max-Age=0") {
			t.Errorf("log out: %d %s", r.status, r.header.Get("Set-Cookie"))
		}
		e.want(401, "GET", "/api/v1/notifications/unread-count", nil, "Authorization", "", "Cookie", cookie)
	})
}

func TestLogInLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.withPassword("alex", false)
	for _, next := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "javascript:alert(1)", "/login", "x", "", "/\t/evil.example", "/%zz"} {
		if _, r := e.logIn("alex", goodPassword, next); r.status != 303 || r.header.Get("Location") != "/" {
			t.Errorf("%q leads to %d %q", next, r.status, r.header.Get("Location"))
		}
	}
}

func TestWrongLogIn(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.withPassword("alex", false)
	e.user("nopassword", false)
	var texts []string
	for _, c := range [][2]string{{"alex", "wrong"}, {"nobody", goodPassword}, {"nopassword", ""}, {"automation", ""}, {"", ""}, {"ALEX", goodPassword}, {"a\x00b", "x"}} {
		cookie, r := e.logIn(c[0], c[1], "/products")
		if r.status != 401 || cookie != "" {
			t.Errorf("%q is answered %d, cookie %q", c[0], r.status, cookie)
		}
		texts = append(texts, strings.ReplaceAll(r.text, `value="`+c[0]+`"`, `value=""`))
	}
	for _, text := range texts[:4] {
		if text != texts[0] {
			t.Errorf("the answers show which users exist:\n%s\n%s", texts[0], text)
		}
	}
	// Guessing is slowed down for this name; the right password waits, too, and others do not.
	waits := 0
	for range 10 {
		if _, r := e.logIn("alex", "wrong", ""); r.status == http.StatusTooManyRequests {
			waits++
			if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 {
				t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
			}
		}
	}
	if waits < 3 {
		t.Errorf("of ten guesses %d had to wait", waits)
	}
	e.withPassword("sam", false)
	if _, r := e.logIn("sam", goodPassword, ""); r.status != 303 {
		t.Errorf("another user is answered %d", r.status)
	}
}

// Where the browser keeps no cookie because it came without TLS, the page to log in says so instead of coming back without a word.
func TestLogInWithoutTLS(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.withPassword("alex", false)
	r := e.form("/login", url.Values{"username": {"alex"}, "password": {goodPassword}, "next": {"/products"}}, "Origin", e.server.URL)
	back := r.header.Get("Location")
	if r.status != 303 || back != "/login?in=yes&next=%2Fproducts" {
		t.Fatalf("%d to %s", r.status, back)
	}
	if page := e.send("GET", back, nil, "Authorization", ""); !strings.Contains(page.text, "your browser did not keep the session: it does so at https://tocsin.example only.") {
		t.Errorf("the page says %s", page.text)
	}
	cookie, _, _ := strings.Cut(r.cookie("tocsin_session"), ";")
	if r := e.send("GET", back, nil, "Authorization", "", "Cookie", cookie); r.status != 303 || r.header.Get("Location") != "/products" {
		t.Errorf("who came in is answered %d, to %s", r.status, r.header.Get("Location"))
	}
}

// Who guesses at a name, from the same address or any other, shuts nobody out of a browser in which they have logged in before.
func TestGuessingShutsNobodyOut(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.withPassword("alex", false)
	e.withPassword("sam", false)
	known := func(name string) string {
		_, r := e.logIn(name, goodPassword, "")
		cookie, _, _ := strings.Cut(r.cookie("tocsin_known"), ";")
		return cookie
	}
	alex, sam := known("alex"), known("sam")
	guess := func(password, cookie string) *reply {
		return e.form("/login", url.Values{"username": {"alex"}, "password": {password}}, "Cookie", cookie)
	}
	for range 10 {
		guess("wrong", "")
	}
	for why, cookie := range map[string]string{"a stranger": "", "somebody else": sam, "a forged one": alex[:len(alex)-1] + "x"} {
		if r := guess(goodPassword, cookie); r.status != http.StatusTooManyRequests {
			t.Errorf("the browser of %s is answered %d", why, r.status)
		}
	}
	if r := guess(goodPassword, alex); r.status != 303 || !strings.HasPrefix(r.cookie("tocsin_known"), alex) {
		t.Errorf("the known one is answered %d", r.status)
	}
	for range 10 {
		guess("wrong", alex)
	}
	if r := guess(goodPassword, alex); r.status != http.StatusTooManyRequests {
		t.Errorf("after ten guesses the known one is answered %d", r.status)
	}
}

// A session ends with its user, with another password, and when it has expired.
func TestSessionEnds(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		id := e.withPassword("alex", true)
		ended := func(why, cookie string) {
			t.Helper()
			if r := e.send("GET", "/", nil, "Authorization", "", "Cookie", cookie); r.status != 303 {
				t.Errorf("%s: answered %d", why, r.status)
			}
			e.want(401, "GET", "/api/v1/notifications", nil, "Authorization", "", "Cookie", cookie)
		}
		cookie, _ := e.logIn("alex", goodPassword, "")
		e.setPassword(id, "another password")
		ended("another password", cookie)
		cookie, _ = e.logIn("alex", "another password", "")
		past := "now() - interval '1 second'"
		if _, err := e.db.DB.DB.ExecContext(t.Context(), "UPDATE sessions SET expires_at = "+past); err != nil {
			if _, err := e.db.DB.DB.ExecContext(t.Context(), "UPDATE sessions SET expires_at = 1"); err != nil {
				t.Fatal(err)
			}
		}
		ended("expired", cookie)
		if n, err := dbmodel.DeleteOldSessions(t.Context(), e.db); err != nil || n != 1 {
			t.Errorf("cleaned up %d, %v", n, err)
		}
		cookie, _ = e.logIn("alex", "another password", "")
		err := e.db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteUser(ctx, tx, id) })
		if err != nil {
			t.Fatal(err)
		}
		ended("the user is gone", cookie)
	})
}

// A form that comes too late is not lost without a word: one logs in, and comes back to it.
func TestFormAfterSession(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.shop()
	v := e.visitor("owner")
	p := v.open("/products/1?members=")
	e.exec("DELETE FROM sessions")
	p = v.send(p, "Save", url.Values{"notification_email_to": {"alex@example.com"}})
	p.says("You are not logged in any more, so nothing was saved.")
	if p.value("next") != "/products/1?members=" || e.want(200, "GET", "/api/v1/products/1", nil).json["notification_email_to"] != "" {
		t.Errorf("it leads back to %q", p.value("next"))
	}
	for referer, next := range map[string]string{"https://tocsin.example//evil.example": "/login?unsaved=yes", "": "/login?unsaved=yes", "https://tocsin.example/settings#x": "/login?next=%2Fsettings&unsaved=yes"} {
		if to := e.form("/settings", nil, "Referer", referer).header.Get("Location"); strings.Replace(to, "next=%2F&", "", 1) != next {
			t.Errorf("from %q it leads to %s", referer, to)
		}
	}
	v.open("/products").saysNot("nothing was saved")
}

// The stream of a session ends when the session does.
func TestStreamEndsWithSession(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	id := e.withPassword("alex", false)
	cookie, _ := e.logIn("alex", goodPassword, "")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.server.URL+"/api/v1/notifications/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	res, err := e.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	events := newEvents(res)
	if _, err := events.next(); err != nil {
		t.Fatal(err)
	}
	e.setPassword(id, "another password")
	testenv.Eventually(t, testTime, func() error {
		if _, err := events.next(); err == nil {
			return http.ErrBodyNotAllowed
		}
		return nil
	}, "the stream ends")
}

// What a page of another site sends with the cookie of somebody changes nothing.
func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.withPassword("alex", true)
	cookie, _ := e.logIn("alex", goodPassword, "")
	from := []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}
	for _, path := range []string{"/logout", "/notifications/viewed", "/login"} {
		if r := e.form(path, url.Values{"username": {"alex"}, "password": {goodPassword}}, from...); r.status != 403 || r.header.Get("Set-Cookie") != "" {
			t.Errorf("%s is answered %d", path, r.status)
		}
	}
	e.want(403, "POST", "/api/v1/notifications/viewed", map[string]any{"ids": []int{}}, append(from, "Authorization", "")...)
	e.want(204, "POST", "/api/v1/notifications/viewed", map[string]any{"ids": []int{}}, "Authorization", "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
	// A token is sent by programs alone.
	e.want(204, "POST", "/api/v1/notifications/viewed", map[string]any{"ids": []int{}}, "Sec-Fetch-Site", "cross-site")
}

// The link makes one administrator while there is none, whatever other users exist.
func TestSetup(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		const token = "the-token-of-the-one-time-link"
		e := newEnv(t, db, func(c *web.Config) { c.SetupToken = token })
		if r := e.send("GET", "/setup?token=wrong", nil, "Authorization", ""); r.status != 404 {
			t.Errorf("a wrong token is answered %d", r.status)
		}
		if r := e.send("GET", "/setup?token="+token, nil, "Authorization", ""); r.status != 200 {
			t.Fatalf("the link is answered %d: %s", r.status, r.text)
		}
		fields := url.Values{"token": {token}, "username": {"root"}, "password": {goodPassword}, "repeated": {goodPassword}}
		for name, value := range map[string]string{"username": "automation", "password": "short", "repeated": "another one"} {
			wrong := maps.Clone(fields)
			wrong.Set(name, value)
			if r := e.form("/setup", wrong); r.status != 422 || strings.Contains(r.text, goodPassword) {
				t.Errorf("%s %s is answered %d: %s", name, value, r.status, r.text)
			}
		}
		for _, name := range []string{"scanner", "reader"} { // they keep the link alive, and their names
			e.want(200, "PUT", "/api/v1/users/"+name, map[string]any{"full_name": name})
			taken := maps.Clone(fields)
			taken.Set("username", name)
			if r := e.form("/setup", taken); r.status != 422 || !strings.Contains(r.text, "already") {
				t.Errorf("the name of a user is answered %d: %s", r.status, r.text)
			}
		}
		e.withPassword("early", false)
		early, _ := e.logIn("early", goodPassword, "")
		if r := e.send("GET", "/", nil, "Authorization", "", "Cookie", early); !strings.Contains(r.text, "There is no administrator yet") {
			t.Errorf("the inbox of an installation without an administrator: %s", r.text)
		}
		if r := e.send("GET", "/setup?token="+fields.Get("token"), nil, "Authorization", ""); !strings.Contains(r.text, "has no administrator yet") {
			t.Errorf("beside other users the page says: %s", r.text)
		}
		r := e.form("/setup", fields)
		cookie, _, _ := strings.Cut(r.header.Get("Set-Cookie"), ";")
		if r.status != 303 || cookie == "" {
			t.Fatalf("answered %d: %s", r.status, r.text)
		}
		e.want(200, "GET", "/api/v1/settings", nil, "Authorization", "", "Cookie", cookie)
		if r := e.form("/setup", fields); r.status != 404 || !strings.Contains(r.text, "not valid any more") || !strings.Contains(r.text, "user add NAME --admin") ||
			strings.Contains(r.text, "make you a member") {
			t.Errorf("the second time it is answered %d: %s", r.status, r.text)
		}
		e.want(204, "DELETE", "/api/v1/users/root", nil)
		if r := e.form("/setup", fields); r.status != 404 {
			t.Errorf("once the first administrator is deleted it is answered %d", r.status)
		}
	})
}
