package web_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSettingsPage: every setting stands there, and a form that nobody touched changes nothing.
func TestSettingsPage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		e.want(200, "PATCH", "/api/v1/settings", map[string]any{
			"email_from": "Tocsin <tocsin@example.com>", "exception_slack_webhook": slackURL, "observation_title_notification_statuses": []string{"Open", "Resolved"},
			"observation_title_notification_parser_type": "SAST", "observation_title_notification_min_severity": "High", "observation_title_notification_min_priority": 3,
			"observation_url": "https://secobserve.example/#/observations/{id}/show", "digest_threshold": 0,
		})
		before := e.want(200, "GET", "/api/v1/settings", nil).json
		v := e.visitor("boss")
		p := v.follow(v.open("/products"), "Settings")
		for name := range before {
			p.field(name)
		}
		p.says("Default, and where it is left empty: 3600.", "seconds", "Set: "+slackShown, "None has run yet.")
		p = v.send(p, "Save", nil)
		p.says("Saved.")
		if diff := cmp.Diff(before, e.want(200, "GET", "/api/v1/settings", nil).json); diff != "" {
			t.Errorf("saved untouched (-before +after):\n%s", diff)
		}

		p = v.send(p, "Save", url.Values{"exception_rate_limit": {"-1"}, "cleanup_cron": {"often"}, "digest_threshold": {"7"}, "exception_slack_webhook": {"https://example.com/s3cr3t-of-the-webhook"}})
		p.says("Nothing was saved: 2 fields", "When to clean up must be a cron line", "Silence after an exception must be from 0 to 2592000.", "type it anew")
		if p.value("exception_rate_limit") != "-1" || p.value("cleanup_cron") != "often" || p.value("digest_threshold") != "7" || p.status != 422 {
			t.Errorf("what was typed is lost")
		}
		v.send(p, "Save", url.Values{"exception_rate_limit": {""}, "cleanup_cron": {""}, "member_notification_types": {""}, "exception_slack_webhook.remove": {"true"}}).says("Saved.")
		after := e.want(200, "GET", "/api/v1/settings", nil).json
		if after["exception_rate_limit"] != 3600.0 || after["cleanup_cron"] != "0 3 * * *" || after["digest_threshold"] != 7.0 || after["exception_slack_webhook"] != "" || len(after["member_notification_types"].([]any)) != 0 {
			t.Errorf("%v", after)
		}
	})
}

func TestSettingsPageTestsAndRuns(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		far := newWebhooks(t)
		e.want(200, "PATCH", "/api/v1/settings", map[string]any{"exception_slack_webhook": far.URL + "/verysecret/test"})
		e.exec("INSERT INTO periodic_tasks (task, slot, status, message, duration_ms, started_at) VALUES ('cleanup', ?, 'succeeded', '12 notifications deleted', 1500, ?)", time.Now(), time.Now())
		v := e.visitor("boss")
		p := v.open("/settings")
		p.says("cleanup", "1.5 s", "succeeded 12 notifications deleted")
		v.send(p, "by Slack", nil).says("The message was sent.")
		v.send(p, "by Email", nil).says("Nothing is set for this channel, so no message was sent.")
		if far.count("/verysecret/test") != 1 {
			t.Error("nothing came")
		}
	})
}

func TestUsersOnThePage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		v := e.visitor("boss")
		p := v.follow(v.open("/settings"), "Users and tokens")
		p.says("automation", "reserved", "boss")
		p = v.send(p, "Add", url.Values{"username": {"a b"}, "email": {"nowhere"}, "full_name": {"Alex Example"}})
		p.says("Name must be 1 to 150 letters", "Email must be one email address")
		if p.value("username") != "a b" || p.value("full_name") != "Alex Example" {
			t.Error("what was typed is lost")
		}
		v.send(p, "Add", url.Values{"username": {"boss"}, "email": {""}}).says("Name is taken")
		p = v.send(p, "Add", url.Values{"username": {"alex"}, "email": {"alex@example.com"}})
		p.says("The user alex was added.")
		p = v.send(p, "Save", url.Values{"is_admin": {"false", "true"}, "full_name": {"Alex"}})
		p.says("Saved.")
		if got := e.want(200, "GET", "/api/v1/users/alex", nil).json; got["is_admin"] != true || got["full_name"] != "Alex" || got["email"] != "alex@example.com" {
			t.Errorf("%v", got)
		}
		p = v.send(p, "Save", url.Values{"is_admin": {"false"}})
		if got := e.want(200, "GET", "/api/v1/users/alex", nil).json; got["is_admin"] != false {
			t.Errorf("%v", got)
		}
		v.send(p, "Generate a password", nil).says("The new password, shown this once:")
		v.send(p, "Delete alex", nil).says("Nothing was deleted")
		v.send(p, "Delete alex", url.Values{"sure": {"true"}}).says("The user alex was deleted.")
		e.want(404, "GET", "/api/v1/users/alex", nil)
		if got := v.ask("GET", "/users/alex", nil); got.status != 404 {
			t.Errorf("%d", got.status)
		}
	})
}

func TestTokensOnThePage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		e.user("alex", false)
		v := e.visitor("boss")
		p := v.send(v.open("/users/alex"), "Create a token", url.Values{"scope": {"ingest"}, "expires": {"2001-01-01T00:00"}})
		p.says("Good until is over already")
		if p.value("scope") != "ingest" {
			t.Error("what was chosen is lost")
		}
		p = v.send(p, "Create a token", url.Values{"expires": {"2099-01-01T00:00"}})
		p.says("The new token, shown this once:", "ingest")
		var token string
		for _, c := range p.all("code") {
			token = textOf(c)
		}
		if !strings.HasPrefix(token, "tocsin_") {
			t.Fatalf("the token is %q", token)
		}
		who := []string{"Authorization", "Bearer " + token}
		e.want(200, "GET", "/api/v1/products", nil, who...)
		e.want(403, "GET", "/api/v1/settings", nil, who...)
		p = v.open("/users/alex")
		if strings.Contains(p.source, token) {
			t.Error("it is shown again")
		}
		v.send(p, "Revoke", nil).says("The token was revoked")
		e.want(401, "GET", "/api/v1/products", nil, who...)
		for _, path := range []string{"tokens", "password"} {
			if got := v.ask("POST", "/users/automation/"+path, url.Values{"scope": {"user"}}); got.status != 403 {
				t.Errorf("%s of automation: %d", path, got.status)
			}
		}
	})
}

// A form takes what the API takes, by the same rules.
func TestFormsAreAsStrictAsTheAPI(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		v := e.visitor("boss")
		for name, texts := range map[string][]string{
			"email_from": {"x"}, "exception_email_to": {"x,"}, "exception_rate_limit": {"1.5"}, "digest_threshold": {"many"}, "delivery_give_up_hours": {"0"},
			"observation_title_notification_min_severity": {"Bad"}, "observation_title_notification_statuses": {"Open", "Shut"}, "product_url": {"javascript:alert(1)"},
			"observation_title_notification_parser_type": {"sca"}, "member_notification_types": {"exception"}, "exception_ms_teams_webhook": {"https://…/abcd"},
			"observation_title_notification_email_to": {"a\x00@example.com"},
		} {
			if got := v.ask("POST", "/settings", url.Values{name: texts}); got.status != 422 || !strings.Contains(got.text(), "Nothing was saved: one field") {
				b, _ := json.Marshal(texts)
				t.Errorf("%s %s is answered %d: %s", name, b, got.status, got.text())
			}
		}
	})
}
