package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// deliver delivers a notification by hand and returns how many deliveries its caller is answered.
func (e *env) deliver(name string, who ...string) float64 {
	e.t.Helper()
	return e.want(202, "POST", fmt.Sprintf("%s/%d/deliver", inboxPath, e.idOf(name)), nil, who...).json["deliveries"].(float64)
}

// delivered lists the deliveries of a notification: target, source and state.
func (e *env) delivered(name string) (out []string) {
	e.t.Helper()
	for _, d := range e.want(200, "GET", fmt.Sprintf("%s/%d", inboxPath, e.idOf(name)), nil).json["deliveries"].([]any) {
		d := d.(map[string]any)
		out = append(out, fmt.Sprintf("%v %v %v", d["target"], d["source"].(map[string]any)["kind"], d["state"]))
	}
	return out
}

// A notification that was held back, and one that had no recipient, go to those who would receive them now, once.
func TestDeliverByHand(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PATCH", "/api/v1/settings", `{"email_from":"tocsin@example.com"}`)
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"name":"group","notification_paused_until":"2099-01-01T00:00:00Z","notification_email_to":"group@example.com"}`)
		e.want(200, "PUT", "/api/v1/products/1", map[string]any{"name": "product", "product_group_id": 1, "notification_slack_webhook": slackURL})
		e.observed(1, "CVE-2026-1", rule.EventNew, rule.High)
		if got := e.deliver("CVE-2026-1"); got != 2 {
			t.Errorf("%v deliveries, want 2", got)
		}
		want := []string{"group@example.com product_group pending", "https://hooks.slack.com/…a1b2 product pending"}
		if diff := cmp.Diff(want, e.delivered("CVE-2026-1")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if size, _, err := e.queue.Size(t.Context(), "drains"); err != nil || size != 2 {
			t.Errorf("%d drains are enqueued (%v), want 2", size, err)
		}
		if got := e.deliver("CVE-2026-1"); got != 0 {
			t.Errorf("again: %v deliveries", got)
		}
		e.exec("UPDATE deliveries SET state = 'sent' WHERE source_kind = 'product'")
		e.exec("UPDATE deliveries SET state = 'failed', batch = 7, attempts = 3 WHERE source_kind = 'product_group'")
		e.exec("UPDATE targets SET failures = 3, failing_since = ?, next_at = ?", time.Now(), time.Now().Add(time.Hour))
		e.want(200, "PUT", "/api/v1/products/1", `{"notification_email_to":"group@example.com, new@example.com"}`)
		if got := e.deliver("CVE-2026-1"); got != 2 {
			t.Errorf("a failed one and a new contact: %v deliveries, want 2", got)
		}
		want = []string{"group@example.com product pending", "https://hooks.slack.com/…a1b2 product sent", "new@example.com product pending"}
		if diff := cmp.Diff(want, e.delivered("CVE-2026-1")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if n := e.count("targets t JOIN deliveries d ON d.target_id = t.id", "d.state = 'pending' AND (t.failures > 0 OR d.batch IS NOT NULL)"); n != 0 {
			t.Errorf("%d of the targets still wait after their failures", n)
		}

		e.notify(about("ValueError", rule.TypeException, 0))
		e.want(200, "PATCH", "/api/v1/settings", `{"exception_email_to":"admin@example.com"}`)
		if got := e.deliver("ValueError"); got != 1 {
			t.Errorf("an exception: %v deliveries, want 1", got)
		}
		e.want(404, "POST", inboxPath+"/9000000/deliver", nil)
	})
}

// Subscriptions take part as if it had happened now: their filters, schedules, and what their users see.
func TestDeliverByHandToSubscriptions(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PATCH", "/api/v1/settings", `{"email_from":"tocsin@example.com","member_notification_types":["observation"]}`)
		e.product(1)
		for _, name := range []string{"member", "stranger", "boss"} {
			e.user(name, false)
			e.want(200, "PUT", "/api/v1/users/"+name, fmt.Sprintf(`{"email":"%s@example.com"}`, name))
			e.asUser(name, 201, "POST", "/subscriptions", `{"username":"me","contacts":[{"channel":"email"}]}`)
		}
		e.member(dbmodel.InProduct(1), "member", rule.Reader)
		e.member(dbmodel.InProduct(1), "boss", rule.Maintainer)
		for _, body := range []string{
			`"min_severity":"Critical","contacts":[{"channel":"email","address":"filter@example.com"}]`,
			`"schedule":"0 8 * * *","contacts":[{"channel":"email","address":"schedule@example.com"}]`,
			`"enabled":false,"contacts":[{"channel":"email","address":"disabled@example.com"}]`,
			`"contacts":[{"channel":"email","address":"team@example.com"}]`,
		} {
			e.want(201, "POST", "/api/v1/subscriptions", `{"product_id":1,`+body+`}`)
		}
		e.want(201, "POST", "/api/v1/subscriptions", `{"contacts":[{"channel":"email","address":"all@example.com"}]}`)
		e.observed(1, "CVE-2026-1", rule.EventNew, rule.High)

		// The caller is answered what it sees: the team's and its own.
		if got := e.deliver("CVE-2026-1", e.as("boss")...); got != 2 {
			t.Errorf("%v deliveries, want 2", got)
		}
		got := strings.Join(e.delivered("CVE-2026-1"), "\n")
		for _, want := range []string{"team@", "all@", "member@", "boss@"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s has no delivery:\n%s", want, got)
			}
		}
		if n := e.count("deliveries", "masked"); n != 3 || e.count("deliveries", "true") != 4 {
			t.Errorf("%d masked, want 3 of 4:\n%s", n, got)
		}
		if n := e.count("deliveries", "user_id > 0"); n != 2 {
			t.Errorf("%d deliveries know their user, want 2", n)
		}
	})
}

// Two who deliver at once add no second copy.
func TestDeliverByHandAtOnce(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/products/1", map[string]any{"name": "product", "notification_slack_webhook": slackURL})
		e.observed(1, "CVE-2026-1", rule.EventNew, rule.High)
		path := fmt.Sprintf("%s/%d/deliver", inboxPath, e.idOf("CVE-2026-1"))
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { e.send(http.MethodPost, path, nil) })
		}
		all.Wait()
		if n := e.count("deliveries", "true"); n != 1 {
			t.Errorf("%d deliveries, want 1", n)
		}
	})
}

func TestDeliverOnPage(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.user("alex", false)
	e.user("kim", false)
	e.want(200, "PATCH", "/api/v1/settings", `{"member_notification_types":["observation"]}`)
	e.want(200, "PUT", "/api/v1/products/1", map[string]any{"name": "product", "notification_slack_webhook": slackURL})
	e.member(dbmodel.InProduct(1), "alex", rule.Maintainer)
	e.member(dbmodel.InProduct(1), "kim", rule.Reader)
	e.observed(1, "CVE-2026-1", rule.EventNew, rule.High)
	page := notificationPath(e.idOf("CVE-2026-1"))
	e.visitor("kim").open(page).saysNot("Deliver now")
	v := e.visitor("alex")
	s := v.send(v.open(page), "Deliver now", nil)
	s.says("1 delivery waits to be sent", "Slack https://hooks.slack.com/…", "waiting")
	v.send(s, "Deliver now", nil).says("Nothing to deliver")
}

func notificationPath(id int64) string { return fmt.Sprintf("/notifications/%d", id) }
