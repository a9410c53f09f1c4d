package web_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// unread is the count that somebody is answered.
func (e *env) unread(who ...string) int {
	e.t.Helper()
	return int(e.want(200, "GET", inboxPath+"/unread-count", nil, who...).json["count"].(float64))
}

// idOf is the id of the notification with this name.
func (e *env) idOf(name string) int64 {
	e.t.Helper()
	items := e.want(200, "GET", inboxPath+"?q="+url.QueryEscape(name), nil).json["items"].([]any)
	if len(items) != 1 {
		e.t.Fatalf("%d notifications are called %q", len(items), name)
	}
	return int64(items[0].(map[string]any)["id"].(float64))
}

func TestViewedIsKeptPerUser(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.inventory()
		e.user("alex", false)
		e.user("bob", false)
		e.member(dbmodel.InProduct(2), "alex", rule.Reader)
		e.member(dbmodel.InProduct(2), "bob", rule.Reader)
		alex, bob := e.as("alex"), e.as("bob")
		if a, b, admin := e.unread(alex...), e.unread(bob...), e.unread(); a != 2 || b != 2 || admin != 15 {
			t.Errorf("unread before: %d, %d, %d", a, b, admin)
		}
		task, hidden := e.idOf("task 2"), e.idOf("task 1")
		for range 2 { // twice is as once
			e.want(204, "POST", fmt.Sprintf("%s/%d/viewed", inboxPath, task), nil, alex...)
		}
		e.want(404, "POST", fmt.Sprintf("%s/%d/viewed", inboxPath, hidden), nil, alex...)
		for query, want := range map[string][]string{"viewed=true": {"task 2"}, "viewed=false": {"security_gate 2"}, "viewed=true&type=security_gate": {}} {
			if diff := cmp.Diff(want, e.sees(query, alex)); diff != "" {
				t.Errorf("%s: %s", query, diff)
			}
		}
		if diff := cmp.Diff([]string{}, e.sees("viewed=true", bob)); diff != "" {
			t.Error(diff)
		}
		if got := e.want(200, "GET", fmt.Sprintf("%s/%d", inboxPath, task), nil, alex...); got.json["viewed"] != true {
			t.Errorf("not viewed: %s", got.text)
		}
		if got := e.want(200, "GET", fmt.Sprintf("%s/%d", inboxPath, task), nil); got.json["viewed"] != false {
			t.Errorf("viewed by another: %s", got.text)
		}
		// What one cannot see, or does not exist, is passed over.
		e.want(204, "POST", inboxPath+"/viewed", map[string]any{"ids": []int64{hidden, e.idOf("security_gate 2"), 9_000_000}}, alex...)
		if a, b := e.unread(alex...), e.unread(bob...); a != 0 || b != 2 {
			t.Errorf("unread after: %d, %d", a, b)
		}
		if got := e.sees("viewed=false&q=task%201", nil); len(got) != 1 {
			t.Errorf("of the administrator: %v", got)
		}
	})
}

func TestViewedUntil(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.notify(named("first"), named("second"), named("third"))
		if _, err := e.db.NewRaw("UPDATE notifications SET created_at = ? WHERE name <> 'third'", time.Now().Add(-time.Hour)).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.want(204, "POST", fmt.Sprintf("%s/%d/viewed", inboxPath, e.idOf("first")), nil)
		third := e.want(200, "GET", fmt.Sprintf("%s/%d", inboxPath, e.idOf("third")), nil).json["created_at"]
		e.want(204, "POST", inboxPath+"/viewed", map[string]any{"until": third}) // excluded
		if diff := cmp.Diff([]string{"third"}, e.sees("viewed=false", nil)); diff != "" {
			t.Error(diff)
		}
		if n := e.count("notification_views", "true"); n != 0 {
			t.Errorf("%d marks are left that until says", n)
		}
		e.want(204, "POST", inboxPath+"/viewed", `{"until":"2099-01-01T00:00:00Z"}`)
		e.notify(named("fourth")) // it is still to come
		e.want(204, "POST", inboxPath+"/viewed", `{"until":"2020-01-01T00:00:00Z"}`)
		if diff := cmp.Diff([]string{"fourth"}, e.sees("viewed=false", nil)); diff != "" {
			t.Error(diff)
		}
		ids := make([]int, 251)
		for _, faulty := range []any{`{}`, `{"ids":[1],"until":"2026-01-01T00:00:00Z"}`, map[string]any{"ids": ids}, `{"ids":["1"]}`, `{"ids":1}`, `{"until":"soon"}`, `{"all":true}`} {
			e.want(422, "POST", inboxPath+"/viewed", faulty)
		}
		e.want(204, "POST", inboxPath+"/viewed", `{"ids":[]}`)
	})
}

func TestDeleteNotifications(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.inventory()
		e.user("owner", false)
		e.member(dbmodel.InProduct(1), "owner", rule.Owner)
		e.member(dbmodel.InProduct(2), "owner", rule.Maintainer)
		owner := e.as("owner")
		mine, seen, hidden := e.idOf("task 1"), e.idOf("task 2"), e.idOf("observation 2")
		e.want(204, "POST", fmt.Sprintf("%s/%d/viewed", inboxPath, mine), nil, owner...)
		e.want(403, "POST", inboxPath+"/delete", map[string]any{"ids": []int64{mine, seen}}, owner...)
		e.want(403, "DELETE", fmt.Sprintf("%s/%d", inboxPath, seen), nil, owner...)
		e.want(404, "DELETE", fmt.Sprintf("%s/%d", inboxPath, hidden), nil, owner...)
		if n := e.count("notifications", "true"); n != 15 {
			t.Errorf("%d notifications are left: something was deleted without the right", n)
		}
		e.want(204, "POST", inboxPath+"/delete", map[string]any{"ids": []int64{mine, hidden, 9_000_000}}, owner...)
		e.want(204, "DELETE", fmt.Sprintf("%s/%d", inboxPath, e.idOf("security_gate 1")), nil, owner...)
		e.want(404, "GET", fmt.Sprintf("%s/%d", inboxPath, mine), nil)
		if n, d := e.count("notifications", "true"), e.count("deliveries", "state = 'pending'"); n != 13 || d != 13 {
			t.Errorf("%d notifications and %d deliveries are left, want 13 of both", n, d)
		}
		e.want(422, "POST", inboxPath+"/delete", `{}`)
	})
}

// The badge stops counting where nobody reads on one by one; the API goes on.
func TestUnreadBadge(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("root", true)
		badge := func(want string) {
			t.Helper()
			for _, span := range e.visitor("root").open("/products").all("span") {
				if attr(span, "id") == "unread" && (textOf(span) != strings.TrimSpace(want+" not viewed") || has(span, "hidden") != (want == "")) {
					t.Errorf("the badge says %q instead of %q", textOf(span), want)
				}
			}
		}
		badge("")
		e.notify(slices.Repeat([]dbmodel.NewNotification{named("many")}, 999)...)
		badge("999")
		e.notify(named("one"), named("two"))
		badge("999+")
		if n := e.unread(); n != 1001 {
			t.Errorf("%d are unread", n)
		}
	})
}
