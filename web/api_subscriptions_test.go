package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

// asUser sends a call as the user with this name and returns the answer's object.
func (e *env) asUser(name string, status int, method, path, body string) map[string]any {
	e.t.Helper()
	var sent any
	if body != "" {
		sent = body
	}
	r := e.send(method, "/api/v1"+path, sent, "Authorization", "Bearer "+e.token(name, dbmodel.ScopeUser))
	if r.status != status {
		e.t.Fatalf("%s %s %s: %d instead of %d: %s", method, path, body, r.status, status, r.text)
	}
	var out map[string]any
	_ = json.Unmarshal([]byte(r.text), &out) // a 204 has none
	return out
}

func TestSubscriptionIsAnswered(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/products/7", `{"name":"Payments"}`)
		e.user("root", true)
		got := e.asUser("root", 201, "POST", "/subscriptions", `{"product_id":7,"name":"Team","types":["observation","task"],"events":["new"],
			"parser_types":["SCA"],"min_severity":"High","statuses":["Open"],"min_priority":3,"known_exploited":true,
			"contacts":[{"channel":"webhook","address":"https://receiver.example/hooks/`+secrets[0]+`"},{"channel":"email","address":"Team@example.com"},
			{"channel":"slack","address":"`+slackURL+`"}],
			"schedule":"0 8 * * 1-5","timezone":"Europe/Berlin","immediate_min_severity":"Critical"}`)
		contacts := got["contacts"].([]any)
		webhook := contacts[0].(map[string]any)
		secret, _ := webhook["secret"].(string)
		if !strings.HasPrefix(secret, "whsec_") {
			t.Errorf("secret %q", secret)
		}
		delete(webhook, "secret")
		want := map[string]any{
			"id": got["id"], "name": "Team", "username": "", "product_id": 7.0, "product_group_id": nil, "types": []any{"observation", "task"},
			"events": []any{"new"}, "parser_types": []any{"SCA"}, "min_severity": "High", "statuses": []any{"Open"}, "min_priority": 3.0,
			"known_exploited": true, "schedule": "0 8 * * 1-5", "timezone": "Europe/Berlin", "immediate_min_severity": "Critical", "enabled": true,
			"contacts": []any{
				map[string]any{"id": webhook["id"], "channel": "webhook", "address": "https://receiver.example/…" + secrets[0][len(secrets[0])-4:], "disabled_at": nil},
				map[string]any{"id": contacts[1].(map[string]any)["id"], "channel": "email", "address": "Team@example.com", "disabled_at": nil},
				map[string]any{"id": contacts[2].(map[string]any)["id"], "channel": "slack", "address": "https://hooks.slack.com/…a1b2", "disabled_at": nil},
			},
		}
		path := fmt.Sprintf("/subscriptions/%.0f", got["id"])
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, e.asUser("root", 200, "GET", path, "")); diff != "" {
			t.Errorf("read (-want +got):\n%s", diff)
		}
		back, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, e.asUser("root", 200, "PATCH", path, string(back))); diff != "" {
			t.Errorf("sent back (-want +got):\n%s", diff)
		}
		list := e.asUser("root", 200, "GET", "/subscriptions?product_id=7", "")["items"].([]any)
		if diff := cmp.Diff([]any{want}, list); diff != "" {
			t.Errorf("list (-want +got):\n%s", diff)
		}
		rotated := e.asUser("root", 200, "POST", path+"/rotate-secret", fmt.Sprintf(`{"contact":%v}`, webhook["id"]))["secret"]
		if rotated == secret || !strings.HasPrefix(fmt.Sprint(rotated), "whsec_") {
			t.Errorf("rotated: %v", rotated)
		}
		e.asUser("root", 422, "POST", path+"/rotate-secret", fmt.Sprintf(`{"contact":%v}`, contacts[1].(map[string]any)["id"]))
		emptied := e.asUser("root", 200, "PATCH", path, `{"types":[],"events":"","statuses":null,"min_severity":"","min_priority":null,
			"known_exploited":null,"schedule":"","timezone":"","enabled":false,"product_id":null}`)
		for field, want := range map[string]any{
			"types": []any{}, "events": []any{}, "statuses": []any{}, "min_severity": "", "min_priority": nil, "known_exploited": false,
			"schedule": "", "timezone": "UTC", "enabled": false, "product_id": nil, "name": "Team",
		} {
			if diff := cmp.Diff(want, emptied[field]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", field, diff)
			}
		}
		e.asUser("root", 204, "DELETE", path, "")
		e.asUser("root", 404, "GET", path, "")
		if text := e.log.String(); strings.Contains(text, secrets[0]) || strings.Contains(text, secret) {
			t.Error("a secret is in the log")
		}
	})
}

