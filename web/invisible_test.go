package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestInvisibleCharacters: at the ends of an address they are cut; within it the error names the first one and its position.
func TestInvisibleCharacters(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	const path = "/api/v1/products/7"
	got := e.want(200, "PUT", path, map[string]any{
		"name": "Payments", "notification_slack_webhook": "\u200b" + slackURL + "\ufeff",
		"notification_email_to": "\u200ba@example.com, b@example.com\u2060",
	}).json
	if got["notification_slack_webhook"] != "https://hooks.slack.com/…a1b2" || got["notification_email_to"] != "a@example.com,b@example.com" {
		t.Errorf("got %v", got)
	}
	e.want(200, "PATCH", settingsPath, map[string]any{"email_from": "Tocsin <tocsin@example.com>\u200b"})
	e.want(200, "PUT", "/api/v1/users/alex", map[string]any{"email": "\u2060alex@example.com\u200b", "full_name": "Alex \ufeff"})
	for _, c := range []struct{ method, path, field, value, want string }{
		{"PUT", path, "notification_slack_webhook", "https://hooks.slack.com/\u200bx", "has an invisible character (U+200B) at position 25"},
		{"PATCH", settingsPath, "email_from", "Tocsin <toc\u200bsin@example.com>", "has an invisible character (U+200B) at position 12"},
		{"PUT", "/api/v1/users/alex", "email", "al\u2060ex@example.com", "has an invisible character (U+2060) at position 3"},
		{"PUT", "/api/v1/users/alex", "full_name", "Alex\u202e Example", "has an invisible character (U+202E) at position 5"},
	} {
		if faults := e.want(422, c.method, c.path, map[string]any{c.field: c.value}).faults(); faults[c.field] != c.want {
			t.Errorf("%s: got %v, want %q", c.field, faults, c.want)
		}
	}
}

// TestNamesOfUsers: each door names the character that no name may have, and its position, and takes a name without what copying
// leaves at its ends.
func TestNamesOfUsers(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.product(1)
	e.withPassword("boss", true)
	cookie, _ := e.logIn("\u200bboss\ufeff ", goodPassword, "/")
	if cookie == "" {
		t.Error("a name with invisible characters at its ends does not log in")
	}
	browser := e.visitor("boss")
	for _, c := range []struct{ name, want string }{
		{"al\u200bex", "U+200B at position 3"},
		{"\u0430lex", "U+0430 at position 1"}, // Cyrillic
		{"alex\u202e", "U+202E at position 5"},
		{"ale\u212a", "U+212A at position 4"},
		{"al\u00a0ex", "U+00A0 at position 3"},
		{"al ex", "U+0020 at position 3"},
		{"..", "and not . or .. alone"},
		{strings.Repeat("a", 151), "must be 1 to 150"},
	} {
		path := "/api/v1/users/" + strings.ReplaceAll(url.PathEscape(c.name), ".", "%2E")
		if got := e.want(422, "PUT", path, map[string]any{}).faults()["path.username"]; !strings.Contains(got, c.want) {
			t.Errorf("PUT %q: %q", c.name, got)
		}
		if r := e.form("/login", url.Values{"username": {"x" + c.name + "x"}, "password": {goodPassword}}); !strings.Contains(c.want, "alone") &&
			(r.status != 401 || !strings.Contains(r.text, "must be 1 to 150 letters")) {
			t.Errorf("login as %q: %d", c.name, r.status)
		}
		inner := strings.TrimSuffix(c.name, "\u202e")
		if inner != c.name {
			continue // a form cuts it
		}
		for _, form := range []string{"/users", "/products/1/members"} {
			s := browser.ask(http.MethodPost, form, url.Values{"username": {c.name}, "role": {"reader"}})
			if s.status != 422 || !strings.Contains(s.text(), c.want) {
				t.Errorf("%s with %q: %d %s", form, c.name, s.status, s.text())
			}
		}
	}
}
