package web_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// as makes the header that sends a request as somebody.
func (e *env) as(name string) []string {
	e.t.Helper()
	return []string{"Authorization", "Bearer " + e.token(name, dbmodel.ScopeUser)}
}

// inventory stores two products, the first one in a group, and one notification of each type for each of them, with a
// delivery; and one of each type that has no product. Their names say what they are: "task 2".
func (e *env) inventory() {
	e.t.Helper()
	e.want(200, "PUT", "/api/v1/product-groups/1", map[string]any{"name": "group 1", "notification_email_to": "group@example.com", "notification_slack_webhook": slackURL})
	e.want(200, "PUT", "/api/v1/products/1", map[string]any{"name": "product 1", "product_group_id": 1, "notification_email_to": "a@example.com", "notification_slack_webhook": slackURL})
	e.want(200, "PUT", "/api/v1/products/2", `{"name":"product 2"}`)
	e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, nil)+`,`+observation(2, 2, nil)+`]}`)
	slack := e.targets(rule.Slack, slackURL)
	var list []dbmodel.NewNotification
	for id := range int64(3) {
		for _, kind := range rule.Types {
			n := dbmodel.NewNotification{Targets: slack, Notification: dbmodel.Notification{Type: kind, Name: fmt.Sprintf("%s %d", kind, id), Username: "alex"}}
			if id != 0 {
				n.ProductID = &id
			}
			if kind == rule.TypeTask || kind == rule.TypeException {
				n.Message, n.Function, n.Trace, n.Arguments = "said", "import", "line 1", json.RawMessage(`{"a":1}`)
			}
			list = append(list, n)
		}
	}
	e.notify(list...)
}

// sees are the sorted names of the notifications that somebody is shown.
func (e *env) sees(query string, who []string) []string {
	e.t.Helper()
	got := names(e.want(200, "GET", inboxPath+"?limit=250&"+query, nil, who...))
	slices.Sort(got)
	return got
}

// TestVisibleNotifications: in the list, in each filter, in search, one by one and in deliveries.
func TestVisibleNotifications(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.inventory()
		e.user("alex", false)
		e.user("group", false)
		e.user("boss", true)
		e.member(dbmodel.InProduct(2), "alex", rule.Upload)
		e.member(dbmodel.InProductGroup(1), "group", rule.Reader)
		alex, group, boss := e.as("alex"), e.as("group"), e.as("boss")
		of := func(types string) {
			e.want(200, "PATCH", "/api/v1/settings", `{"member_notification_types":`+types+`}`)
		}
		for _, c := range []struct {
			types, query string
			who          []string
			want         []string
		}{
			{`null`, "", alex, []string{"security_gate 2", "task 2"}},
			{`null`, "", group, []string{"security_gate 1", "task 1"}},
			{`null`, "type=task", alex, []string{"task 2"}},
			{`null`, "type=observation", alex, []string{}},
			{`null`, "type=exception", alex, []string{}},
			{`null`, "product_id=1", alex, []string{}},
			{`null`, "product_id=77", alex, []string{}},
			{`null`, "product_id=2", alex, []string{"security_gate 2", "task 2"}},
			{`null`, "q=1", alex, []string{}},
			{`null`, "q=TASK", alex, []string{"task 2"}},
			{`null`, "user=alex", alex, []string{"security_gate 2", "task 2"}},
			{`["observation"]`, "", alex, []string{"observation 2"}},
			{`["observation","security_gate","task"]`, "", group, []string{"observation 1", "security_gate 1", "task 1"}},
			{`[]`, "", alex, []string{}},
		} {
			of(c.types)
			if diff := cmp.Diff(c.want, e.sees(c.query, c.who)); diff != "" {
				t.Errorf("%s %s:\n%s", c.types, c.query, diff)
			}
		}
		if got := e.sees("", boss); len(got) != 3*len(rule.Types) {
			t.Errorf("an administrator sees %v", got)
		}
		of(`null`)
		all := e.want(200, "GET", inboxPath+"?limit=250", nil).json["items"].([]any)
		for _, i := range all {
			n := i.(map[string]any)
			status := 404
			if slices.Contains([]string{"security_gate 2", "task 2"}, n["name"].(string)) {
				status = 200
			}
			e.want(status, "GET", fmt.Sprintf("%s/%v", inboxPath, n["id"]), nil, alex...)
		}
		for query, want := range map[string]int{"": 2, "product_id=1&": 0, "product_id=2&": 2, "channel=slack&": 2, "state=failed&": 0} {
			if got := e.want(200, "GET", "/api/v1/deliveries?"+query+"limit=250", nil, alex...); len(got.json["items"].([]any)) != want {
				t.Errorf("deliveries %s: %s", query, got.text)
			}
		}
	})
}