func TestPersonalSubscription(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("alex", false)
		e.user("kim", false)
		e.want(200, "PUT", "/api/v1/users/alex", `{"email":"alex@example.com"}`)
		mine := e.asUser("alex", 201, "POST", "/subscriptions", `{"username":"me","contacts":[{"channel":"email"},{"channel":"email","address":"ALEX@example.com"}]}`)
		if mine["username"] != "alex" || mine["name"] != "Notifications for alex" {
			t.Errorf("mine: %v", mine)
		}
		path := fmt.Sprintf("/subscriptions/%.0f", mine["id"])
		e.asUser("kim", 404, "GET", path, "")
		e.asUser("kim", 404, "PATCH", path, `{"enabled":false}`)
		e.asUser("alex", 422, "PATCH", path, `{"username":"kim"}`)
		e.asUser("alex", 200, "PATCH", path, `{"username":"me","enabled":false}`)
		if list := e.asUser("alex", 200, "GET", "/subscriptions?username=me", "")["items"].([]any); len(list) != 1 {
			t.Errorf("list: %v", list)
		}
		e.asUser("alex", 422, "GET", "/subscriptions?username=kim", "")
		e.want(204, "DELETE", "/api/v1/users/alex", "")
		e.want(404, "GET", "/api/v1"+path, "")
	})
}

func TestRefusedSubscriptions(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/products/7", `{"name":"Payments"}`)
		e.want(200, "PUT", "/api/v1/product-groups/8", `{"name":"Shop"}`)
		e.user("alex", false)
		e.user("root", true)
		mail := `"contacts":[{"channel":"email"}]`
		many := strings.TrimSuffix(strings.Repeat(`{"channel":"email","address":"a@example.com"},`, 21), ",")
		for _, c := range []struct{ user, body, field string }{
			{"alex", `{"username":"me",` + mail + `,"events":["passed"],"types":["observation"]}`, "events"},
			{"alex", `{"username":"me",` + mail + `,"timezone":"Europe/Atlantis"}`, "timezone"},
			{"alex", `{"username":"me",` + mail + `,"schedule":"0 0 30 2 *"}`, "schedule"},
			{"alex", `{"username":"me",` + mail + `,"schedule":"@daily"}`, "schedule"},
			{"alex", `{"username":"me","contacts":[{"channel":"email","address":"kim@example.com"}]}`, "contacts[0].address"},
			{"alex", `{"username":"root",` + mail + `}`, "username"},
			{"alex", `{"username":"nobody",` + mail + `}`, "username"},
			{"alex", `{"username":"me","product_id":7,` + mail + `}`, "product_id"},
			{"alex", `{"username":"me","product_group_id":8,` + mail + `}`, "product_group_id"},
			{"alex", `{"product_id":7,` + mail + `}`, "product_id"},
			{"alex", `{"username":"me"}`, "contacts"},
			{"alex", `{"username":"me","contacts":[]}`, "contacts"},
			{"alex", `{"username":"me","contacts":[{"channel":"fax"}]}`, "contacts"},
			{"alex", `{"username":"me","contacts":[{"address":"x"}]}`, "contacts"},
			{"alex", `{"username":"me","contacts":[{"channel":"email","colour":"red"}]}`, "contacts"},
			{"alex", `{"username":"me","contacts":[{"id":1}]}`, "contacts[0].id"},
			{"alex", `{"username":"me","contacts":[{"channel":"slack"}]}`, "contacts[0].address"},
			{"alex", `{"username":"me","contacts":[{"channel":"webhook","address":"ftp://` + secrets[0] + `"}]}`, "contacts[0].address"},
			{"alex", `{"username":"me","contacts":[{"channel":"slack","address":"https://hooks.slack.com/…a1b2"}]}`, "contacts[0].address"},
			{"alex", `{"username":"me",` + mail + `,"min_priority":100}`, "min_priority"},
			{"alex", `{"username":"me",` + mail + `,"colour":"red"}`, "colour"},
			{"alex", `{"username":"me",` + mail + `,"name":"` + strings.Repeat("x", 201) + `"}`, "name"},
			{"root", `{"contacts":[` + many + `]}`, "contacts"},
			{"root", `{"contacts":[{"channel":"email"}]}`, "contacts[0].address"},
			{"root", `{"contacts":[{"channel":"email","address":"no address"}]}`, "contacts"},
			{"root", `{"product_id":7,"product_group_id":8,` + mail + `}`, "product_group_id"},
		} {
			p := e.asUser(c.user, 422, "POST", "/subscriptions", c.body)
			text := fmt.Sprint(p["errors"])
			if !strings.Contains(text, "location:"+c.field+" ") || strings.Contains(text, secrets[0]) {
				t.Errorf("%s: %s", c.body, text)
			}
		}
		e.asUser("alex", 201, "POST", "/subscriptions", `{"username":"me",`+mail+`,"min_severity":"Critical","statuses":[]}`)
	})
}

