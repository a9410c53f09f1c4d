package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

const inboxPath = "/api/v1/notifications"

// notify stores notifications as a worker would.
func (e *env) notify(list ...dbmodel.NewNotification) {
	e.t.Helper()
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error { return dbmodel.InsertNotifications(ctx, tx, list) })
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) targets(c rule.Channel, list ...string) []int64 {
	e.t.Helper()
	ids, err := dbmodel.EnsureTargets(e.t.Context(), e.db, e.vault, c, list)
	if err != nil {
		e.t.Fatal(err)
	}
	return ids
}

func named(name string) dbmodel.NewNotification {
	return dbmodel.NewNotification{Notification: dbmodel.Notification{Type: rule.TypeObservation, Event: rule.EventNew, Name: name, ProductID: new(int64(1))}}
}

func names(r *reply) []string {
	out := []string{}
	for _, i := range r.json["items"].([]any) {
		out = append(out, i.(map[string]any)["name"].(string))
	}
	return out
}

func TestNotification(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		n := dbmodel.NewNotification{Notification: dbmodel.Notification{
			Type: rule.TypeObservation, Event: rule.EventChanged, Name: "CVE-2026-1", ProductID: new(int64(1)), ObservationID: new(int64(2)),
			Facts: dbmodel.Facts{
				ProductName: "Payments", ObservationTitle: "CVE-2026-1",
				Details: dbmodel.Details{Origin: dbmodel.Origin{File: "go.mod"}, KnownExploited: new(true), EPSSScore: new(0.5), FixedVersion: "3.0.1"},
			},
		}, Targets: append(e.targets(rule.Email, "a@example.com"), e.targets(rule.Slack, slackURL)...)}
		n.SetValues(&rule.Values{Severity: rule.High, Status: rule.Open},
			&rule.Values{Severity: rule.Critical, Status: rule.InReview, Priority: new(3), KnownExploited: new(true)})
		task := dbmodel.NewNotification{Notification: dbmodel.Notification{
			Type: rule.TypeTask, Name: "ValueError", Message: "no", Function: "import", Username: "alex", Arguments: json.RawMessage(`{"a":{"b":[1]}}`), Trace: "line 1", Suppressed: 24,
		}}
		e.notify(n, task)
		list := e.want(200, "GET", inboxPath, nil)
		items := list.json["items"].([]any)
		if len(items) != 2 || list.json["next_cursor"] != nil {
			t.Fatal(list.text)
		}
		for i, want := range []map[string]any{{
			"type": "task", "event": nil, "name": "ValueError", "message": "no", "product": nil, "observation": nil, "before": nil, "after": nil, "facts": nil,
			"user": "alex", "function": "import", "arguments": map[string]any{"a": map[string]any{"b": []any{1.0}}}, "trace": "line 1", "suppressed": 24.0,
			"viewed": false, "deliveries": []any{},
		}, {
			"type": "observation", "event": "changed", "name": "CVE-2026-1", "message": "", "product": map[string]any{"id": 1.0, "name": "Payments"},
			"observation": map[string]any{"id": 2.0, "title": "CVE-2026-1"}, "before": map[string]any{"severity": "High", "status": "Open", "priority": nil, "known_exploited": nil},
			"after": map[string]any{"severity": "Critical", "status": "In review", "priority": 3.0, "known_exploited": true},
			"facts": map[string]any{
				"vulnerability_id": "", "cvss_score": nil, "origin": map[string]any{"file": "go.mod"}, "url": "", "known_exploited": true,
				"epss_score": 0.5, "fixed_version": "3.0.1", "branch": "", "service": "", "scanner": "",
			},
			"user": "", "function": "", "arguments": nil, "trace": "", "suppressed": 0.0, "viewed": false,
			"deliveries": []any{
				map[string]any{"channel": "email", "target": "a@example.com", "source": nil, "state": "pending", "attempts": 0.0, "last_error": "", "next_attempt_at": nil, "sent_at": nil},
				map[string]any{"channel": "slack", "target": "https://hooks.slack.com/…a1b2", "source": nil, "state": "pending", "attempts": 0.0, "last_error": "", "next_attempt_at": nil, "sent_at": nil},
			},
		}} {
			got := items[i].(map[string]any)
			one := e.want(200, "GET", fmt.Sprintf("%s/%v", inboxPath, got["id"]), nil).json
			if diff := cmp.Diff(got, one); diff != "" {
				t.Errorf("the list and one by one differ:\n%s", diff)
			}
			if at, _ := got["created_at"].(string); !strings.HasSuffix(at, "Z") {
				t.Errorf("created at %v", got["created_at"])
			}
			delete(got, "id")
			delete(got, "created_at")
			for _, d := range got["deliveries"].([]any) {
				delete(d.(map[string]any), "id")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s:\n%s", want["name"], diff)
			}
		}
		e.want(404, "GET", inboxPath+"/99999", nil)
		e.want(422, "GET", inboxPath+"/x", nil)
	})
}

