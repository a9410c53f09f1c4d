package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

func TestNotificationPage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("root", true)
		e.product(1)
		e.want(200, "PUT", "/api/v1/products/1", map[string]any{"notification_slack_webhook": slackURL})
		e.observed(1, "CVE-2026-1", rule.EventChanged, rule.High, e.targets(rule.Slack, slackURL)...)
		if _, err := e.db.DB.DB.ExecContext(t.Context(), "UPDATE deliveries SET state = 'failed', attempts = 5, last_error = 'the webhook answered 404'"); err != nil {
			t.Fatal(err)
		}
		v := e.visitor("root")
		s := v.follow(v.open("/"), "CVE-2026-1")
		s.says("Low → High: CVE-2026-1 in product 1", "Severity Low High", "Status Open Affected", "Priority none 3", "not viewed",
			"Payments · product 1", "Slack https://hooks.slack.com/…", "failed", "the webhook answered 404", "Resend")
		s.saysNot("Message", "Why?") // there is no such observation any more
		s = v.send(s, "Mark viewed", nil)
		s.says("1 notification is marked as viewed", "· viewed")
		s = v.send(s, "Resend", nil)
		s.says("waiting")
		v.send(v.send(s, "Delete", nil), "Delete for everyone", nil).says("1 notification is deleted")
	})
}

// Members see that an exception said something, administrators what.
func TestNotificationPageHides(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.user("root", true)
	e.user("alex", false)
	e.product(1)
	e.member(dbmodel.InProduct(1), "alex", rule.Reader)
	e.notify(dbmodel.NewNotification{Notification: dbmodel.Notification{
		Type: rule.TypeTask, Name: "ValueError", Function: "import", ProductID: new(int64(1)), Message: "it broke", Trace: "line 7",
		Arguments: []byte(`{"file":"a.json"}`),
	}})
	page := fmt.Sprintf("/notifications/%s", e.visitor("root").open("/").id("import: ValueError"))
	e.visitor("root").open(page).says("it broke", "line 7", "a.json", "No recipients")
	s := e.visitor("alex").open(page)
	s.says("import", "administrators only")
	for _, hidden := range []string{"it broke", "line 7", "a.json"} {
		if strings.Contains(s.source, hidden) {
			t.Errorf("alex reads %q", hidden)
		}
	}
	s.saysNot("Delete", "Resend to")
}

// A title is explained by the worst observation that bears it.
func TestTitlePage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("root", true)
		e.product(1)
		e.product(2)
		same := func(id, product int64, severity string) string {
			return observation(id, product, map[string]any{"title": "CVE-2026-1", "severity": severity})
		}
		e.want(202, "POST", postPath, `{"observations":[`+same(1, 1, "Low")+`,`+same(2, 2, "Critical")+`,`+same(3, 1, "Critical")+`,`+observation(4, 1, nil)+`]}`)
		n := dbmodel.NewNotification{Notification: dbmodel.Notification{Type: rule.TypeObservationTitle, Event: rule.EventNew, Name: "CVE-2026-1", Facts: dbmodel.Facts{Products: 2, Observations: 3}}}
		n.SetValues(nil, &rule.Values{Severity: rule.Critical, Status: rule.Open})
		e.notify(n)
		n.Name = "of none"
		e.notify(n)
		v := e.visitor("root")
		v.follow(v.open("/"), "of none").saysNot("Why?")
		s := v.follow(v.open("/"), "CVE-2026-1")
		s.says("Severity Critical", "Status Open", "Found in 3 observations in 2 products")
		s.saysNot("Before", "After")
		if got := len(v.follow(s, "Its observations").all("tr")); got != 4 {
			t.Errorf("%d lines, want 3 observations and a head", got)
		}
		s = v.follow(s, "Why?")
		if s.path != "/observations/2/explain" || s.field("title") == "" {
			t.Errorf("it is explained by %s", s.path)
		}
	})
}
