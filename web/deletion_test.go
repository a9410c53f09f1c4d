package web_test

import (
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestDeletionIsEnqueuedAtOnce: a deletion by each door has a task without waiting for the sweep, and what is hidden is counted
// neither by the status nor by the metrics.
func TestDeletionIsEnqueuedAtOnce(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"name":"Shop"}`)
		e.product(1)
		e.product(2)
		e.want(200, "PUT", "/api/v1/products/2", `{"product_group_id":1}`)
		e.user("kim", false)
		to := e.targets(rule.Slack, slackURL)
		e.observed(1, "first", rule.EventNew, rule.High, to...)
		e.observed(1, "second", rule.EventNew, rule.High, to...)
		e.observed(2, "third", rule.EventNew, rule.High, to...)
		e.exec("UPDATE deliveries SET state = 'failed' WHERE id = 2")
		for _, failed := range []string{"NULL", "created_at"} {
			if _, err := dbmodel.InsertEvent(t.Context(), e.db, dbmodel.NewEvent{Kind: dbmodel.KindSecurityGate, ProductID: 1}); err != nil {
				t.Fatal(err)
			}
			e.exec("UPDATE outbox SET failed_at = " + failed + " WHERE id = (SELECT max(id) FROM outbox)")
		}
		for i, call := range []struct {
			status             int
			method, path, body string
		}{
			{202, "POST", "/notifications/delete", `{"filter":{"q":"third"}}`},
			{204, "DELETE", "/users/kim", ""},
			{204, "DELETE", "/product-groups/1", ""},
			{204, "DELETE", "/products/1", ""},
		} {
			e.want(call.status, call.method, "/api/v1"+call.path, call.body)
			if n, _, err := e.queue.Size(t.Context(), queue.Periodic); err != nil || n != i+1 {
				t.Errorf("%s %s: %d tasks, want %d: %v", call.method, call.path, n, i+1, err)
			}
			if err := dbmodel.ReleaseRemoval(t.Context(), e.db); err != nil { // as the worker does at its end
				t.Fatal(err)
			}
		}
		status := e.want(200, "GET", "/api/v1/status", nil).json
		for _, name := range []string{"outbox", "failed_events", "pending_deliveries", "failed_deliveries"} {
			if status[name] != 0.0 {
				t.Errorf("%s: %v", name, status[name])
			}
		}
		metrics := e.want(200, "GET", "/metrics", nil).text
		for _, line := range []string{"tocsin_outbox_events 0", "tocsin_failed_events 0", `tocsin_deliveries{state="pending"} 0`, `tocsin_deliveries{state="failed"} 0`} {
			if !strings.Contains(metrics, "\n"+line+"\n") {
				t.Errorf("no line %q", line)
			}
		}
		if n := e.want(202, "POST", "/api/v1/failed-events/retry", nil).json["retried"]; n != 0.0 {
			t.Errorf("%v hidden events are tried again", n)
		}
		e.want(404, "DELETE", "/api/v1/failed-events/2", nil)
	})
}

// TestDeleteLargeProductGroup: the deletion of a group with many products waits for none of them, and none of them belongs to it
// from then on, though nothing has taken them out yet; nor to one that is created again.
func TestDeleteLargeProductGroup(t *testing.T) {
	t.Parallel()
	const products, path = 2_500, "/api/v1/product-groups/1"
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db)
		e.want(200, "PUT", path, `{"name":"Shop"}`)
		e.exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) " +
			"INSERT INTO products (id, name, product_group_id) SELECT i, 'p', 1 FROM n")
		left := func() int { return e.count("products", "product_group_id = 1") }
		group := func() any { return e.want(200, "GET", "/api/v1/products/2500", nil).json["product_group_id"] }
		if got := group(); got != 1.0 {
			t.Fatalf("the product is in group %v", got)
		}
		unlock := func() error { return nil }
		if db.Reader == db.DB { // PostgreSQL: another transaction holds a product
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback() //nolint:errcheck // it was ended below
			if _, err := tx.ExecContext(t.Context(), "SELECT 1 FROM products WHERE id = 2500 FOR UPDATE"); err != nil {
				t.Fatal(err)
			}
			unlock = tx.Rollback
		}
		e.want(204, "DELETE", path, nil)
		if n := left(); n != products {
			t.Errorf("the deletion has changed %d products", products-n)
		}
		if err := unlock(); err != nil {
			t.Fatal(err)
		}
		e.want(404, "DELETE", path, nil)
		e.want(404, "GET", path, nil)
		if got := group(); got != nil {
			t.Errorf("the product is in group %v", got)
		}
		e.want(422, "PUT", "/api/v1/products/2500", `{"product_group_id":1}`)
		e.want(200, "PUT", "/api/v1/products/2500", `{"name":"q"}`)
		e.want(200, "PUT", path, `{"name":"Again"}`)
		if got := group(); got != nil || left() != 0 {
			t.Errorf("the product is in group %v, %d products are left", got, left())
		}
		e.want(200, "PUT", "/api/v1/products/2500", `{"product_group_id":1}`)
		if n, all := left(), e.count("products", "true"); n != 1 || all != products {
			t.Errorf("%d products are in the group, %d in all", n, all)
		}
	})
}
