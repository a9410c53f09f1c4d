package web_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	slackURL = "https://hooks.slack.com/services/T000/B000/veryverysecreta1b2"
	teamsURL = "https://prod-1.westeurope.logic.azure.com/workflows/x/triggers/manual/paths/invoke?sig=alsoverysecretc3d4"
)

// emptyProduct is what GET answers for a product that has a name only.
func emptyProduct(id int, name string) map[string]any {
	return map[string]any{
		"id": float64(id), "name": name, "product_group_id": nil, "security_gate_passed": nil,
		"notification_email_to": "", "notification_ms_teams_webhook": "", "notification_slack_webhook": "", "notification_paused_from": nil, "notification_paused_until": nil,
		"observation_notification_min_severity": "", "observation_notification_statuses": []any{}, "observation_notification_min_priority": nil,
		"observation_notification_known_exploited": nil,
	}
}

func with(m map[string]any, more map[string]any) map[string]any {
	out := maps.Clone(m)
	maps.Copy(out, more)
	return out
}

func TestProductMerge(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		const path = "/api/v1/products/7"
		e.want(404, "GET", path, nil)
		if f := e.want(422, "PUT", path, map[string]any{}).faults(); f["name"] == "" || len(f) != 1 {
			t.Errorf("a new product without a name: %v", f)
		}
		e.want(404, "GET", path, nil)
		state := emptyProduct(7, "Payments")
		check := func(what string, got map[string]any) {
			t.Helper()
			if diff := cmp.Diff(state, got); diff != "" {
				t.Errorf("%s:\n%s", what, diff)
			}
			if diff := cmp.Diff(state, e.want(200, "GET", path, nil).json); diff != "" {
				t.Errorf("GET after %s:\n%s", what, diff)
			}
		}
		check("make", e.want(200, "PUT", path, map[string]any{"name": "Payments"}).json)

		e.want(200, "PUT", "/api/v1/product-groups/3", map[string]any{"name": "Shop"})
		full := map[string]any{
			"product_group_id": 3.0, "notification_email_to": "a@example.com, b@example.com", "notification_slack_webhook": slackURL,
			"notification_ms_teams_webhook": teamsURL, "notification_paused_until": "2027-01-02T03:04:05.123456+02:00",
			"observation_notification_min_severity": "High", "observation_notification_statuses": []any{"Open", "In review", "Open"},
			"observation_notification_min_priority": 5.0, "observation_notification_known_exploited": true,
		}
		state = with(with(state, full), map[string]any{
			"notification_slack_webhook": "https://hooks.slack.com/…a1b2", "notification_ms_teams_webhook": "https://prod-1.westeurope.logic.azure.com/…c3d4",
			"notification_paused_until": "2027-01-02T01:04:05.123456Z", "observation_notification_statuses": []any{"Open", "In review"},
		})
		check("all fields", e.want(200, "PUT", path, full).json)

		check("nothing", e.want(200, "PUT", path, map[string]any{}).json)
		check("sending the answer back", e.want(200, "PUT", path, state).json)
		e.want(202, "PUT", path+"/security-gate", `{"passed":true}`)
		check("sending an older answer back", func() map[string]any {
			old := state
			state = with(state, map[string]any{"security_gate_passed": true})
			return e.want(200, "PUT", path, old).json
		}())
		state["name"] = "Renamed"
		check("name", e.want(200, "PUT", path, map[string]any{"name": "Renamed"}).json)
		state["notification_slack_webhook"] = ""
		check("emptying one webhook", e.want(200, "PUT", path, map[string]any{"notification_slack_webhook": nil}).json)
		if f := e.want(422, "PUT", path, map[string]any{"notification_slack_webhook": "https://hooks.slack.com/…a1b2"}).faults(); f["notification_slack_webhook"] == "" {
			t.Errorf("a redacted form of nothing: %v", f)
		}
		for _, empty := range []any{nil, "", []any{}} {
			e.want(200, "PUT", path, with(full, map[string]any{"name": "Renamed"}))
			all := map[string]any{}
			for name := range full {
				all[name] = empty
			}
			state = with(emptyProduct(7, "Renamed"), map[string]any{"security_gate_passed": true})
			check(fmt.Sprintf("emptying all with %#v", empty), e.want(200, "PUT", path, all).json)
		}
	})
}

