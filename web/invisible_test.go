package web_test

import "testing"

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
