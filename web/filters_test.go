package web_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// walkNames reads a list page by page, and returns the values of a field.
func (e *env) walkNames(path, field string, who ...string) (out []string) {
	e.t.Helper()
	cursor := ""
	for range 20 {
		r := e.want(200, "GET", path+"&limit=1"+cursor, nil, who...)
		for _, i := range r.json["items"].([]any) {
			out = append(out, fmt.Sprint(i.(map[string]any)[field]))
		}
		next, more := r.json["next_cursor"].(string)
		if !more {
			return out
		}
		cursor = "&cursor=" + url.QueryEscape(next)
	}
	e.t.Fatalf("%s: no end", path)
	return nil
}

// TestSeverityAndGroup: both filters of the inbox, alone and with others, for administrators and members, page by page.
func TestSeverityAndGroup(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.want(200, "PUT", "/api/v1/product-groups/8", `{"name":"Shop"}`)
		e.want(200, "PUT", "/api/v1/product-groups/9", `{"name":"Bank"}`)
		e.want(200, "PUT", "/api/v1/products/1", `{"name":"web","product_group_id":8}`)
		e.want(200, "PUT", "/api/v1/products/2", `{"name":"app","product_group_id":9}`)
		e.product(3)
		e.want(200, "PATCH", "/api/v1/settings", `{"member_notification_types":["observation","security_gate","task"]}`)
		e.user("root", true)
		e.user("alex", false)
		e.member(dbmodel.InProduct(1), "alex", rule.Reader)
		e.member(dbmodel.InProduct(3), "alex", rule.Reader)
		e.observed(1, "web critical", rule.EventNew, rule.Critical)
		e.observed(2, "app critical", rule.EventNew, rule.Critical)
		e.observed(3, "lone high", rule.EventChanged, rule.High)
		e.observed(1, "web low", rule.EventDropped, rule.Low)
		e.notify(about("web gate", rule.TypeSecurityGate, 1), about("task", rule.TypeTask, 0))
		e.want(204, "POST", fmt.Sprintf("%s/%d/viewed", inboxPath, e.idOf("web low")), nil, e.as("alex")...)

		for _, c := range []struct{ query, root, alex string }{
			{"severity=Critical", "app critical, web critical", "web critical"},
			{"severity=Critical&sort=created_at", "web critical, app critical", "web critical"},
			{"severity=Critical&severity=Low", "web low, app critical, web critical", "web low, web critical"},
			{"severity=Medium", "", ""},
			{"severity=Low&viewed=true", "", "web low"},
			{"severity=High&severity=Low&viewed=false", "web low, lone high", "lone high"},
			{"severity=High&type=observation&event=changed", "lone high", "lone high"},
			{"severity=High&type=security_gate", "", ""},
			{"severity=Critical&product_id=1", "web critical", "web critical"},
			{"severity=Critical&q=APP", "app critical", ""},
			{"product_group_id=8", "web gate, web low, web critical", "web gate, web low, web critical"},
			{"product_group_id=8&sort=created_at", "web critical, web low, web gate", "web critical, web low, web gate"},
			{"product_group_id=9", "app critical", ""},
			{"product_group_id=7", "", ""},
			{"product_group_id=8&product_id=2", "", ""},
			{"product_group_id=8&severity=Critical&severity=Low&viewed=false", "web low, web critical", "web critical"},
			{"product_group_id=8&viewed=true", "", "web low"},
			{"product_group_id=8&q=web", "web gate, web low, web critical", "web gate, web low, web critical"},
		} {
			for who, want := range map[string]string{"root": c.root, "alex": c.alex} {
				if got := strings.Join(e.walkNames(inboxPath+"?"+c.query, "name", e.as(who)...), ", "); got != want {
					t.Errorf("%s of %s: %q instead of %q", c.query, who, got, want)
				}
				if strings.Contains(c.query, "sort=") {
					continue
				}
				page := "/?" + c.query
				if !strings.Contains(page, "viewed=") {
					page += "&viewed=all"
				}
				got := strings.Join(e.visitor(who).open(page).lines(), ", ")
				if want = strings.ReplaceAll(want, "web gate", "Security gate"); got != want {
					t.Errorf("%s of %s: %q instead of %q", page, who, got, want)
				}
			}
		}
		for _, query := range []string{"severity=Bad", "severity=Critical&severity=bad", "product_group_id=0"} {
			e.want(422, "GET", inboxPath+"?"+query, nil)
		}
		s := e.visitor("root").open("/?severity=Low&severity=High&product_group_id=8")
		s.says("Any group", "Shop", "Bank")
		if n := strings.Count(s.source, " checked>"); n != 3 { // and "not viewed only"
			t.Errorf("%d boxes are ticked", n)
		}
		e.visitor("alex").open("/").saysNot("Bank")
	})
}

