package web_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/web"
)

const frontend = "https://secobserve.example"

// takenFromSecObserve marks a product, its group and a user as they are after a pass over SecObserve.
func (e *env) takenFromSecObserve() {
	e.t.Helper()
	put := func(path string, body any) {
		e.t.Helper()
		if r := e.send("PUT", path, body); r.status/100 != 2 {
			e.t.Fatalf("PUT %s: %d %s", path, r.status, r.text)
		}
	}
	put("/api/v1/product-groups/3", map[string]any{"name": "Group"})
	put("/api/v1/products/7", map[string]any{
		"name": "One", "product_group_id": 3, "notification_email_to": "a@x.org", "observation_notification_min_severity": "High",
		"notification_slack_webhook": "https://hooks.slack.com/services/T/B/verysecret",
	})
	put("/api/v1/products/8", map[string]any{"name": "Two"})
	put("/api/v1/users/kim", map[string]any{"full_name": "Kim"})
	put("/api/v1/products/7/members/kim", map[string]any{"role": "reader"})
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		u, err := dbmodel.UserByName(ctx, tx, "kim")
		if err == nil {
			err = dbmodel.SaveSecObserveUser(ctx, tx, &dbmodel.SecObserveUser{UserID: u.ID, ID: 1, Active: true})
		}
		if err == nil {
			err = dbmodel.SaveSecObserveGroup(ctx, tx, 3, "key")
		}
		if err == nil {
			err = dbmodel.SaveSecObserveProduct(ctx, tx, &dbmodel.SecObserveProduct{ID: 7, Settings: "key"})
		}
		if err == nil {
			err = dbmodel.SaveSecObserve(ctx, tx, &dbmodel.SecObserveState{Loaded: true, Frontend: frontend, Sender: "so@x.org", Settings: "key"})
		}
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

func TestWhatComesFromSecObserveIsReadOnly(t *testing.T) {
	t.Parallel()
	all := web.SecObserve{URL: "https://backend.example", Contacts: true, Conditions: true, Members: true, Settings: true}
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, func(c *web.Config) { c.SecObserve = &all })
		keeps := newEnv(t, db, func(c *web.Config) { c.SecObserve = &web.SecObserve{URL: all.URL} })
		e.takenFromSecObserve()
		observation := map[string]any{"id": 5, "product_id": 7, "title": "t", "severity": "High", "status": "Open", "priority": nil, "parser_type": "SCA"}
		type object = map[string]any
		for _, c := range []struct {
			method, path string
			body         any
			place        string // where to change it; empty: it is allowed here
			kept         bool   // by all that can be kept, it is allowed
		}{
			{"PUT", "/products/7", object{"name": "Other"}, "/#/products/7/show", false},
			{"PUT", "/products/7", object{"product_group_id": nil}, "/#/products/7/show", false},
			{"PUT", "/products/7", object{"observation_notification_min_severity": "Low"}, "/#/products/7/show", true},
			{"PUT", "/products/7", object{"observation_notification_statuses": []string{"Open"}}, "/#/products/7/show", true},
			{"PUT", "/products/7", object{"notification_email_to": "b@x.org"}, "/#/products/7/show", true},
			{"PUT", "/products/7", object{"notification_slack_webhook": ""}, "/#/products/7/show", true},
			{"PUT", "/products/7", object{"notification_paused_until": "2040-01-01T00:00:00Z"}, "", false},
			{"PUT", "/product-groups/3", object{"name": "Other"}, "/#/product_groups/3/show", false},
			{"PUT", "/product-groups/3", object{"notification_ms_teams_webhook": "https://x.example/y"}, "/#/product_groups/3/show", true},
			{"PUT", "/products/7/security-gate", object{"passed": true}, "/#/products/7/show", false},
			{"PUT", "/products/7/members/kim", object{"role": "owner"}, "/#/products/7/show", true},
			{"DELETE", "/products/7/members/kim", nil, "/#/products/7/show", true},
			{"PUT", "/users/kim", object{"is_admin": true}, "/#/users", false},
			{"PUT", "/users/kim", object{"full_name": "Kim"}, "", false},
			{"POST", "/observations", object{"observations": []any{observation}}, "/#/observations", false},
			{"PATCH", "/settings", object{"exception_rate_limit": 5}, "/#/settings/1/show", true},
			{"PATCH", "/settings", object{"email_from": "other@x.org"}, "/#/settings/1/show", true},
			{"PATCH", "/settings", object{"observation_title_notification_min_severity": "High"}, "/#/settings/1/show", true},
			{"PATCH", "/settings", object{"digest_threshold": 5}, "", false},
			{"PUT", "/products/8", object{"name": "Mine", "notification_email_to": "c@x.org"}, "", false},
			{"DELETE", "/users/kim", nil, "/#/users", false},
			{"DELETE", "/product-groups/3", nil, "/#/product_groups/3/show", false},
			{"DELETE", "/products/7", nil, "/#/products/7/show", false},
		} {
			r := e.send(c.method, "/api/v1"+c.path, c.body)
			switch {
			case c.place == "" && r.status/100 != 2:
				t.Errorf("%s %s %v: %d %s", c.method, c.path, c.body, r.status, r.text)
			case c.place != "" && (r.status != 409 || !strings.Contains(r.text, frontend+c.place)):
				t.Errorf("%s %s %v: %d %s, want 409 and %s", c.method, c.path, c.body, r.status, r.text, c.place)
			}
			if !c.kept {
				continue
			}
			if r := keeps.send(c.method, "/api/v1"+c.path, c.body); r.status/100 != 2 && r.status != 404 {
				t.Errorf("kept: %s %s %v: %d %s", c.method, c.path, c.body, r.status, r.text)
			}
		}
		if r := e.send("PUT", "/api/v1/products/7", e.send("GET", "/api/v1/products/7", nil).json); r.status != 200 {
			t.Errorf("what GET answered is refused: %d %s", r.status, r.text)
		}
	})
}