// TestTodaysMembership: what counts is where the product is now, also for what happened before.
func TestTodaysMembership(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.inventory()
		e.user("group", false)
		e.member(dbmodel.InProductGroup(1), "group", rule.Maintainer)
		group := e.as("group")
		see := func(products ...int) {
			t.Helper()
			want := []string{}
			for _, kind := range []string{"security_gate", "task"} {
				for _, p := range products {
					want = append(want, fmt.Sprintf("%s %d", kind, p))
				}
			}
			if diff := cmp.Diff(want, e.sees("", group)); diff != "" {
				t.Error(diff)
			}
			for id := 1; id <= 2; id++ {
				status := 404
				if slices.Contains(products, id) {
					status = 200
				}
				e.want(status, "GET", fmt.Sprintf("/api/v1/products/%d", id), nil, group...)
				e.want(status, "GET", fmt.Sprintf("/api/v1/observations/%d", id), nil, group...)
				e.want(status, "PUT", fmt.Sprintf("/api/v1/products/%d", id), mailTo, group...)
			}
		}
		see(1)
		e.want(200, "PUT", "/api/v1/products/2", `{"product_group_id":1}`)
		see(1, 2)
		e.want(200, "PUT", "/api/v1/products/1", `{"product_group_id":null}`)
		see(2)
		e.want(202, "POST", postPath, `{"observations":[`+observation(2, 1, nil)+`]}`)
		e.want(404, "GET", "/api/v1/observations/2", nil, group...)
		e.want(204, "DELETE", "/api/v1/product-groups/1/members/group", nil)
		see()
	})
}

// TestAdministratorsOnly: what may hold anything is hidden from members where it is filled, and only there.
func TestAdministratorsOnly(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.inventory()
		e.user("alex", false)
		e.member(dbmodel.InProduct(1), "alex", rule.Owner)
		e.user("boss", true)
		one := func(query string, who []string) map[string]any {
			items := e.want(200, "GET", inboxPath+"?product_id=1&"+query, nil, who...).json["items"].([]any)
			n := items[0].(map[string]any)
			if diff := cmp.Diff(n, e.want(200, "GET", fmt.Sprintf("%s/%v", inboxPath, n["id"]), nil, who...).json); diff != "" {
				t.Errorf("the list and one by one differ:\n%s", diff)
			}
			return map[string]any{"message": n["message"], "arguments": n["arguments"], "trace": n["trace"], "function": n["function"], "user": n["user"]}
		}
		hidden := map[string]any{"message": "...", "arguments": "...", "trace": "...", "function": "import", "user": "alex"}
		empty := map[string]any{"message": "", "arguments": nil, "trace": "", "function": "", "user": "alex"}
		whole := map[string]any{"message": "said", "arguments": map[string]any{"a": 1.0}, "trace": "line 1", "function": "import", "user": "alex"}
		for _, c := range []struct {
			query string
			who   []string
			want  map[string]any
		}{{"type=task", e.as("alex"), hidden}, {"type=security_gate", e.as("alex"), empty}, {"type=task", e.as("boss"), whole}} {
			if diff := cmp.Diff(c.want, one(c.query, c.who)); diff != "" {
				t.Errorf("%s:\n%s", c.query, diff)
			}
		}
	})
}

