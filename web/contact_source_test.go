package web_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// TestSourceOfDeliveries: a delivery names the product, the group or the settings that its contact is set in, wherever it is
// answered or shown, and no group that the caller does not see.
func TestSourceOfDeliveries(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/product-groups/8", `{"name":"Shop"}`)
		e.want(200, "PUT", "/api/v1/products/7", `{"name":"Payments","product_group_id":8}`)
		e.user("root", true)
		e.user("alex", false)
		e.member(dbmodel.InProduct(7), "alex", rule.Reader)
		to := append(e.targets(rule.Email, "a@example.com", "b@example.com"), e.targets(rule.Slack, slackURL)...)
		gate := about("gate", rule.TypeSecurityGate, 7, to[0], to[2])
		from(&gate, rule.Holder{Kind: rule.HolderProduct, ID: 7}, rule.Holder{Kind: rule.HolderGroup, ID: 8})
		task := about("task", rule.TypeTask, 7, to[1])
		from(&task, rule.Holder{Kind: rule.HolderExceptions})
		e.notify(gate, task)

		type source = map[string]any
		product, settings := source{"kind": "product", "id": 7.0, "name": "Payments"}, source{"kind": "settings", "id": nil, "name": ""}
		check := func(group source, who ...string) {
			t.Helper()
			want := map[string]any{"a@example.com": product, "b@example.com": settings, "https://hooks.slack.com/…a1b2": group}
			inList, ofNotifications := map[string]any{}, map[string]any{}
			collect := func(to map[string]any, list any) {
				for _, d := range list.([]any) {
					d := d.(map[string]any)
					to[d["target"].(string)] = d["source"]
				}
			}
			collect(inList, e.want(200, "GET", "/api/v1/deliveries", nil, who...).json["items"])
			for _, n := range e.want(200, "GET", inboxPath, nil, who...).json["items"].([]any) {
				one := e.want(200, "GET", fmt.Sprintf("%s/%v", inboxPath, n.(map[string]any)["id"]), nil, who...).json
				if diff := cmp.Diff(n.(map[string]any)["deliveries"], one["deliveries"]); diff != "" {
					t.Errorf("the list and one by one differ:\n%s", diff)
				}
				collect(ofNotifications, one["deliveries"])
			}
			for what, got := range map[string]any{"deliveries": inList, "notifications": ofNotifications} {
				if diff := cmp.Diff(any(want), got); diff != "" {
					t.Errorf("%s:\n%s", what, diff)
				}
			}
		}
		check(source{"kind": "product_group", "id": 8.0, "name": "Shop"}, e.as("alex")...)
		page := e.visitor("alex").open("/deliveries")
		page.says("a@example.com from product Payments", "https://hooks.slack.com/…a1b2 from group Shop", "b@example.com from settings")
		page = e.visitor("root").open(fmt.Sprintf("/notifications/%d", e.idOf("gate")))
		page.says("a@example.com from product Payments", "https://hooks.slack.com/…a1b2 from group Shop")

		// Who is a member of the product alone does not see the group that it was in.
		e.want(200, "PUT", "/api/v1/products/7", `{"product_group_id":null}`)
		hidden := source{"kind": "product_group", "id": nil, "name": ""}
		check(hidden, e.as("alex")...)
		check(source{"kind": "product_group", "id": 8.0, "name": "Shop"})
		e.visitor("alex").open("/deliveries").says("https://hooks.slack.com/…a1b2 from the group of that time")
		e.want(204, "DELETE", "/api/v1/product-groups/8", nil)
		check(hidden)
	})
}

// TestPassedOver: the page of a notification says which contacts of today did not receive it, and why.
func TestPassedOver(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.user("root", true)
		e.user("alex", false)
		e.want(200, "PUT", "/api/v1/product-groups/8", map[string]any{"name": "Shop", "notification_slack_webhook": slackURL})
		e.want(200, "PUT", "/api/v1/products/7", map[string]any{
			"name": "Payments", "product_group_id": 8, "notification_email_to": "late@example.com", "notification_ms_teams_webhook": teamsURL,
		})
		e.want(200, "PATCH", "/api/v1/settings", `{"exception_email_to":"ops@example.com"}`)
		e.member(dbmodel.InProduct(7), "alex", rule.Reader)
		gate := about("gate", rule.TypeSecurityGate, 7, e.targets(rule.MSTeams, teamsURL)...)
		from(&gate, rule.Holder{Kind: rule.HolderProduct, ID: 7})
		e.notify(gate, about("task", rule.TypeTask, 7))
		root, alex := e.visitor("root"), e.visitor("alex")
		path := fmt.Sprintf("/notifications/%d", e.idOf("gate"))
		for _, v := range []*visitor{root, alex} {
			v.open(path).says("from product Payments", "Passed over",
				"Email late@example.com from product Payments The setting email_from is empty: without it no email is sent.",
				"Slack https://hooks.slack.com/…a1b2 from group Shop It was set after this had happened, or notifications were paused then.")
		}
		e.want(200, "PUT", "/api/v1/products/7", `{"notification_paused_until":"2100-01-01T00:00:00Z"}`)
		root.open(path).says("from group Shop Notifications of product Payments are paused.")

		// The contacts of the settings are for administrators.
		task := fmt.Sprintf("/notifications/%d", e.idOf("task"))
		root.open(task).says("No recipients", "Email ops@example.com from settings The setting email_from is empty")
		alex.open(task).saysNot("ops@example.com", "Passed over")

		e.want(200, "PUT", "/api/v1/products/7", `{"notification_email_to":"","notification_paused_until":null}`)
		e.want(200, "PUT", "/api/v1/product-groups/8", `{"notification_slack_webhook":""}`)
		root.open(path).saysNot("Passed over")
	})
}

// from gives the targets of a notification the holders of the contacts that they come from.
func from(n *dbmodel.NewNotification, holders ...rule.Holder) {
	for i, h := range holders {
		n.Recipients = append(n.Recipients, rule.Recipient{Contact: rule.Contact{Holder: h, Target: n.Targets[i]}})
	}
	n.Targets = nil
}