func TestProductGroupStaysApart(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		group := e.want(200, "PUT", "/api/v1/product-groups/3", map[string]any{"name": "Shop", "observation_notification_min_severity": "Low", "notification_slack_webhook": slackURL}).json
		if diff := cmp.Diff(group, e.want(200, "PUT", "/api/v1/product-groups/3", group).json); diff != "" {
			t.Errorf("sending the answer back:\n%s", diff)
		}
		e.want(200, "PUT", "/api/v1/products/1", map[string]any{"name": "a", "product_group_id": 3})
		e.want(204, "DELETE", "/api/v1/product-groups/3", nil)
		e.want(404, "DELETE", "/api/v1/product-groups/3", nil)
		e.want(404, "GET", "/api/v1/product-groups/3", nil)
		if got := e.want(200, "GET", "/api/v1/products/1", nil).json["product_group_id"]; got != nil {
			t.Errorf("the product is still in group %v", got)
		}
	})
}

func TestProductFaults(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	const path = "/api/v1/products/7"
	before := e.want(200, "PUT", path, map[string]any{"name": "Payments", "notification_slack_webhook": slackURL}).json
	long := strings.Repeat("ä", 256)
	for _, c := range []struct {
		body  string
		field string // empty: any
	}{
		{`{"nmae":"x"}`, "nmae"},
		{`{"Name":"x"}`, "Name"},
		{`{"viewed":true}`, "viewed"},
		{`{"name":""}`, "name"},
		{`{"name":null}`, "name"},
		{`{"name":[]}`, "name"},
		{`{"name":"  "}`, "name"},
		{`{"name":7}`, "name"},
		{`{"name":"a\u0000b"}`, "name"},
		{`{"name":"` + long + `"}`, "name"},
		{`{"id":8}`, "id"},
		{`{"id":"7"}`, "id"},
		{`{"product_group_id":99}`, "product_group_id"},
		{`{"product_group_id":0}`, "product_group_id"},
		{`{"product_group_id":-1}`, "product_group_id"},
		{`{"product_group_id":9007199254740992}`, "product_group_id"},
		{`{"product_group_id":1.5}`, "product_group_id"},
		{`{"product_group_id":"3"}`, "product_group_id"},
		{`{"security_gate_passed":"yes"}`, "security_gate_passed"},
		{`{"notification_email_to":"nobody"}`, "notification_email_to"},
		{`{"notification_email_to":"a@example.com,"}`, "notification_email_to"},
		{`{"notification_email_to":"a@example.com;b@example.com"}`, "notification_email_to"},
		{`{"notification_email_to":["a@example.com"]}`, "notification_email_to"},
		{`{"notification_slack_webhook":"ftp://hooks.slack.com/x"}`, "notification_slack_webhook"},
		{`{"notification_slack_webhook":"https://hooks.slack.com/…zzzz"}`, "notification_slack_webhook"},
		{`{"notification_ms_teams_webhook":"https://hooks.slack.com/…a1b2"}`, "notification_ms_teams_webhook"},
		{`{"notification_slack_webhook":"https://10.0.0.1/x"}`, "notification_slack_webhook"},
		{`{"notification_slack_webhook":"hooks"}`, "notification_slack_webhook"},
		{`{"notification_slack_webhook":5}`, "notification_slack_webhook"},
		{`{"notification_slack_webhook":{"url":"x"}}`, "notification_slack_webhook"},
		{`{"notification_paused_until":"2027-01-01T00:00:00"}`, "notification_paused_until"},
		{`{"notification_paused_until":"tomorrow"}`, "notification_paused_until"},
		{`{"notification_paused_until":"0000-01-01T00:00:00Z"}`, "notification_paused_until"},
		{`{"notification_paused_until":"9999-12-31T23:59:59-05:00"}`, "notification_paused_until"},
		{`{"notification_paused_until":1700000000}`, "notification_paused_until"},
		{`{"observation_notification_min_severity":"high"}`, "observation_notification_min_severity"},
		{`{"observation_notification_min_severity":2}`, "observation_notification_min_severity"},
		{`{"observation_notification_statuses":"Open"}`, "observation_notification_statuses"},
		{`{"observation_notification_statuses":["Open","Closed"]}`, "observation_notification_statuses"},
		{`{"observation_notification_statuses":[null]}`, "observation_notification_statuses"},
		{`{"observation_notification_min_priority":0}`, "observation_notification_min_priority"},
		{`{"observation_notification_min_priority":100}`, "observation_notification_min_priority"},
		{`{"observation_notification_min_priority":1e1}`, "observation_notification_min_priority"},
		{`{"observation_notification_min_priority":"5"}`, "observation_notification_min_priority"},
		{`{"observation_notification_min_priority":true}`, "observation_notification_min_priority"},
		{`{"observation_notification_known_exploited":false}`, "observation_notification_known_exploited"},
		{`{"observation_notification_known_exploited":"true"}`, "observation_notification_known_exploited"},
		{`{"observation_notification_known_exploited":1}`, "observation_notification_known_exploited"},
		{`[]`, ""},
		{`null`, ""},
		{`"x"`, ""},
	} {
		faults := e.want(422, "PUT", path, c.body).faults()
		if len(faults) != 1 || faults[c.field] == "" {
			t.Errorf("%s: %v", c.body, faults)
		}
	}
	two := e.want(422, "PUT", path, `{"name":"new","product_group_id":99,"notification_email_to":"x","observation_notification_min_priority":100,"more":1}`).faults()
	if len(two) != 4 || two["product_group_id"] == "" {
		t.Errorf("several faults: %v", two)
	}
	body := `{"id":8,"name":"","product_group_id":"x","notification_paused_until":"now","notification_slack_webhook":"https://10.0.0.1/x","notification_ms_teams_webhook":5}`
	if all := e.want(422, "PUT", path, body).faults(); len(all) != 6 || len(e.want(422, "PUT", "/api/v1/products/71", body).faults()) != 6 {
		t.Errorf("faults of each kind: %v", all)
	}
	e.want(404, "GET", "/api/v1/products/71", nil)
	if all := e.want(422, "PATCH", "/api/v1/settings", `{"x":1,"digest_threshold":-1,"exception_slack_webhook":"https://10.0.0.1/x"}`).faults(); len(all) != 3 {
		t.Errorf("faults of settings: %v", all)
	}
	if all := e.want(422, "PUT", "/api/v1/users/alex", `{"username":"bob","email":"x","is_admin":1}`).faults(); len(all) != 3 {
		t.Errorf("faults of a user: %v", all)
	}
	e.want(404, "GET", "/api/v1/users/alex", nil)
	for _, body := range []string{``, ` `, `{`, `{"name":"x"`, `{"name":"x"} {}`, `{"name":"x",}`, `{name:"x"}`, "{\"name\":\"\xff\"}", `{"name":"a","name":"b"}`} {
		if got := e.want(400, "PUT", path, body).text; !strings.Contains(got, "byte ") {
			t.Errorf("%s: %s", body, got)
		}
	}
	e.want(415, "PUT", path, `name=x`, "Content-Type", "application/x-www-form-urlencoded")
	e.want(415, "PUT", path, `{}`, "Content-Encoding", "gzip")
	e.want(200, "PUT", path, `{}`, "Content-Type", "")
	for _, id := range []string{"0", "-1", "9007199254740992", "x", "1.5", "99999999999999999999"} {
		e.want(422, "PUT", "/api/v1/products/"+id, `{"name":"x"}`)
	}
	e.want(200, "PUT", "/api/v1/products/9007199254740991", map[string]any{"name": long[:2*255]})
	if diff := cmp.Diff(before, e.want(200, "GET", path, nil).json); diff != "" {
		t.Errorf("a refused call changed something:\n%s", diff)
	}
}