// TestListObservations: what one may see, by id, with all filters, page by page.
func TestListObservations(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		e.product(2)
		e.user("root", true)
		e.user("alex", false)
		e.user("nobody", false)
		e.member(dbmodel.InProduct(2), "alex", rule.Reader)
		e.want(202, "POST", postPath, `{"observations":[`+strings.Join([]string{
			observation(1, 1, map[string]any{"severity": "Critical"}), observation(2, 1, map[string]any{"status": "In review"}),
			observation(3, 2, map[string]any{"severity": "Low", "status": "Resolved", "origin": map[string]any{"file": "a.go"}}), observation(4, 2, nil),
		}, ",")+`]}`)
		err := e.db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE observations SET notified_severity = 'High', notified_status = 'Open' WHERE id IN (2, 3)")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		const path = "/api/v1/observations"
		ingest := []string{"Authorization", "Bearer " + e.token("root", dbmodel.ScopeIngest)}
		for _, c := range []struct{ query, all, alex string }{
			{"", "1 2 3 4", "3 4"},
			{"product_id=1", "1 2", ""},
			{"product_id=2", "3 4", "3 4"},
			{"severity=High", "2 4", "4"},
			{"severity=High&severity=Critical", "1 2 4", "4"},
			{"status=In%20review", "2", ""},
			{"status=Open&status=Resolved", "1 3 4", "3 4"},
			{"notified=true", "2 3", "3"},
			{"notified=false&severity=High", "4", "4"},
			{"notified=true&product_id=1&severity=High&status=In%20review", "2", ""},
		} {
			for _, who := range [][]string{nil, ingest} {
				if got := strings.Join(e.walkNames(path+"?"+c.query, "id", who...), " "); got != c.all {
					t.Errorf("%s: %s instead of %s", c.query, got, c.all)
				}
			}
			if got := strings.Join(e.walkNames(path+"?"+c.query, "id", e.as("alex")...), " "); got != c.alex {
				t.Errorf("%s of alex: %s instead of %s", c.query, got, c.alex)
			}
			if got := e.walkNames(path+"?"+c.query, "id", e.as("nobody")...); len(got) != 0 {
				t.Errorf("%s of nobody: %s", c.query, got)
			}
			if strings.Count(c.query, "severity=")+strings.Count(c.query, "status=") > 1 && !strings.Contains(c.query, "notified") {
				continue // the page chooses one of each
			}
			s := e.visitor("root").open("/observations?" + c.query)
			for _, id := range []string{"1", "2", "3", "4"} {
				if there := strings.Contains(s.text(), "CVE-2026-"+id); there != strings.Contains(c.all, id) {
					t.Errorf("page %s: observation %s: %v", c.query, id, there)
				}
			}
		}
		items := e.want(200, "GET", path+"?severity=Low", nil).json["items"].([]any)
		if diff := cmp.Diff(any(e.want(200, "GET", path+"/3", nil).json), items[0]); diff != "" {
			t.Errorf("the list and one by one differ:\n%s", diff)
		}
		for _, query := range []string{"severity=bad", "status=open", "notified=yes", "product_id=0", "cursor=x", "limit=0", "limit=251", "unknown=1"} {
			e.want(422, "GET", path+"?"+query, nil)
		}
		e.visitor("root").open("/observations?severity=None").says("fits this filter", "Show all")
	})
}
