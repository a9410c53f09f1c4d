package web_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestOwnPassword(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		const next = "another horse battery"
		e.withPassword("alex", false)
		e.withPassword("sam", false)
		cookie, _ := e.logIn("alex", goodPassword, "")
		elsewhere, _ := e.logIn("alex", goodPassword, "")
		asks := func(cookie string) int {
			return e.send("GET", "/products", nil, "Authorization", "", "Cookie", cookie).status
		}
		fields := url.Values{"username": {"sam"}, "password": {goodPassword}, "new": {next}, "repeated": {next}}
		for _, c := range [][2]string{{"password", "wrong"}, {"new", "short"}, {"repeated", "another one"}} {
			wrong := maps.Clone(fields)
			wrong.Set(c[0], c[1])
			if r := e.form("/password", wrong, "Cookie", cookie); r.status != 422 || strings.Contains(r.text, goodPassword) || strings.Contains(r.text, next) {
				t.Errorf("%s is %q: answered %d %s", c[0], c[1], r.status, r.text)
			}
		}
		if asks(elsewhere) != 200 {
			t.Error("what was refused has ended a session")
		}
		r := e.form("/password", fields, "Cookie", cookie)
		cookie, _, _ = strings.Cut(r.cookie("tocsin_session"), ";")
		if r.status != 303 || cookie == "" {
			t.Fatalf("answered %d: %s", r.status, r.text)
		}
		if r := e.send("GET", "/", nil, "Authorization", "", "Cookie", cookie); r.status != 200 || !strings.Contains(r.text, "Your password was changed.") {
			t.Errorf("the page after it: %d %s", r.status, r.text)
		}
		if asks(elsewhere) != 303 {
			t.Error("the other session goes on")
		}
		for name, password := range map[string]string{"alex": next, "sam": goodPassword} {
			if _, r := e.logIn(name, password, ""); r.status != 303 {
				t.Errorf("%s is answered %d", name, r.status)
			}
		}
		if _, r := e.logIn("alex", goodPassword, ""); r.status != 401 {
			t.Errorf("the password of before is answered %d", r.status)
		}
	})
}

// A session that somebody found open is no way to guess the password faster.
func TestOwnPasswordIsNotGuessed(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.withPassword("alex", false)
	cookie, _ := e.logIn("alex", goodPassword, "")
	waits := 0
	for range 10 {
		r := e.form("/password", url.Values{"password": {"wrong"}, "new": {goodPassword}, "repeated": {goodPassword}}, "Cookie", cookie)
		if r.status == http.StatusTooManyRequests && r.header.Get("Retry-After") != "" {
			waits++
		}
	}
	if waits < 3 {
		t.Errorf("of ten guesses %d had to wait", waits)
	}
}

func TestOwnPasswordOfWhoHasNone(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.user("alex", false)
	v := e.visitor("alex")
	if s := v.open("/password"); !strings.Contains(s.text(), "You have none") || len(s.all("form")) > 1 {
		t.Errorf("shown is %s", s.source)
	}
}