func TestProductConcurrentMerge(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		fields := []string{
			`"observation_notification_min_severity":"Low"`, `"observation_notification_min_priority":9`, `"notification_email_to":"a@example.com"`,
			`"observation_notification_statuses":["Open"]`, `"observation_notification_known_exploited":true`, `"notification_slack_webhook":"` + slackURL + `"`,
		}
		var wg sync.WaitGroup
		for _, f := range fields {
			wg.Go(func() {
				if r := e.send("PUT", "/api/v1/products/5", `{"name":"p",`+f+`}`); r.status != 200 {
					t.Errorf("%d: %s", r.status, r.text)
				}
			})
		}
		wg.Wait()
		got := e.want(200, "GET", "/api/v1/products/5", nil).json
		want := with(emptyProduct(5, "p"), map[string]any{
			"observation_notification_min_severity": "Low", "observation_notification_min_priority": 9.0, "notification_email_to": "a@example.com",
			"observation_notification_statuses": []any{"Open"}, "notification_slack_webhook": "https://hooks.slack.com/…a1b2",
			"observation_notification_known_exploited": true,
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("of changes at the same time one was lost:\n%s", diff)
		}
	})
}

// TestProductOfDyingGroup: the group may be deleted at any moment; that is the caller's fault, not ours.
func TestProductOfDyingGroup(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		for round := range 10 {
			group := fmt.Sprintf("/api/v1/product-groups/%d", round+1)
			e.want(200, "PUT", group, `{"name":"g"}`)
			var wg sync.WaitGroup
			wg.Go(func() { e.send("DELETE", group, nil) })
			for p := range 4 {
				wg.Go(func() {
					r := e.send("PUT", fmt.Sprintf("/api/v1/products/%d", p+1), fmt.Sprintf(`{"name":"p","product_group_id":%d}`, round+1))
					if r.status != 200 && r.status != 422 {
						t.Errorf("%d: %s", r.status, r.text)
					}
				})
			}
			wg.Wait()
		}
	})
}

