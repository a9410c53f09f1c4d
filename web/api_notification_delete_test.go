package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// left are the names of the notifications that are left.
func (e *env) left() string {
	e.t.Helper()
	return strings.Join(names(e.want(200, "GET", inboxPath+"?sort=created_at", nil)), " ")
}

// TestDeleteByFilter: each filter of the list, what is left, and what is refused.
func TestDeleteByFilter(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/product-groups/8", `{"name":"Shop"}`)
		e.want(200, "PUT", "/api/v1/products/1", `{"name":"web","product_group_id":8}`)
		e.product(2)
		for _, name := range []string{"owner", "reader", "outsider"} {
			e.user(name, false)
		}
		e.member(dbmodel.InProduct(1), "owner", rule.Owner)
		e.member(dbmodel.InProduct(2), "owner", rule.Reader)
		e.member(dbmodel.InProduct(1), "reader", rule.Maintainer)
		e.want(200, "PATCH", "/api/v1/settings", `{"member_notification_types":["observation","security_gate","task"]}`)
		e.observed(1, "critical", rule.EventNew, rule.Critical, e.targets(rule.Slack, slackURL)...)
		e.observed(1, "high", rule.EventChanged, rule.High)
		e.observed(2, "low", rule.EventNew, rule.Low)
		gate := about("gate", rule.TypeSecurityGate, 2)
		gate.Event = rule.EventFailed
		task := about("task", rule.TypeTask, 0)
		task.Username = "alex"
		e.notify(gate, task)
		const path = inboxPath + "/delete"

		for body, field := range map[string]string{
			`{}`: "ids", `{"filter":null}`: "ids", `{"filter":""}`: "ids", `{"ids":[1],"filter":{}}`: "ids", `{"filter":[]}`: "ids", `{"filter":[1]}`: "filter", `{"filter":"x"}`: "filter",
			`{"filter":{"typ":"task"}}`: "filter.typ", `{"filter":{"type":"tasks"}}`: "filter.type", `{"filter":{"event":1}}`: "filter.event",
			`{"filter":{"severity":["bad"]}}`: "filter.severity", `{"filter":{"severity":"bad"}}`: "filter.severity",
			`{"filter":{"product_id":0}}`: "filter.product_id", `{"filter":{"viewed":"yes"}}`: "filter.viewed", `{"filter":{"until":"2026"}}`: "filter.until",
			`{"filter":{"limit":1}}`: "filter.limit", `{"filter":{"sort":"created_at"}}`: "filter.sort",
		} {
			faults := e.want(422, "POST", path, body).faults()
			if _, found := faults[field]; len(faults) != 1 || !found {
				t.Errorf("%s: faults %v instead of %s", body, faults, field)
			}
		}
		e.want(400, "POST", path, `{"filter":{"type":"task","type":"task"}}`)
		if got := e.left(); got != "critical high low gate task" {
			t.Fatalf("left: %s", got)
		}

		remove := func(who, filter string, deleted int, left string) {
			t.Helper()
			got := e.want(202, "POST", path, `{"filter":{`+filter+`}}`, e.as(who)...)
			if fmt.Sprint(got.json) != fmt.Sprintf("map[deleted:%d]", deleted) || e.left() != left {
				t.Errorf("%s %s: %s; left: %s", who, filter, got.text, e.left())
			}
		}
		e.user("root", true)
		const all = "critical high low gate task"
		remove("outsider", ``, 0, all)
		e.want(403, "POST", path, `{"filter":{}}`, e.as("reader")...)
		e.want(403, "POST", path, `{"filter":{"product_id":2}}`, e.as("owner")...)
		remove("owner", `"type":"task"`, 0, all)
		remove("root", `"until":"2020-01-01T00:00:00Z"`, 0, all)
		remove("root", `"since":"2100-01-01T00:00:00Z"`, 0, all)
		remove("root", `"severity":["Medium"]`, 0, all)
		remove("root", `"viewed":true`, 0, all)
		remove("root", `"user":"alex"`, 1, "critical high low gate")
		remove("owner", `"severity":"High","event":"changed"`, 1, "critical low gate")
		remove("root", `"q":"GAT","type":"security_gate"`, 1, "critical low")
		remove("owner", `"viewed":false`, 1, "low") // passes over what it may not delete
		if n := e.count("deliveries", "state = 'pending' AND notification_id NOT IN (SELECT id FROM deleted_notifications)"); n != 0 {
			t.Errorf("%d deliveries wait", n)
		}
		remove("root", `"product_group_id":8`, 0, "low")
		remove("root", `"severity":["Low","Critical"],"product_id":2`, 1, "")
		remove("root", ``, 0, "")
	})
}

// TestDeleteFitting: the inbox deletes what its filter shows, on all pages, after it has said how many these are.
func TestDeleteFitting(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("root", true)
		e.product(1)
		e.product(2)
		for i := range 3 {
			e.observed(1, fmt.Sprint("a", i), rule.EventNew, rule.Low)
			e.observed(2, fmt.Sprint("b", i), rule.EventNew, rule.High)
		}
		v := e.visitor("root")
		ask := func(page string) *sheet {
			t.Helper()
			if !strings.Contains(v.open(page).source, `id="fitting"`) {
				t.Errorf("%s does not offer to delete all", page)
			}
			return v.ask("POST", "/notifications/delete", map[string][]string{"fitting": {"yes"}, "next": {page}})
		}
		s := ask("/?product_id=1&severity=Low&viewed=all")
		s.says("Delete 3 notifications?", "severity Low", "product product 1")
		s.saysNot("no filter is set")
		if got := e.left(); got != "a0 b0 a1 b1 a2 b2" {
			t.Fatalf("left: %s", got)
		}
		e.observed(1, "later", rule.EventNew, rule.Low) // while it is asked
		s = v.send(s, "Delete for everyone", nil)
		s.says("3 notifications are deleted")
		s.wantLines("later")
		if got := e.left(); got != "b0 b1 b2 later" {
			t.Errorf("left: %s", got)
		}
		ask("/").says("Delete 4 notifications?", "not viewed by you")
		ask("/?viewed=all").says("no filter is set")

		// An address that is too long to come back to must not become one without a filter.
		long := "/?viewed=all&q=" + strings.Repeat("x", 2500)
		for _, next := range []string{long, "/products", "https://elsewhere.example/", ""} {
			form := map[string][]string{"fitting": {"yes"}, "next": {next}, "confirmed": {"yes"}, "asked": {"2100-01-01T00:00:00Z"}}
			if s := v.ask("POST", "/notifications/delete", form); s.status != 422 {
				t.Errorf("next %.20q is answered %d", next, s.status)
			}
		}
		if got := e.left(); got != "b0 b1 b2 later" {
			t.Errorf("left: %s", got)
		}
	})
}
