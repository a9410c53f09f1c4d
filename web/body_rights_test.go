package web_test

import (
	"fmt"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestRightsBeforeTheBody: the body of a caller who may not change something is not read.
func TestRightsBeforeTheBody(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		e.product(1)
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"name":"Shop"}`)
		e.want(200, "PUT", "/api/v1/products/1", `{"product_group_id":1}`)
		team := e.want(201, "POST", "/api/v1/subscriptions",
			`{"name":"team","product_id":1,"contacts":[{"channel":"email","address":"team@example.com"}]}`).json["id"].(float64)
		e.user("reader", false)
		e.user("stranger", false)
		e.member(dbmodel.InProductGroup(1), "reader", rule.Reader)
		for _, call := range []string{
			"PUT /api/v1/products/1", "PUT /api/v1/product-groups/1", "PUT /api/v1/products/1/members/stranger",
			"PUT /api/v1/product-groups/1/members/stranger", fmt.Sprintf("PATCH /api/v1/subscriptions/%.0f", team),
			fmt.Sprintf("POST /api/v1/subscriptions/%.0f/rotate-secret", team),
		} {
			var method, path string
			if _, err := fmt.Sscan(call, &method, &path); err != nil {
				t.Fatal(err)
			}
			for name, status := range map[string]int{"reader": 403, "stranger": 404} {
				if got := e.send(method, path, `{"name":`, e.as(name)...); got.status != status {
					t.Errorf("%s by a %s with a broken body: %d %s, want %d", call, name, got.status, got.text, status)
				}
			}
		}
	})
}