func TestSecurityGate(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		const path = "/api/v1/products/1/security-gate"
		for _, step := range []struct {
			passed  string
			changed bool
		}{{"null", false}, {"true", true}, {"true", false}, {"false", true}, {"null", true}, {"null", false}} {
			if got := e.want(202, "PUT", path, `{"passed":`+step.passed+`}`).json["changed"]; got != step.changed {
				t.Errorf("%s: changed is %v", step.passed, got)
			}
		}
		for _, body := range []string{`{}`, `{"passed":"true"}`, `{"passed":1}`, `{"passed":""}`, `{"passed":true,"reason":"x"}`, `true`} {
			e.want(422, "PUT", path, body)
		}
		e.want(404, "PUT", "/api/v1/products/2/security-gate", `{"passed":true}`)
		if got := e.want(200, "GET", "/api/v1/status", nil).json["outbox"]; got != 3.0 {
			t.Errorf("%v events wait", got)
		}
	})
}

func TestDeleteProduct(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.product(1)
		e.product(2)
		e.want(202, "POST", "/api/v1/observations", lines(1, 50, 1)+lines(51, 1, 2), "Content-Type", "application/x-ndjson")
		e.want(204, "DELETE", "/api/v1/products/1", nil)
		e.want(404, "DELETE", "/api/v1/products/1", nil)
		e.want(404, "GET", "/api/v1/observations/1", nil)
		e.want(200, "GET", "/api/v1/observations/51", nil)
	})
}