// TestVisibleProducts: products whole with addresses, webhooks redacted; a group whole for its members, and its name for
// members of its products.
func TestVisibleProducts(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.inventory()
		e.want(200, "PUT", "/api/v1/product-groups/2", `{"name":"group 2"}`)
		for _, name := range []string{"outsider", "product", "group"} {
			e.user(name, false)
		}
		e.member(dbmodel.InProduct(1), "product", rule.Reader)
		e.member(dbmodel.InProductGroup(1), "group", rule.Reader)
		listed := func(path string, who []string) (out []any) {
			return e.want(200, "GET", path, nil, who...).json["items"].([]any)
		}
		for _, path := range []string{"/api/v1/products", "/api/v1/product-groups"} {
			if got := listed(path, e.as("outsider")); len(got) != 0 {
				t.Errorf("an outsider sees %v", got)
			}
			if got := listed(path, []string{"Authorization", "Bearer " + e.token("outsider", dbmodel.ScopeIngest)}); len(got) != 2 {
				t.Errorf("a program sees %v", got)
			}
		}
		group := e.want(200, "GET", "/api/v1/product-groups/1", nil).json
		product := e.want(200, "GET", "/api/v1/products/1", nil).json
		if product["notification_email_to"] != "a@example.com" || product["notification_slack_webhook"] != "https://hooks.slack.com/…a1b2" {
			t.Errorf("the product: %v", product)
		}
		for who, wantGroup := range map[string]any{"product": map[string]any{"id": 1.0, "name": "group 1"}, "group": group} {
			for path, want := range map[string]any{"/api/v1/product-groups": wantGroup, "/api/v1/products": product} {
				if diff := cmp.Diff([]any{want}, listed(path, e.as(who))); diff != "" {
					t.Errorf("%s in %s:\n%s", who, path, diff)
				}
				if diff := cmp.Diff(want, any(e.want(200, "GET", path+"/1", nil, e.as(who)...).json)); diff != "" {
					t.Errorf("%s in %s/1:\n%s", who, path, diff)
				}
			}
		}
	})
}

// TestRoles: of two roles the higher one counts, and one by group counts for its products.
func TestRoles(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.inventory()
		e.user("subject", false)
		for i, c := range []struct {
			direct, group              rule.Role
			edit, editGroup, addMember int
		}{
			{rule.Reader, rule.Maintainer, 200, 200, 403},
			{rule.Maintainer, rule.Reader, 200, 403, 403},
			{rule.Owner, rule.Reader, 200, 403, 204},
			{rule.Reader, rule.Owner, 200, 200, 204},
			{rule.Writer, rule.Upload, 403, 403, 403},
			{"", rule.Owner, 200, 200, 204},
			{"", rule.Writer, 403, 403, 403},
		} {
			name := fmt.Sprintf("user-%d", i)
			e.user(name, false)
			if c.direct != "" {
				e.member(dbmodel.InProduct(1), name, c.direct)
			}
			e.member(dbmodel.InProductGroup(1), name, c.group)
			who := e.as(name)
			e.want(c.edit, "PUT", "/api/v1/products/1", mailTo, who...)
			e.want(c.editGroup, "PUT", "/api/v1/product-groups/1", mailTo, who...)
			e.want(c.addMember, "PUT", "/api/v1/products/1/members/subject", `{"role":"reader"}`, who...)
			groupMember := 403
			if c.group == rule.Owner {
				groupMember = 204
			}
			e.want(groupMember, "PUT", "/api/v1/product-groups/1/members/subject", `{"role":"reader"}`, who...)
			e.want(404, "PUT", "/api/v1/products/2", mailTo, who...)
			e.want(404, "GET", "/api/v1/observations/2", nil, who...)
		}
	})
}

// TestMemberSendsBack: what GET answered may be sent back by a member who may edit the settings.
func TestMemberSendsBack(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.inventory()
		e.user("alex", false)
		e.member(dbmodel.InProductGroup(1), "alex", rule.Maintainer)
		who := e.as("alex")
		for _, path := range []string{"/api/v1/products/1", "/api/v1/product-groups/1"} {
			got := e.want(200, "GET", path, nil, who...).json
			if diff := cmp.Diff(got, e.want(200, "PUT", path, got, who...).json); diff != "" {
				t.Errorf("%s:\n%s", path, diff)
			}
			got["notification_email_to"] = "new@example.com"
			e.want(200, "PUT", path, got, who...)
			got["name"] = "another"
			e.want(403, "PUT", path, got, who...)
			if now := e.want(200, "GET", path, nil).json; now["name"] == "another" || now["notification_email_to"] != "new@example.com" {
				t.Errorf("%s: %v", path, now)
			}
		}
	})
}
