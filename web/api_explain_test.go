package web_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

const slackShown = "https://hooks.slack.com/…a1b2"

// explain asks about observation 1 and answers the decision and the recipients, each as "channel target source recipient reason".
func (e *env) explain(who ...string) (r *reply, decision string, targets []string) {
	e.t.Helper()
	r = e.want(200, "GET", "/api/v1/observations/1/explain", nil, who...)
	decision, targets = explained(r.json)
	return r, decision, targets
}

func explained(m map[string]any) (decision string, targets []string) {
	for _, i := range m["recipients"].([]any) {
		x := i.(map[string]any)
		targets = append(targets, strings.TrimSpace(fmt.Sprintf("%v %v %v %v %v", x["channel"], x["target"], x["source"].(map[string]any)["kind"], x["recipient"], x["reason"])))
	}
	return m["decision"].(string), targets
}

// observe stores the observation.
func (e *env) observe(more map[string]any) {
	e.t.Helper()
	e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, more)+`]}`)
}

// remember stores what was last notified of the observation, as an evaluation would.
func (e *env) remember(v *rule.Values) {
	e.t.Helper()
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		return dbmodel.Remember(ctx, tx, []int64{1}, []*rule.Values{v})
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// TestExplain goes through the usual answers to "why was I not notified?".
func TestExplain(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(404, "GET", "/api/v1/observations/1/explain", nil)
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"name":"Payments"}`)
		e.want(200, "PUT", "/api/v1/products/1", `{"name":"API","product_group_id":1}`)
		e.observe(map[string]any{"severity": "Medium", "priority": 7})
		group := func(body any) { e.t.Helper(); e.want(200, "PUT", "/api/v1/product-groups/1", body) }
		product := func(body any) { e.t.Helper(); e.want(200, "PUT", "/api/v1/products/1", body) }
		decides := func(want string) []string {
			t.Helper()
			_, got, targets := e.explain()
			if got != want {
				t.Errorf("decision\n got %s\nwant %s", got, want)
			}
			return targets
		}
		const nobody = " No recipient: neither an email address nor a webhook is set."
		decides("Not notified: no condition is set for product API, nor for group Payments." + nobody)
		group(`{"observation_notification_min_severity":"High"}`)
		decides("Not notified: Medium is below High, which group Payments asks for." + nobody)
		product(`{"observation_notification_min_priority":5,"observation_notification_statuses":["Affected","Resolved"]}`)
		decides("Not notified: Medium is below High, which group Payments asks for; Open is none of Affected, Resolved, which product API asks for; " +
			"priority 7 is less urgent than 5, which product API asks for." + nobody)
		r, _, _ := e.explain()
		conditions := r.json["conditions"].([]any)
		if diff := cmp.Diff(map[string]any{"name": "min_severity", "limit": "High", "source": "product_group", "value": "Medium", "met": false}, conditions[0]); diff != "" {
			t.Errorf("condition (-want +got):\n%s", diff)
		}
		if len(conditions) != 3 || r.json["matches"] != false || r.json["is_set"] != true || r.json["event"] != nil || r.json["remembered"] != nil {
			t.Errorf("%s", r.text)
		}

		// Recipients: email without a sender, then without a server.
		product(map[string]any{"observation_notification_min_priority": nil, "observation_notification_statuses": nil, "notification_email_to": "a@example.com"})
		e.observe(map[string]any{"severity": "High", "priority": 7})
		const isNew = "Notified as new at its next evaluation: every condition is met, and nothing was notified of it before."
		want := []string{"email a@example.com product false The setting email_from is empty: without it no email is sent."}
		if diff := cmp.Diff(want, decides(isNew+" No recipient: The setting email_from is empty: without it no email is sent.")); diff != "" {
			t.Error(diff)
		}
		e.want(200, "PATCH", "/api/v1/settings", `{"email_from":"tocsin@example.com"}`)
		group(map[string]any{"notification_slack_webhook": slackURL, "notification_email_to": "group@example.com"})
		want = []string{
			"email a@example.com product false Email is not configured: set MAILGUN_DOMAIN and MAILGUN_API_KEY, or SMTP_URL.",
			"slack " + slackShown + " product_group true",
		}
		if diff := cmp.Diff(want, decides(isNew)); diff != "" {
			t.Error(diff)
		}
		r, _, _ = e.explain()
		for i, want := range []map[string]any{
			{"kind": "product", "id": 1.0, "name": "API"}, {"kind": "product_group", "id": 1.0, "name": "Payments"},
		} {
			if diff := cmp.Diff(want, r.json["recipients"].([]any)[i].(map[string]any)["source"]); diff != "" {
				t.Errorf("source (-want +got):\n%s", diff)
			}
		}
		group(`{"notification_paused_until":"2099-01-01T00:00:00Z"}`)
		decides(isNew + " No recipient: notifications of group Payments are paused.")
		group(`{"notification_paused_until":null}`)

		// It was notified before.
		e.remember(&rule.Values{Severity: rule.High, Status: rule.Open, Priority: new(7)})
		decides("Not notified again: it was notified as it is, High, Open, priority 7.")
		e.observe(map[string]any{"severity": "Critical"})
		decides("Notified as changed at its next evaluation: it was last notified as High, Open, priority 7.")
		e.observe(map[string]any{"status": "Resolved"})
		decides("Notified as dropped at its next evaluation: it was last notified as High, Open, priority 7, and now Resolved is not an active status.")
		if r, _, _ := e.explain(); r.json["event"] != "dropped" || r.json["remembered"].(map[string]any)["severity"] != "High" {
			t.Errorf("%s", r.text)
		}
		product(`{"observation_notification_min_priority":5}`)
		e.remember(nil)
		e.observe(nil)
		decides("Not notified: it has no priority, and product API asks for 5 or more urgent.")
	})
}

func TestExplainTitle(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		e.observe(nil)
		e.user("alex", false)
		e.member(dbmodel.InProduct(1), "alex", rule.Reader)
		title := func() (string, []string) {
			t.Helper()
			r, _, _ := e.explain()
			return explained(r.json["title"].(map[string]any))
		}
		if got, _ := title(); !strings.HasPrefix(got, "Not notified: no condition for observation titles is set in the settings.") {
			t.Error(got)
		}
		e.want(200, "PATCH", "/api/v1/settings", map[string]any{"observation_title_notification_parser_type": "DAST", "observation_title_notification_slack_webhook": slackURL})
		got, targets := title()
		r, _, _ := e.explain()
		source := r.json["title"].(map[string]any)["recipients"].([]any)[0].(map[string]any)["source"]
		if diff := cmp.Diff(map[string]any{"kind": "settings", "id": nil, "name": ""}, source); diff != "" {
			t.Errorf("source (-want +got):\n%s", diff)
		}
		if got != "Not notified: SCA is not DAST, which the settings ask for." {
			t.Error(got)
		}
		if diff := cmp.Diff([]string{"slack " + slackShown + " settings true"}, targets); diff != "" {
			t.Error(diff)
		}
		e.want(200, "PATCH", "/api/v1/settings", `{"observation_title_notification_parser_type":"SCA"}`)
		if got, _ := title(); !strings.HasPrefix(got, "Notified as new") {
			t.Error(got)
		}
		if r, _, _ := e.explain(e.as("alex")...); r.json["title"] != nil || r.json["product"].(map[string]any)["name"] != "product 1" {
			t.Errorf("a member sees: %s", r.text)
		}
	})
}

// TestLookAlikeAddress: a maintainer of one product cannot take over the mail of another one with an address that looks
// like its own.
func TestLookAlikeAddress(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		e.product(2)
		e.user("mallory", false)
		e.member(dbmodel.InProduct(2), "mallory", rule.Maintainer)
		for _, address := range []string{"ciso@vİctim.example", "ciso@victim.e\u212aample", "ciso@ｖictim.example", "ciso@victim\u3002example"} {
			r := e.want(422, "PUT", "/api/v1/products/2", map[string]any{"notification_email_to": address}, e.as("mallory")...)
			if !strings.Contains(r.text, "stands for another one") {
				t.Errorf("%q: %s", address, r.text)
			}
		}
		e.want(200, "PUT", "/api/v1/products/2", `{"notification_email_to":"CISO@Victim.example"}`, e.as("mallory")...)
		e.want(200, "PUT", "/api/v1/products/1", `{"notification_email_to":"ciso@victim.example"}`)
		for id, address := range map[int64]string{1: "ciso@victim.example", 2: "CISO@Victim.example"} {
			e.want(202, "POST", postPath, `{"observations":[`+observation(id, id, nil)+`]}`)
			r := e.want(200, "GET", fmt.Sprintf("/api/v1/observations/%d/explain", id), nil)
			if _, targets := explained(r.json); len(targets) != 1 || !strings.HasPrefix(targets[0], "email "+address+" ") {
				t.Errorf("product %d: %q", id, targets)
			}
			results, _ := results(e.want(200, "POST", fmt.Sprintf("/api/v1/products/%d/test-notification", id), nil))
			if len(results) != 1 || results[0] != "email "+address+" false" {
				t.Errorf("product %d: %q", id, results)
			}
		}
	})
}