func TestPagesSayWhatComesFromSecObserve(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.SQLiteDB(t), func(c *web.Config) {
		c.SecObserve = &web.SecObserve{URL: "https://backend.example", Contacts: true, Conditions: true, Members: true, Settings: true}
	})
	e.takenFromSecObserve()
	page := e.send("GET", "/products/7", nil).text
	for _, part := range []string{"This comes from SecObserve", frontend + "/#/products/7/show"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page of the product lacks %q:\n%s", part, page)
		}
	}
	for _, field := range []string{"observation_notification_min_severity", "notification_email_to", "notification_slack_webhook"} {
		if strings.Contains(page, `name="`+field+`"`) {
			t.Errorf("the page of the product offers to change %s", field)
		}
	}
	if !strings.Contains(page, `name="notification_paused_until"`) {
		t.Error("the page of the product offers no pause")
	}
	page = e.send("GET", "/settings", nil).text
	for _, part := range []string{"Some of this comes from SecObserve", frontend + "/#/settings/1/show", "<b>3600 seconds</b>"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page of the settings lacks %q:\n%s", part, page)
		}
	}
	for _, field := range []string{
		"observation_title_notification_statuses", "exception_slack_webhook", "exception_rate_limit", "email_from",
	} {
		if strings.Contains(page, `name="`+field+`"`) {
			t.Errorf("the page of the settings offers to change %s", field)
		}
	}
	own := url.Values{"digest_threshold": {"7"}, "digest_threshold.was": {"10"}}
	e.send("POST", "/settings", own.Encode(), "Content-Type", formType)
	if text := e.want(200, "GET", "/api/v1/settings", nil).text; !strings.Contains(text, `"digest_threshold":7`) {
		t.Errorf("what is Tocsin's own cannot be changed: %s", text)
	}
}
