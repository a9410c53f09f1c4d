package web_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// The pages stay light (visitor.open weighs them) where every list on them is as long as it gets: 200 products, or 100 to
// choose from, and 50 rows with deliveries.
func TestPagesAreLight(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		const products, chosen = 200, 100
		e.user("root", true)
		e.user("reader", false)
		slack, mail := e.targets(rule.Slack, slackURL), e.targets(rule.Email, "the-security-team@example.com")
		inTx := func(fn func(ctx context.Context, tx bun.Tx) error) {
			if err := e.db.InTx(t.Context(), fn); err != nil {
				t.Fatal(err)
			}
		}
		u, err := dbmodel.UserByName(t.Context(), e.db, "reader")
		if err != nil {
			t.Fatal(err)
		}
		inTx(func(ctx context.Context, tx bun.Tx) error {
			for id := range int64(60) {
				if err := dbmodel.SaveProductGroup(ctx, tx, &dbmodel.ProductGroup{ID: id + 1, Name: fmt.Sprintf("Payments in region %d", id)}); err != nil {
					return err
				}
			}
			for id := range int64(products) {
				p := &dbmodel.Product{ID: id + 1, Name: fmt.Sprintf("Shop backend of region %d", id), ProductGroupID: new(id%60 + 1)}
				p.MinSeverity = rule.Medium
				if err := dbmodel.SaveProduct(ctx, tx, p); err != nil {
					return err
				}
				holder := rule.Holder{Kind: rule.HolderProduct, ID: p.ID}
				team := []rule.Contact{{Target: mail[0], Address: "the-security-team@example.com"}}
				if err := dbmodel.SetContacts(ctx, tx, holder, rule.Email, team); err != nil {
					return err
				}
				if err := dbmodel.SetContacts(ctx, tx, holder, rule.Slack, []rule.Contact{{Target: slack[0]}}); err != nil {
					return err
				}
				if id >= chosen {
					continue
				}
				if err := dbmodel.SetMember(ctx, tx, dbmodel.InProduct(p.ID), u.ID, rule.Owner); err != nil {
					return err
				}
			}
			return nil
		})
		for i := range 60 {
			e.user(fmt.Sprintf("somebody.%d@example.com", i), false)
			e.member(dbmodel.InProduct(1), fmt.Sprintf("somebody.%d@example.com", i), rule.Writer)
			e.observed(int64(i%2+1), fmt.Sprintf("CVE-2026-%d: heap overflow in libxml2 2.9.14 lets one run code", 10000+i), rule.EventChanged, rule.Critical, slack[0], mail[0])
		}
		e.exec(`UPDATE settings SET member_notification_types = '["observation", "security_gate", "task"]'`)
		e.exec("UPDATE deliveries SET state = 'failed', last_error = 'the webhook answered 404: it was deleted, or its URL is wrong'")
		e.want(202, "POST", postPath, lines(1, 60, 1), "Content-Type", ndjson)
		one := fmt.Sprintf("/notifications/%d", e.idOf("CVE-2026-10000: heap overflow in libxml2 2.9.14 lets one run code"))
		for name, more := range map[string][]string{"root": {"/settings", "/users"}, "reader": nil} {
			v := e.visitor(name)
			for _, path := range append(more, "/", "/?viewed=all&type=observation", "/products", "/product-groups", "/products/1", "/product-groups/1", "/deliveries",
				"/observations", "/observations/1/explain", one) {
				v.open(path)
			}
			if n := len(v.open("/").lines()); n != 50 {
				t.Errorf("%s: %d lines in the inbox", name, n)
			}
		}
		if n := len(e.visitor("reader").open("/").all("option")); n < chosen {
			t.Errorf("%d to choose from", n)
		}
	})
}
