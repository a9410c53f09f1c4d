package web_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// failing stores a product with a target that waits after failures, and one that failed for good.
func (e *env) failing() {
	e.t.Helper()
	e.shop()
	e.want(200, "PUT", "/api/v1/products/1", map[string]any{"notification_slack_webhook": slackURL, "notification_email_to": "gone@example.com"})
	e.want(200, "PATCH", "/api/v1/settings", map[string]any{"exception_slack_webhook": slackURL}) // which receives those of tasks
	for i := range 3 {
		e.notify(about(fmt.Sprintf("task %d", i), rule.TypeTask, 1, e.targets(rule.Slack, slackURL)...))
	}
	e.notify(about("mailed", rule.TypeTask, 1, e.targets(rule.Email, "gone@example.com")...))
	e.exec("UPDATE deliveries SET attempts = 2, last_error = 'the webhook answered 503'")
	e.exec("UPDATE deliveries SET state = 'failed', last_error = 'no such mailbox' WHERE target_id IN (SELECT id FROM targets WHERE channel = 'email')")
	e.exec("UPDATE targets SET failures = 2, failing_since = ?, next_at = ? WHERE channel = 'slack'", time.Now().Add(-3*time.Hour), time.Now().Add(30*time.Minute))
	e.exec("UPDATE targets SET failure_notified = ? WHERE channel = 'email'", true)
}

func TestFailingTargetsComeFirst(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.failing()
		p := e.visitor("reader").open("/deliveries")
		p.says("Slack "+slackShown+" 3 h ago 3 0 the webhook answered 503 in 29 min", "Email gone@example.com failed for good 0 1 no such mailbox none: resend it")
		if text := p.text(); strings.Index(text, "Slack "+slackShown) > strings.Index(text, "Email gone@example.com") {
			t.Error("what is tried again comes first")
		}
		p.saysNot("Try now", "Resend all", "Resend mailed", "Events set aside")
		if header := textOf(p.all("header")[0]); !strings.Contains(header, "● 2 failing") {
			t.Errorf("the header says %s", header)
		}
		for _, id := range []int64{1, 2} {
			if got := e.visitor("reader").ask("POST", fmt.Sprintf("/targets/%d/resend", id), nil); got.status != 403 {
				t.Errorf("a reader resends: %d", got.status)
			}
			if got := e.visitor("outsider").ask("POST", fmt.Sprintf("/targets/%d/resend", id), nil); got.status != 404 {
				t.Errorf("an outsider resends: %d", got.status)
			}
		}
		p = e.visitor("outsider").open("/deliveries")
		p.says("None: every target took the last message it was sent.", "Nothing was delivered")
		if header := textOf(p.all("header")[0]); strings.Contains(header, "failing") {
			t.Errorf("the header says %s", header)
		}
	})
}

func TestResendOnThePage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.failing()
		v := e.visitor("maintainer")
		p := v.send(v.open("/deliveries"), "Try now Slack", nil)
		p.says("3 deliveries are tried at once.")
		p.saysNot("Slack "+slackShown+" 3 h ago", "Try now")
		if n := e.count("targets", "failing_since IS NOT NULL OR failures > 0"); n != 0 {
			t.Error("the target still waits")
		}
		p = v.send(p, "Resend Email", nil)
		p.says("1 delivery waits to be sent again.", "None: every target took")
		e.exec("UPDATE deliveries SET state = 'failed'")
		v.send(v.open("/deliveries"), "Resend task 2", nil).says("The delivery waits to be sent.")
		if _, state, _ := e.delivery("task 2"); state != "pending" {
			t.Errorf("it is %s", state)
		}
		e.exec("UPDATE targets SET failure_notified = ? WHERE channel = 'email'", true)
		v.send(v.open("/deliveries"), "Resend all that failed", nil).says("3 deliveries wait to be sent again.")
	})
}

func TestDeliveriesAreFilteredAndPaged(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.failing()
		v := e.visitor("boss")
		p := v.send(v.open("/deliveries"), "Filter", url.Values{"state": {"failed"}})
		p.says("mailed")
		p.saysNot("task 0")
		v.send(p, "Filter", url.Values{"state": {""}, "channel": {"slack"}}).says("task 0")
		p = v.open("/deliveries?product_id=1&state=sent")
		p.says("Deliveries of Payments API", "that fits")
		for i := range 60 {
			e.notify(about(fmt.Sprintf("late %d.", i), rule.TypeTask, 1, e.targets(rule.Slack, slackURL)...))
		}
		p = v.open("/deliveries?channel=slack")
		p.saysNot("late 9.")
		p = v.follow(p, "Next")
		p.says("late 9.", "task 0")
		p.saysNot("Failing targets", "mailed")
		v.follow(p, "First page").says("Failing targets", "late 59.")
	})
}

func TestEventsSetAside(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.failing()
		e.observe(nil)
		e.exec("UPDATE outbox SET failed_at = ?, reason = 'the database said no', attempts = 5", time.Now())
		v := e.visitor("boss")
		p := v.open("/deliveries")
		p.says("Events set aside", "Evaluate observations", "observation 1", "the database said no")
		e.visitor("owner").open("/deliveries").saysNot("Events set aside")
		if got := e.visitor("owner").ask("POST", "/failed-events/retry", nil); got.status != 403 {
			t.Errorf("an owner retries: %d", got.status)
		}
		v.send(p, "Retry event", nil).says("1 event is evaluated again within seconds.")
		e.exec("UPDATE outbox SET failed_at = ?", time.Now())
		v.send(v.open("/deliveries"), "Retry all", nil).saysNot("Events set aside")

		e.exec("UPDATE outbox SET failed_at = ?, failures = 5, attempts = 12", time.Now())
		_, err := dbmodel.InsertEvent(t.Context(), e.db, dbmodel.NewEvent{
			Kind: dbmodel.KindRefused, Refused: "severity: must be one of Critical, High", Payload: dbmodel.EventPayload{Task: []byte("{}")},
		})
		if err != nil {
			t.Fatal(err)
		}
		p = v.open("/deliveries")
		p.says("Its evaluation failed 5 times. the database said no 12",
			"It came through Redis and was refused, so that it was never evaluated. severity: must be one of Critical, High none")
		p = v.send(p, "Dismiss event", nil)
		p.says("is dismissed.", "Its evaluation failed 5 times.")
		p.saysNot("It came through Redis")
	})
}
