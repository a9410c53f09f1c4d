package web_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// exec runs a statement, in bun's placeholders.
func (e *env) exec(query string, args ...any) {
	e.t.Helper()
	if _, err := e.db.NewRaw(query, args...).Exec(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
}

// delivery is the only delivery of the notification with this name.
func (e *env) delivery(name string) (id int64, state, target string) {
	e.t.Helper()
	list := e.want(200, "GET", fmt.Sprintf("%s/%d", inboxPath, e.idOf(name)), nil).json["deliveries"].([]any)
	if len(list) != 1 {
		e.t.Fatalf("%s has %d deliveries", name, len(list))
	}
	d := list[0].(map[string]any)
	return int64(d["id"].(float64)), d["state"].(string), d["target"].(string)
}

func resendPath(id int64) string { return fmt.Sprintf("/api/v1/deliveries/%d/resend", id) }

func about(name string, kind rule.Type, product int64, targets ...int64) dbmodel.NewNotification {
	n := dbmodel.NewNotification{Notification: dbmodel.Notification{Type: kind, Name: name}, Targets: targets}
	if product != 0 {
		n.ProductID = &product
	}
	return n
}

// A webhook answered 404; somebody sets another one, first in the group, then in the product.
func TestResendGoesToTheWebhookOfToday(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		old := e.targets(rule.Slack, slackURL)
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"name":"group"}`)
		e.want(200, "PUT", "/api/v1/products/1", map[string]any{"name": "product", "product_group_id": 1, "notification_slack_webhook": slackURL})
		e.notify(about("gate", rule.TypeSecurityGate, 1, old...))
		e.exec("UPDATE deliveries SET state = 'failed', attempts = 1, last_error = 'the webhook answered 404', batch = 7")
		e.exec("UPDATE targets SET failure_notified = ?, batch = 7, failures = 3, failing_since = ?, next_at = ?", true, time.Now(), time.Now().Add(time.Hour))
		id, _, _ := e.delivery("gate")

		e.want(200, "PUT", "/api/v1/products/1", `{"notification_slack_webhook":""}`)
		e.want(409, "POST", resendPath(id), nil)
		if got := e.want(202, "POST", "/api/v1/deliveries/resend", `{"state":"failed"}`); got.json["resent"] != 0.0 {
			t.Errorf("without a webhook: %s", got.text)
		}
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"notification_slack_webhook":"https://hooks.slack.com/services/T0/B0/verysecret-of-the-group"}`)
		if got := e.want(202, "POST", resendPath(id), nil); got.json["resent"] != 1.0 {
			t.Errorf("%s", got.text)
		}
		if _, state, target := e.delivery("gate"); state != "pending" || target != "https://hooks.slack.com/…roup" {
			t.Errorf("%s to %s", state, target)
		}
		if n := e.count("deliveries", "batch IS NOT NULL"); n != 0 {
			t.Error("it is still part of the old digest")
		}
		if size, _, err := e.queue.Size(t.Context(), "drains"); err != nil || size != 1 {
			t.Errorf("%d drains are enqueued (%v), want 1", size, err)
		}

		e.exec("UPDATE deliveries SET state = 'sent'")
		e.want(409, "POST", resendPath(id), nil)
		e.want(404, "POST", resendPath(9_000_000), nil)
	})
}

func TestResendStartsAnew(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		mail := e.targets(rule.Email, "a@example.com")
		e.product(1)
		e.notify(about("gate", rule.TypeSecurityGate, 1, mail...))
		fail := func() {
			e.exec("UPDATE targets SET failure_notified = ?, batch = 7, failures = 3, failing_since = ?, next_at = ?", true, time.Now(), time.Now().Add(time.Hour))
		}
		isNew := func(when string) {
			t.Helper()
			due, _, err := dbmodel.WaitingTargets(t.Context(), e.db, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			if n := e.count("targets", "failures = 0 AND failing_since IS NULL AND batch IS NULL AND NOT failure_notified"); n != 1 || len(due) != 1 {
				t.Errorf("%s: the target goes on as it was (due: %v)", when, due)
			}
		}
		id, _, _ := e.delivery("gate")
		fail()
		e.want(202, "POST", resendPath(id), nil) // a pending one is tried at once
		isNew("pending")
		e.exec("UPDATE deliveries SET state = 'failed'")
		fail()
		e.want(202, "POST", resendPath(id), nil)
		isNew("failed")
		if _, state, target := e.delivery("gate"); state != "pending" || target != "a@example.com" {
			t.Errorf("%s to %s", state, target)
		}
	})
}

