package web_test

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// passing is what a page says of the time at which it is made.
var passing = regexp.MustCompile(`<time [^>]*>[^<]*</time>|name="until" value="[^"]*"`)

// What happens where somebody is no member changes no byte of any page that they see.
func TestHiddenChangesNoPage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, nil)+`]}`)
		e.want(200, "PATCH", "/api/v1/settings", `{"member_notification_types":["observation","security_gate","task"]}`)
		shared, own := e.targets(rule.Slack, slackURL), e.targets(rule.Email, "hidden@example.com")
		product := int64(1)
		visible := dbmodel.Notification{Type: rule.TypeTask, Name: "ValueError", Function: "import", Username: "alex", ProductID: &product, Facts: dbmodel.Facts{ProductName: "Payments API"}}
		e.notify(dbmodel.NewNotification{Notification: visible, Targets: shared})
		e.exec(`UPDATE deliveries SET state = 'sent'`)

		// The ids of what is still to come stand in addresses, too.
		paths := []string{
			"/", "/?viewed=all", "/?product_id=2", "/?product_id=3&viewed=all", "/?user=alex", "/?q=hidden", "/?type=exception", "/notifications/1", "/notifications/2", "/notifications/4",
			"/products", "/products?q=hidden", "/products?after=1", "/products?after=2", "/products?after=3", "/products/1", "/products/2", "/product-groups", "/product-groups?after=2",
			"/product-groups/1", "/product-groups/2", "/observations", "/observations?q=2", "/observations?q=CVE", "/observations?after=2", "/observations?product_id=2",
			"/observations/1/explain", "/observations/2/explain", "/deliveries", "/deliveries?state=failed", "/deliveries?state=pending", "/deliveries?product_id=2", "/deliveries?before=3", "/nothing",
		}
		seen := func() map[string]string {
			out := map[string]string{}
			for _, role := range []rule.Role{rule.Owner, rule.Maintainer, rule.Reader} {
				v := e.visitor(string(role))
				for _, path := range paths {
					s := v.ask(http.MethodGet, path, nil)
					out[string(role)+" "+path] = fmt.Sprint(s.status, passing.ReplaceAllString(s.source, ""))
				}
			}
			return out
		}
		before := seen()
		e.want(200, "PUT", "/api/v1/product-groups/2", `{"name":"A hidden group"}`)
		e.want(200, "PUT", "/api/v1/products/2", `{"name":"Hidden product","product_group_id":1,"notification_email_to":"hidden@example.com"}`)
		e.want(200, "PUT", "/api/v1/products/3", `{"name":"Another hidden product","product_group_id":2}`)
		e.want(202, "POST", postPath, `{"observations":[`+observation(2, 2, map[string]any{"title": "CVE-2026-1"})+`,`+observation(3, 3, nil)+`]}`)
		e.member(dbmodel.InProductGroup(1), "outsider", rule.Owner)
		for _, kind := range rule.Types {
			for id := range int64(4) {
				n := visible
				n.Type, n.ProductID = kind, &id
				if id == 0 {
					n.ProductID = nil
				}
				if id != 1 {
					e.notify(dbmodel.NewNotification{Notification: n, Targets: append(own, shared...)})
				}
			}
		}
		e.exec(`UPDATE deliveries SET state = 'failed', last_error = 'hidden' WHERE state = 'pending' AND id % 2 = 0`)
		e.exec(`UPDATE targets SET failures = 1, failure_notified = true, failing_since = next_at`)
		if diff := cmp.Diff(before, seen()); diff != "" {
			t.Error(diff)
		}
	})
}
