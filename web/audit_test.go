package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestAudit: each thing that counts has a line with what, who and the client, and none holds a secret.
func TestAudit(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.withPassword("boss", true)
	e.user("kim", false)
	e.product(1)
	e.observed(1, "first", "new", "High")
	e.observed(1, "second", "new", "High")
	e.form("/login", url.Values{"username": {"boss"}, "password": {"a wrong passphrase"}})
	e.form("/login", url.Values{"username": {"hunter2 in the wrong field"}, "password": {"x"}})
	e.form("/login", url.Values{"username": {"hunter2"}, "password": {"x"}})
	cookie, _ := e.logIn("boss", goodPassword, "/")
	boss := &visitor{e: e, cookie: cookie}
	const kim = "/users/kim"
	boss.ask(http.MethodPost, kim+"/password", url.Values{})
	boss.ask(http.MethodPost, kim+"/tokens", url.Values{"scope": {"user"}, "expires": {""}})
	boss.ask(http.MethodPost, kim+"/tokens/1/revoke", url.Values{})
	boss.ask(http.MethodPost, "/products/1/members", url.Values{"username": {"kim"}, "role": {"owner"}})
	boss.ask(http.MethodPost, "/logout", url.Values{})
	for _, call := range []struct{ method, path, body string }{
		{"PATCH", "/settings", `{"digest_threshold":7,"exception_slack_webhook":"` + slackURL + `"}`},
		{"PUT", "/products/1", `{"notification_slack_webhook":"` + slackURL + `","observation_notification_min_severity":"High"}`},
		{"PUT", "/users/kim", `{"is_admin":true}`},
		{"DELETE", "/products/1/members/kim", ""},
		{"DELETE", "/users/kim", ""},
		{"POST", "/notifications/delete", `{"ids":[1]}`},
		{"POST", "/notifications/delete", `{"filter":{}}`},
		{"DELETE", "/products/1", ""},
		{"PUT", "/product-groups/3", `{"name":"Shop"}`},
		{"DELETE", "/product-groups/3", ""},
	} {
		if r := e.send(call.method, "/api/v1"+call.path, call.body); r.status >= 300 {
			t.Errorf("%s %s: %d %s", call.method, call.path, r.status, r.text)
		}
	}
	var got []string
	for line := range strings.SplitSeq(strings.TrimSpace(e.log.String()), "\n") {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l["audit"] == nil {
			continue
		}
		if l["client"] != "127.0.0.1" || l["request_id"] == "" {
			t.Errorf("whose? %s", line)
		}
		text := fmt.Sprint(l["audit"], " ", l["user"])
		for _, name := range []string{"of", "id", "in", "role", "administrator", "scope", "by", "notifications", "by_filter", "fields"} {
			if v, there := l[name]; there {
				text += fmt.Sprint(" ", name, "=", v)
			}
		}
		got = append(got, text)
	}
	want := `product_changed automation id=1 fields=[name]
login_failed boss by=password
login_failed <nil> by=password
login_failed <nil> by=password
login boss by=password
password_changed boss of=kim
token_created boss of=kim id=1 scope=user
token_revoked boss of=kim id=1
role_changed boss of=kim id=1 in=product role=owner
logout boss
settings_changed automation fields=[digest_threshold exception_slack_webhook]
product_changed automation id=1 fields=[notification_slack_webhook observation_notification_min_severity]
role_changed automation of=kim administrator=true
role_changed automation of=kim id=1 in=product role=
user_deleted automation of=kim
notifications_deleted automation notifications=1 by_filter=false
notifications_deleted automation notifications=1 by_filter=true
product_deleted automation id=1
product_group_changed automation id=3 fields=[name]
product_group_deleted automation id=3`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s", text)
	}
	for _, secret := range append(secrets, goodPassword, "a wrong passphrase", "hunter2", slackURL) {
		if strings.Contains(e.log.String(), secret) {
			t.Errorf("the log holds %.8s…", secret)
		}
	}
}
