package web_test

import (
	"net/url"
	"testing"
)

func TestEvaluateAll(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"name":"Payments"}`)
		e.want(200, "PUT", "/api/v1/products/1", `{"name":"API","product_group_id":1}`)
		e.want(200, "PUT", "/api/v1/products/2", `{"name":"Web","product_group_id":1}`)
		for _, id := range []int64{3, 4} {
			e.product(id)
		}
		for _, body := range []string{lines(1, 2000, 1), lines(5001, 700, 2), lines(7001, 3, 3)} {
			e.want(202, "POST", postPath, body, "Content-Type", ndjson)
		}
		for path, want := range map[string]struct{ observations, events int }{
			"/api/v1/products/1/evaluate":       {2000, 2},
			"/api/v1/products/2/evaluate":       {700, 1},
			"/api/v1/products/3/evaluate":       {3, 1},
			"/api/v1/products/4/evaluate":       {0, 0},
			"/api/v1/product-groups/1/evaluate": {2700, 3},
		} {
			e.exec("DELETE FROM outbox")
			if got := e.want(202, "POST", path, nil).json["observations"]; got != float64(want.observations) {
				t.Errorf("%s: %v observations, want %d", path, got, want.observations)
			}
			all, bulk := e.count("outbox", "true"), e.count("outbox", "bulk AND kind = 'observation'")
			if all != want.events || bulk != want.events {
				t.Errorf("%s: %d events, %d of an import, want %d", path, all, bulk, want.events)
			}
		}
		e.want(404, "POST", "/api/v1/products/9/evaluate", nil)
		e.want(404, "POST", "/api/v1/product-groups/9/evaluate", nil)
		// What was deleted with its product is not evaluated with that of the same id.
		e.want(204, "DELETE", "/api/v1/products/3", nil)
		e.product(3)
		if got := e.want(202, "POST", "/api/v1/products/3/evaluate", nil).json["observations"]; got != 0.0 {
			t.Errorf("of a deleted product %v observations are evaluated", got)
		}
	})
}

func TestPagesEvaluateAll(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, map[string]any{"severity": "Medium"})+`,`+
			observation(2, 1, map[string]any{"severity": "Medium"})+`,`+observation(3, 1, map[string]any{"severity": "Low"})+`]}`)
		v := e.visitor("maintainer")
		p := v.open("/products/1")
		p.says("Evaluate all again")
		e.exec("DELETE FROM outbox")
		p = v.send(p, "Save", url.Values{"observation_notification_min_severity": {"Medium"}})
		p.says("2 open observations match.")
		v.send(p, "Notify these 2 now", nil).says("3 observations are being evaluated again.")
		if n := e.count("outbox", "bulk AND kind = 'observation'"); n != 1 {
			t.Errorf("%d events wait", n)
		}
		v.send(v.open("/products/1"), "Save", url.Values{"observation_notification_min_severity": {"Critical"}}).says("Evaluate all again")
		boss := e.visitor("boss")
		boss.send(boss.open("/product-groups/1"), "Evaluate all again", nil).says("3 observations are being evaluated again.")
		e.visitor("reader").open("/products/1").saysNot("Evaluate all again")
	})
}