func TestPendingDeliveryMovesUnlessItIsBeingSent(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		old := e.targets(rule.Slack, slackURL)
		e.want(200, "PUT", "/api/v1/products/1", `{"name":"product","notification_slack_webhook":"https://hooks.slack.com/services/T0/B0/verysecret-new1"}`)
		e.notify(about("gate", rule.TypeSecurityGate, 1, old...))
		id, _, before := e.delivery("gate")
		lease, err := dbmodel.TakeTarget(t.Context(), e.db, old[0], "somebody")
		if err != nil || !lease.Mine {
			t.Fatalf("lease: %+v, %v", lease, err)
		}
		e.want(202, "POST", resendPath(id), nil)
		if _, _, target := e.delivery("gate"); target != before {
			t.Errorf("it moved to %s while it was sent", target)
		}
		if err := dbmodel.YieldTarget(t.Context(), e.db, old[0], "somebody"); err != nil {
			t.Fatal(err)
		}
		e.want(202, "POST", resendPath(id), nil)
		if _, state, target := e.delivery("gate"); state != "pending" || target != "https://hooks.slack.com/…new1" {
			t.Errorf("%s to %s", state, target)
		}
	})
}

// Everything that the caller may, each to where it goes by its type.
func TestResendFailed(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		old, mail := e.targets(rule.Slack, slackURL), e.targets(rule.Email, "a@example.com")
		e.want(200, "PATCH", "/api/v1/settings", `{"observation_title_notification_slack_webhook":"https://hooks.slack.com/services/T0/B0/verysecret-titl",
			"exception_slack_webhook":"https://hooks.slack.com/services/T0/B0/verysecret-exce","member_notification_types":["observation","task"]}`)
		for id := range int64(2) {
			e.want(200, "PUT", fmt.Sprintf("/api/v1/products/%d", id+1), map[string]any{
				"name": "product", "notification_slack_webhook": fmt.Sprintf("https://hooks.slack.com/services/T0/B0/verysecret-prd%d", id+1),
			})
		}
		e.notify(about("observation 1", rule.TypeObservation, 1, old...), about("observation 2", rule.TypeObservation, 2, old...), about("mail 1", rule.TypeObservation, 1, mail...),
			about("title", rule.TypeObservationTitle, 0, old...), about("exception", rule.TypeException, 0, old...), about("import 1", rule.TypeTask, 1, old...))
		e.exec("UPDATE deliveries SET state = 'failed'")
		e.user("alex", false)
		e.member(dbmodel.InProduct(1), "alex", rule.Maintainer)
		e.member(dbmodel.InProduct(2), "alex", rule.Writer)
		resend := func(want float64, who ...string) {
			t.Helper()
			if got := e.want(202, "POST", "/api/v1/deliveries/resend", `{"state":"failed"}`, who...); got.json["resent"] != want {
				t.Errorf("%s, want %v", got.text, want)
			}
		}
		resend(3, e.as("alex")...)
		resend(3)
		resend(0)
		for name, want := range map[string]string{
			"observation 1": "prd1", "observation 2": "prd2", "mail 1": ".com", "title": "titl", "exception": "exce", "import 1": "exce",
		} {
			if _, state, target := e.delivery(name); state != "pending" || target[len(target)-4:] != want {
				t.Errorf("%s: %s to %s", name, state, target)
			}
		}
		for _, faulty := range []string{`{}`, `{"state":"sent"}`, `{"state":null}`, `{"state":"failed","ids":[1]}`} {
			e.want(422, "POST", "/api/v1/deliveries/resend", faulty)
		}
	})
}
