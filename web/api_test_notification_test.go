package web_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// results are "channel target ok" and the messages of a test.
func results(r *reply) (got, messages []string) {
	for _, i := range r.json["results"].([]any) {
		m := i.(map[string]any)
		got = append(got, fmt.Sprintf("%v %v %v", m["channel"], m["target"], m["ok"]))
		messages = append(messages, m["message"].(string))
	}
	return got, messages
}

func TestTestNotificationOfProduct(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		far := newWebhooks(t)
		const path = "/api/v1/products/1/test-notification"
		e.want(404, "POST", path, nil)
		e.product(1)
		if got := e.want(200, "POST", path, nil); len(got.json["results"].([]any)) != 0 {
			t.Errorf("nothing is set: %s", got.text)
		}
		e.want(200, "PUT", "/api/v1/product-groups/1", map[string]any{"name": "group", "notification_slack_webhook": far.URL + "/verysecret/from-the-group"})
		e.want(200, "PUT", "/api/v1/products/1", map[string]any{"product_group_id": 1, "notification_email_to": "a@example.com, A@example.com", "notification_ms_teams_webhook": far.URL + "/verysecret/teams"})
		got, messages := results(e.want(200, "POST", path, `{}`))
		want := []string{"email a@example.com false", "ms_teams " + far.URL + "/…eams true", "slack " + far.URL + "/…roup true"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if messages[0] != "The setting email_from is empty: without it no email is sent." || messages[2] != "The message was sent." {
			t.Errorf("%q", messages)
		}
		if far.count("/verysecret/teams") != 1 || far.count("/verysecret/from-the-group") != 1 {
			t.Errorf("received: %v", far.got)
		}
		far.status.Store(404)
		got, messages = results(e.want(200, "POST", path, `{"channel":"slack"}`))
		if len(got) != 1 || got[0] != "slack "+far.URL+"/…roup false" || messages[0] == "" {
			t.Errorf("%q %q", got, messages)
		}
		if n := e.count("notifications", "true") + e.count("deliveries", "true"); n != 0 {
			t.Errorf("%d rows are stored by a test", n)
		}
		e.want(200, "PATCH", "/api/v1/settings", `{"email_from":"tocsin@example.com"}`)
		if _, messages := results(e.want(200, "POST", path, `{"channel":"email"}`)); messages[0] != "Email is not configured: set MAILGUN_DOMAIN and MAILGUN_API_KEY, or SMTP_URL." {
			t.Errorf("%q", messages)
		}
		e.want(422, "POST", path, `{"channel":"pigeon"}`)
		e.want(400, "POST", path, `{`)
	})
}

func TestTestNotificationOfSettings(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		far := newWebhooks(t)
		const path = "/api/v1/settings/test-notification"
		if got, _ := results(e.want(200, "POST", path, `{"channel":"slack"}`)); len(got) != 1 || got[0] != "slack  false" {
			t.Errorf("nothing is set: %q", got)
		}
		e.want(200, "PATCH", "/api/v1/settings", map[string]any{
			"exception_slack_webhook": far.URL + "/verysecret/same", "observation_title_notification_slack_webhook": far.URL + "/verysecret/same",
			"exception_ms_teams_webhook": far.URL + "/verysecret/teams",
		})
		if got, _ := results(e.want(200, "POST", path, nil)); len(got) != 2 {
			t.Errorf("%q: one that is set twice gets one", got)
		}
		if far.count("/verysecret/same") != 1 {
			t.Errorf("received: %v", far.got)
		}
	})
}