func TestNotificationFilters(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.notify(named("A 100% sure_thing"))
		first := e.want(200, "GET", inboxPath, nil).json["items"].([]any)[0].(map[string]any)["created_at"].(string)
		gate := named("gate")
		gate.Type, gate.Event, gate.ProductID = rule.TypeSecurityGate, rule.EventFailed, new(int64(2))
		task := named("task")
		task.Type, task.Event, task.Username, task.ProductID = rule.TypeTask, "", "alex", nil
		e.notify(gate, task)
		gateAt := e.want(200, "GET", inboxPath+"?type=security_gate", nil).json["items"].([]any)[0].(map[string]any)["created_at"].(string)
		q := url.QueryEscape
		for query, want := range map[string][]string{
			"":                         {"task", "gate", "A 100% sure_thing"},
			"sort=created_at":          {"A 100% sure_thing", "gate", "task"},
			"sort=-created_at&limit=1": {"task"},
			"type=observation":         {"A 100% sure_thing"},
			"type=exception":           {},
			"event=failed":             {"gate"},
			"product_id=2":             {"gate"},
			"product_id=3":             {},
			"user=alex":                {"task"},
			"q=SURE":                   {"A 100% sure_thing"},
			"q=" + q("0%"):             {"A 100% sure_thing"},
			"q=" + q("1%sure"):         {},
			"q=" + q("sureXthing"):     {},
			"q=" + q("sure_"):          {"A 100% sure_thing"},
			"q=_":                      {"A 100% sure_thing"},
			"q=" + q(`\`):              {},
			"q=" + q(`'`):              {},
			"since=" + first:           {"task", "gate", "A 100% sure_thing"},
			"since=" + gateAt:          {"task", "gate"},
			"until=" + gateAt:          {"A 100% sure_thing"},
			"until=" + first:           {},
			"since=2020-01-01T00:00:00+01:00&until=2999-01-01T00:00:00Z": {"task", "gate", "A 100% sure_thing"},
			"type=observation&event=new&product_id=1&q=thing":            {"A 100% sure_thing"},
		} {
			if diff := cmp.Diff(want, names(e.want(200, "GET", inboxPath+"?"+query, nil))); diff != "" {
				t.Errorf("%s:\n%s", query, diff)
			}
		}
	})
}

func TestListFaults(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.product(1)
	e.product(2)
	cursor := e.want(200, "GET", "/api/v1/products?limit=1", nil).json["next_cursor"].(string)
	for _, c := range []struct{ path, query, field string }{
		{inboxPath, "limit=0", "query.limit"},
		{inboxPath, "limit=251", "query.limit"},
		{inboxPath, "limit=-1", "query.limit"},
		{inboxPath, "limit=ten", "query.limit"},
		{inboxPath, "cursor=x", "query.cursor"},
		{inboxPath, "cursor=%00", "query.cursor"},
		{inboxPath, "cursor=" + cursor, "query.cursor"},
		{inboxPath, "type=observations", "query.type"},
		{inboxPath, "event=New", "query.event"},
		{inboxPath, "product_id=0", "query.product_id"},
		{inboxPath, "product_id=x", "query.product_id"},
		{inboxPath, "since=2026-01-01", "query.since"},
		{inboxPath, "until=2026-01-01T00:00:00", "query.until"},
		{inboxPath, "sort=name", "query.sort"},
		{inboxPath, "q=%00", "query.q"},
		{inboxPath, "user=%ff", "query.user"},
		{inboxPath, "nonsense=1", "query.nonsense"},
		{"/api/v1/deliveries", "state=Sent", "query.state"},
		{"/api/v1/deliveries", "channel=teams", "query.channel"},
		{"/api/v1/deliveries", "product_id=-1", "query.product_id"},
		{"/api/v1/deliveries", "limit=1000", "query.limit"},
		{"/api/v1/deliveries", "cursor=aWQgMA", "query.cursor"},
		{"/api/v1/products", "limit=0", "query.limit"},
		{"/api/v1/products", "cursor=" + cursor + "x", "query.cursor"},
		{"/api/v1/product-groups", "cursor=====", "query.cursor"},
	} {
		if f := e.want(422, "GET", c.path+"?"+c.query, nil).faults(); f[c.field] == "" || len(f) != 1 {
			t.Errorf("%s?%s: %v", c.path, c.query, f)
		}
	}
}

