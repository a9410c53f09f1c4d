package web_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

const previewPath = "/api/v1/products/1/preview"

// preview returns how many observations match, how many notifications each day has, and the names of the first ones.
func (e *env) preview(body string, who ...string) (matching float64, days []float64, first []string) {
	e.t.Helper()
	got := e.want(200, "POST", previewPath, body, who...).json
	for _, d := range got["days"].([]any) {
		days = append(days, d.(map[string]any)["count"].(float64))
	}
	for _, f := range got["first"].([]any) {
		f := f.(map[string]any)
		first = append(first, fmt.Sprintf("%v %v", f["event"], f["name"]))
	}
	return got["matching"].(float64), days, first
}

// daysAgo moves what was stored with this name or title, or about this observation, into the past.
func (e *env) daysAgo(days int, title string) {
	e.t.Helper()
	at := time.Now().AddDate(0, 0, -days)
	e.exec("UPDATE notifications SET created_at = ? WHERE name = ?", at, title)
	e.exec("UPDATE observations SET reported_at = ? WHERE title = ?", at, title)
}

func TestPreviewSettings(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"name":"group","observation_notification_min_severity":"Critical"}`)
		e.want(200, "PUT", "/api/v1/products/1", `{"name":"product","product_group_id":1}`)
		e.want(200, "PUT", "/api/v1/products/2", `{"name":"other"}`)
		all := []string{}
		for id, severity := range []string{"Critical", "High", "High", "Medium", "Low"} {
			all = append(all, observation(int64(id+1), 1, map[string]any{"severity": severity}))
		}
		all = append(all, observation(6, 1, map[string]any{"status": "Resolved"}), observation(7, 2, nil))
		e.want(202, "POST", postPath, `{"observations":[`+strings.Join(all, ",")+`]}`)
		// The Critical one was notified, and is remembered; a High one was Critical before and dropped.
		notified := func(observation int64, event rule.Event, before, after rule.Severity) {
			n := named(fmt.Sprintf("CVE-2026-%d", observation))
			n.Event, n.ObservationID = event, &observation
			var was *rule.Values
			if before != "" {
				was = &rule.Values{Severity: before, Status: rule.Open}
			}
			n.SetValues(was, &rule.Values{Severity: after, Status: rule.Open})
			e.notify(n)
		}
		notified(1, rule.EventNew, "", rule.Critical)
		notified(2, rule.EventDropped, rule.Critical, rule.High)
		e.exec("UPDATE observations SET notified_severity = 'Critical', notified_status = 'Open' WHERE id = 1")
		e.daysAgo(2, "CVE-2026-1")
		e.daysAgo(1, "CVE-2026-2")
		e.daysAgo(9, "CVE-2026-3")

		e.exec("UPDATE observations SET reported_at = NULL WHERE id = 5") // it is not known when
		for _, test := range []struct {
			name, body string
			matching   float64
			days       []float64
			first      []string
		}{
			{"as it is", `{"settings":{},"days":3}`, 1, []float64{1, 1, 0}, []string{"dropped CVE-2026-2", "new CVE-2026-1"}},
			{
				"wider", `{"settings":{"observation_notification_min_severity":"Medium"},"days":3}`, 4,
				[]float64{1, 1, 1},
				[]string{"new CVE-2026-4", "changed CVE-2026-2", "new CVE-2026-1"},
			},
			{
				"further back", `{"settings":{"observation_notification_min_severity":"High"},"days":30}`, 3,
				append(make([]float64, 20), 1, 0, 0, 0, 0, 0, 0, 1, 1, 0),
				[]string{"changed CVE-2026-2", "new CVE-2026-1", "new CVE-2026-3"},
			},
			{
				"another status", `{"settings":{"observation_notification_min_severity":"High","observation_notification_statuses":["Resolved"]},"days":1}`, 1,
				[]float64{1},
				[]string{"new CVE-2026-6"},
			},
			{"the group's where it is cleared", `{"settings":{"observation_notification_min_severity":""},"days":1}`, 1, []float64{0}, nil},
		} {
			matching, days, first := e.preview(test.body)
			if diff := cmp.Diff([]any{test.matching, test.days, test.first}, []any{matching, days, first}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.name, diff)
			}
		}
		got := e.want(200, "POST", previewPath, `{"settings":{}}`).json
		today := time.Now().UTC().Format("2006-01-02")
		if days := got["days"].([]any); len(days) != 7 || days[6].(map[string]any)["date"] != today {
			t.Errorf("days %v, want 7 up to %s", days, today)
		}
		first := got["first"].([]any)[0].(map[string]any)
		if diff := cmp.Diff(map[string]any{"id": 2.0, "title": ""}, first["observation"]); diff != "" {
			t.Errorf("observation (-want +got):\n%s", diff)
		}
		if got := e.want(200, "GET", "/api/v1/products/1", nil); got.json["observation_notification_min_severity"] != "" {
			t.Errorf("it was stored: %s", got.text)
		}
	})
}

func TestPreviewIsChecked(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		e.product(2)
		e.user("reader", false)
		e.user("boss", false)
		e.member(dbmodel.InProduct(1), "reader", rule.Reader)
		e.member(dbmodel.InProduct(1), "boss", rule.Maintainer)
		for _, test := range []struct {
			body, location string
		}{
			{`{}`, "settings"},
			{`{"settings":{},"subscription":{}}`, "settings"},
			{`{"settings":[1]}`, "settings"},
			{`{"settings":{},"days":31}`, "days"},
			{`{"settings":{},"days":0}`, "days"},
			{`{"settings":{"observation_notification_min_severity":"Bad"}}`, "settings.observation_notification_min_severity"},
			{`{"settings":{"no":1}}`, "settings.no"},
			{`{"settings":{"notification_slack_webhook":"https://10.0.0.1/x"}}`, "settings.notification_slack_webhook"},
			{`{"settings":{"notification_email_to":"x"}}`, "settings.notification_email_to"},
			{`{"settings":{"product_group_id":9}}`, "settings.product_group_id"},
			{`{"subscription":{"events":["passed"],"types":["observation"]}}`, "subscription.events"},
			{`{"subscription":{"product_id":2}}`, "subscription.product_id"},
			{`{"subscription":{"username":"nobody"}}`, "subscription.username"},
			{`{"subscription":{"contacts":[{"channel":"slack","address":"x"}]}}`, "subscription.contacts[0].address"},
		} {
			if got := e.want(422, "POST", previewPath, test.body); got.faults()[test.location] == "" {
				t.Errorf("%s: %s", test.body, got.text)
			}
		}
		e.want(403, "POST", previewPath, `{"settings":{}}`, e.as("reader")...)
		e.want(403, "POST", previewPath, `{"subscription":{}}`, e.as("reader")...)
		e.want(200, "POST", previewPath, `{"subscription":{"username":"me"}}`, e.as("reader")...)
		e.want(200, "POST", previewPath, `{"subscription":{}}`, e.as("boss")...)
		e.want(403, "POST", previewPath, `{"subscription":{"product_id":null}}`, e.as("boss")...)
		e.want(403, "POST", previewPath, `{"settings":{"product_group_id":9}}`, e.as("boss")...)
		e.want(422, "POST", previewPath, `{"subscription":{"username":"boss"}}`, e.as("reader")...)
		e.want(404, "POST", "/api/v1/products/2/preview", `{"subscription":{"username":"me"}}`, e.as("reader")...)
		if n := e.count("targets", "true") + e.count("subscriptions", "true"); n != 0 {
			t.Errorf("%d rows were stored", n)
		}
	})
}

func TestPreviewSubscription(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/products/1", `{"name":"product","observation_notification_min_severity":"Medium"}`)
		e.product(2)
		e.user("reader", false)
		e.member(dbmodel.InProduct(1), "reader", rule.Reader)
		e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, map[string]any{"severity": "Critical"})+`,`+observation(2, 1, nil)+`,`+observation(3, 1, map[string]any{"severity": "Low"})+`]}`)
		e.observed(1, "CVE-2026-1", rule.EventNew, rule.Critical)
		e.observed(1, "CVE-2026-2", rule.EventChanged, rule.High)
		e.observed(2, "CVE-2026-9", rule.EventNew, rule.Critical)
		gate := about("gate", rule.TypeSecurityGate, 1)
		gate.Event = rule.EventFailed
		e.notify(gate, about("ValueError", rule.TypeException, 0))

		want := func(name string, matching float64, names string, body string, who ...string) {
			t.Helper()
			got, _, first := e.preview(`{"days":1,"subscription":{`+body+`}}`, who...)
			if got != matching || strings.Join(first, ", ") != names {
				t.Errorf("%s: %v match, %q; want %v, %q", name, got, first, matching, names)
			}
		}
		want("a team's", 2, "failed gate, changed CVE-2026-2, new CVE-2026-1", "")
		want("a filter", 1, "failed gate, new CVE-2026-1", `"min_severity":"Critical"`)
		want("types", 0, "failed gate", `"types":["security_gate"]`)
		want("events", 2, "changed CVE-2026-2", `"events":["changed"]`)
		want("with a schedule", 2, "failed gate, changed CVE-2026-2, new CVE-2026-1", `"schedule":"0 8 * * *"`)
		want("a reader sees no observations", 0, "failed gate", `"username":"me"`, e.as("reader")...)
		e.want(200, "PATCH", "/api/v1/settings", `{"member_notification_types":["observation"]}`)
		want("a reader sees observations", 2, "changed CVE-2026-2, new CVE-2026-1", `"username":"me"`, e.as("reader")...)
	})
}

func TestPreviewOnPages(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("root", true)
		e.product(1)
		e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, map[string]any{"severity": "Critical"})+`,`+observation(2, 1, nil)+`]}`)
		e.observed(1, "CVE-2026-1", rule.EventNew, rule.Critical)
		v := e.visitor("root")
		s := v.send(v.open("/products/1"), "Preview", url.Values{"observation_notification_min_severity": {"High"}})
		s.says("There would have been 3 notifications in the last 7 days, 2 of them Critical. Nothing is saved yet. 2 observations match now.")
		if !strings.Contains(s.source, `<option value="High" selected>`) {
			t.Error("the form does not show what was chosen")
		}
		s.saysNot("Nothing was saved: ")
		s = v.send(s, "Save", nil)
		if got := e.want(200, "GET", "/api/v1/products/1", nil).json["observation_notification_min_severity"]; got != "High" {
			t.Errorf("saved after a preview: %v", got)
		}
		v.send(s, "Preview", url.Values{"observation_notification_min_priority": {"x"}}).says("Nothing was saved")

		made := e.want(201, "POST", "/api/v1/subscriptions", `{"product_id":1,"contacts":[{"channel":"email","address":"a@example.com"}]}`).json["id"]
		s = v.send(v.open(fmt.Sprintf("/subscriptions/%v", made)), "Preview", url.Values{"min_severity": {"Critical"}})
		s.says("There would have been 1 notification in the last 7 days, 1 of them Critical. Nothing is saved yet.")
		everything := e.want(201, "POST", "/api/v1/subscriptions", `{"contacts":[{"channel":"email","address":"a@example.com"}]}`).json["id"]
		e.notify(about("ValueError", rule.TypeException, 0))
		v.send(v.open(fmt.Sprintf("/subscriptions/%v", everything)), "Preview", nil).says("There would have been 2 notifications in the last 7 days, 1 of them Critical.")
	})
}

// A preview looks through far more than it names.
func TestPreviewOfMany(t *testing.T) {
	t.Parallel()
	const many = 20_000 / (testenv.Slowdown * testenv.Slowdown) // the time of a preview is bounded
	e := newSQLiteEnv(t)
	e.want(200, "PUT", "/api/v1/products/1", `{"name":"product","observation_notification_min_severity":"High"}`)
	e.exec(`INSERT INTO observations (id, product_id, title, title_hash, severity, status, parser_type, reported_at)
		WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < ?) SELECT n, 1, 'CVE-' || n, n, 'High', 'Open', 'SCA', ? FROM i`, many, time.Now())
	if _, days, first := e.preview(`{"settings":{"observation_notification_min_severity":"Low"},"days":1}`); days[0] != many || len(first) != 10 {
		t.Errorf("%v, %v", days, first)
	}
}