// TestSubscriptionsHaveABound: of each user, product and group; the others go on.
func TestSubscriptionsHaveABound(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/products/7", `{"name":"Payments"}`)
		e.want(200, "PUT", "/api/v1/product-groups/8", `{"name":"Shop"}`)
		e.user("alex", false)
		e.user("root", true)
		const numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) "
		for _, c := range []struct{ user, column, value, field, body, other string }{
			{"alex", "user_id", "(SELECT id FROM users WHERE username = 'alex')", "username", `"username":"me"`, `"username":"root"`},
			{"root", "product_id", "7", "product_id", `"product_id":7`, `"username":"me","product_id":7`},
			{"root", "product_group_id", "8", "product_group_id", `"product_group_id":8`, `"username":"me","product_group_id":8`},
		} {
			e.exec("INSERT INTO subscriptions (name, " + c.column + ") " + numbers + "SELECT 'full', " + c.value + " FROM n")
			body := func(owner string) string {
				return "{" + owner + `,"contacts":[{"channel":"slack","address":"https://hooks.slack.com/services/T/B/x"}]}`
			}
			last := e.asUser(c.user, 201, "POST", "/subscriptions", body(c.body))
			p := e.asUser(c.user, 422, "POST", "/subscriptions", body(c.body))
			if text := fmt.Sprint(p["errors"]); !strings.Contains(text, "at most 1000 subscriptions") || !strings.Contains(text, "location:"+c.field) {
				t.Errorf("%s: %s", c.column, text)
			}
			path := fmt.Sprintf("/subscriptions/%v", last["id"])
			e.asUser(c.user, 200, "PATCH", path, `{"enabled":false}`)
			e.asUser("root", 201, "POST", "/subscriptions", body(c.other))
			e.asUser(c.user, 204, "DELETE", path, "")
			e.asUser(c.user, 201, "POST", "/subscriptions", body(c.body))
		}
	})
}

// TestSubscriptionIsTested sends a signed test, and a success enables what was disabled.
func TestSubscriptionIsTested(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		var status, tests atomic.Int32
		status.Store(http.StatusGone)
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Webhook-Signature") == "" {
				t.Error("a test is not signed")
			}
			tests.Add(1)
			w.WriteHeader(int(status.Load()))
		}))
		t.Cleanup(receiver.Close)
		e.user("root", true)
		sub := e.asUser("root", 201, "POST", "/subscriptions", `{"contacts":[{"channel":"webhook","address":"`+receiver.URL+`/hook"}]}`)
		path := fmt.Sprintf("/subscriptions/%.0f", sub["id"])
		contact := func() map[string]any {
			return e.asUser("root", 200, "GET", path, "")["contacts"].([]any)[0].(map[string]any)
		}
		if _, err := e.db.ExecContext(t.Context(), "UPDATE contacts SET disabled_at = (SELECT created_at FROM users WHERE id = 1)"); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			status   int
			ok, gone bool
		}{{http.StatusGone, false, true}, {http.StatusNoContent, true, false}} {
			status.Store(int32(c.status))
			result := e.asUser("root", 200, "POST", path+"/test", `{}`)["results"].([]any)[0].(map[string]any)
			if result["ok"] != c.ok || (contact()["disabled_at"] != nil) != c.gone {
				t.Errorf("%d: %v, %v", c.status, result, contact())
			}
		}
		if tests.Load() != 2 {
			t.Errorf("%d tests", tests.Load())
		}
	})
}

