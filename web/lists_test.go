package web_test

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

// Ids are the web tier's own and may be large: lists take the largest one in filters, pages and cursors.
func TestLargestID(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		e.product(accept.MaxID)
		e.notify(about("gate", rule.TypeSecurityGate, accept.MaxID, e.targets(rule.Slack, slackURL)...))
		if n := len(e.want(200, "GET", fmt.Sprintf("/api/v1/deliveries?product_id=%d", accept.MaxID), nil).json["items"].([]any)); n != 1 {
			t.Errorf("%d deliveries", n)
		}
		behind := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "id %d", accept.MaxID))
		for _, list := range []string{"deliveries", "periodic-tasks", "failed-events", "products", "product-groups"} {
			e.want(200, "GET", "/api/v1/"+list+"?cursor="+behind, nil)
		}
		v := e.visitor("boss")
		v.open(fmt.Sprintf("/deliveries?product_id=%d&before=%[1]d", accept.MaxID)).says("Deliveries of product")
		v.open(fmt.Sprintf("/products?after=%d", accept.MaxID))
		v.open(fmt.Sprintf("/observations?product_id=%d&after=%[1]d", accept.MaxID))
		v.open(fmt.Sprintf("/?product_id=%d&viewed=all", accept.MaxID)).wantLines("Security gate")
	})
}