// TestPages: each row comes once, in order, although rows are added while one turns the pages.
func TestPages(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		slack := e.targets(rule.Slack, slackURL)
		add := func(name string) {
			n := named(name)
			n.Targets = slack
			e.notify(n)
		}
		for i := range 7 {
			add(fmt.Sprint(i))
			e.product(int64(i + 1))
			e.want(200, "PUT", fmt.Sprintf("/api/v1/product-groups/%d", i+1), `{"name":"g"}`)
		}
		walk := func(path string) (out []string) {
			sep, cursor := "?", ""
			if strings.Contains(path, "?") {
				sep = "&"
			}
			for page := range 10 {
				r := e.want(200, "GET", path+sep+"limit=2"+cursor, nil)
				items := r.json["items"].([]any)
				for _, i := range items {
					m := i.(map[string]any)
					name := m["name"]
					if name == nil {
						name = m["notification_id"]
					}
					out = append(out, fmt.Sprint(name))
				}
				next, more := r.json["next_cursor"].(string)
				if !more {
					return out
				}
				if len(items) != 2 {
					t.Errorf("%s: page %d has %d rows", path, page, len(items))
				}
				if !strings.Contains(path, "sort=created_at") {
					add("later")
				}
				cursor = "&cursor=" + url.QueryEscape(next)
			}
			t.Fatalf("%s: no end", path)
			return nil
		}
		if got := strings.Join(walk(inboxPath), " "); got != "6 5 4 3 2 1 0" {
			t.Errorf("newest first: %s", got)
		}
		if got := strings.Join(walk(inboxPath+"?q=later&sort=created_at"), " "); got != "later later later" {
			t.Errorf("of those added: %s", got)
		}
		if got := walk("/api/v1/products"); len(got) != 7 || got[0] != "product 1" {
			t.Errorf("products: %v", got)
		}
		if got := walk("/api/v1/product-groups"); len(got) != 7 {
			t.Errorf("product groups: %v", got)
		}
		seen := map[string]bool{}
		for _, id := range walk("/api/v1/deliveries?state=pending&channel=slack&product_id=1") {
			if seen[id] {
				t.Errorf("delivery of notification %s twice", id)
			}
			seen[id] = true
		}
		if len(seen) < 10 {
			t.Errorf("deliveries: %v", seen)
		}
		for _, query := range []string{"state=sent", "channel=email", "product_id=9"} {
			if got := e.want(200, "GET", "/api/v1/deliveries?"+query, nil); len(got.json["items"].([]any)) != 0 {
				t.Errorf("%s: %s", query, got.text)
			}
		}
		if got := e.want(200, "GET", "/api/v1/status", nil); got.json["pending_deliveries"].(float64) < 10 || got.json["queues"] == nil {
			t.Error(got.text)
		}
	})
}

// A search that takes too long ends, and says what to do. Here it waits for somebody who has the table.
func TestSearchEnds(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.PostgresDB(t))
	tx, err := e.db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.ExecContext(t.Context(), "LOCK TABLE notifications")
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := e.want(422, "GET", inboxPath+"?q=x", nil).faults(); !strings.Contains(got["query.q"], "too long") {
		t.Errorf("it says %v", got)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	e.want(200, "GET", inboxPath+"?q=x", nil)
}