// TestDataIsWhatIsAnswered: signed webhooks get a notification as the inbox answers it.
func TestDataIsWhatIsAnswered(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/products/7", `{"name":"Payments"}`)
		gate := about("gate", rule.TypeSecurityGate, 7)
		gate.Event, gate.Facts.GateBefore = rule.EventFailed, rule.EventNoResult
		task := about("task", rule.TypeTask, 7)
		task.Arguments, task.Message, task.Trace, task.Suppressed = json.RawMessage(`{"a":1}`), "m", "t", 3
		o := about("o", rule.TypeObservation, 7)
		o.ObservationID, o.Event = new(int64(12)), rule.EventChanged
		o.Facts = dbmodel.Facts{Details: dbmodel.Details{
			VulnerabilityID: "CVE-2026-1", CVSSScore: new(7.5), Origin: dbmodel.Origin{Image: "x"}, URL: "https://example.org/1",
			KnownExploited: new(false), EPSSScore: new(0.25), FixedVersion: "3.0.1", Branch: "main", Service: "web", Scanner: "Trivy",
		}}
		o.SetValues(&rule.Values{Severity: rule.High, Status: rule.Open}, &rule.Values{Severity: rule.Low, Status: rule.Open, Priority: new(2)})
		e.notify(gate, task, o)
		list, err := dbmodel.Notifications(t.Context(), e.db, dbmodel.AutomationViewer(), dbmodel.NotificationFilter{}, 10)
		if err != nil || len(list) != 3 {
			t.Fatal(list, err)
		}
		for i := range list {
			var got, want map[string]any
			r := e.want(200, "GET", fmt.Sprintf("/api/v1/notifications/%d", list[i].ID), "")
			if err := json.Unmarshal([]byte(r.text), &want); err != nil {
				t.Fatal(err)
			}
			if list[i].Type == rule.TypeSecurityGate {
				if diff := cmp.Diff([]any{map[string]any{"passed": nil}, map[string]any{"passed": false}}, []any{want["before"], want["after"]}); diff != "" {
					t.Errorf("(-want +answered):\n%s", diff)
				}
			}
			delete(want, "viewed")
			delete(want, "deliveries")
			if err := json.Unmarshal(message.Data(&list[i]), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-answered +sent):\n%s", diff)
			}
		}
	})
}

// TestSubscribersAreExplained: explain names the subscriptions that the caller may see, and why one is passed over.
func TestSubscribersAreExplained(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.want(202, "POST", postPath, `{"observations":[`+observation(50, 1, map[string]any{"severity": "High"})+`]}`)
		e.user("root", true)
		subscribe := func(name, body string) {
			e.asUser(name, 201, "POST", "/subscriptions", body)
		}
		hook := `"contacts":[{"channel":"webhook","address":"https://receiver.example/hook-a1b2"}]`
		subscribe("root", `{"name":"team","product_id":1,`+hook+`}`)
		subscribe("root", `{"name":"critical","product_id":1,"min_severity":"Critical",`+hook+`}`)
		subscribe("root", `{"name":"everything",`+hook+`}`)
		subscribe("root", `{"name":"of root","username":"me",`+hook+`}`)
		subscribe("reader", `{"name":"of reader","username":"me",`+hook+`}`)
		for _, c := range []struct {
			user string
			want map[string]string
		}{
			{"root", map[string]string{
				"team": "", "critical": rule.FilteredOut.Sentence(), "everything": "", "of root": "", "of reader": rule.Unseen.Sentence(),
			}},
			{"reader", map[string]string{
				"team": "", "critical": rule.FilteredOut.Sentence(), "of reader": rule.Unseen.Sentence(),
			}},
		} {
			got := map[string]string{}
			for _, r := range e.asUser(c.user, 200, "GET", "/observations/50/explain", "")["recipients"].([]any) {
				r := r.(map[string]any)
				source := r["source"].(map[string]any)
				if source["kind"] != "subscription" {
					continue
				}
				got[fmt.Sprint(source["name"])] = fmt.Sprint(r["reason"])
				if r["recipient"] != (r["reason"] == "") || r["target"] != "https://receiver.example/…a1b2" {
					t.Errorf("%v", r)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.user, diff)
			}
		}
	})
}

// TestTeamSubscriptionWithoutName is called after what it takes and by which ways.
func TestTeamSubscriptionWithoutName(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("root", true)
		for fields, want := range map[string]string{
			``: "Everything by Slack",
			`"min_severity":"Critical","types":["observation"],`: "Critical or worse; observations by Slack",
		} {
			body := `{` + fields + `"contacts":[{"channel":"slack","address":"` + slackURL + `"}]}`
			if got := e.asUser("root", 201, "POST", "/subscriptions", body); got["name"] != want {
				t.Errorf("%s: name %q, want %q", fields, got["name"], want)
			}
		}
	})
}
