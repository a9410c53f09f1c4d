package web_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

// linksOf are all addresses that a message leads to.
func linksOf(m *channel.Message) []string {
	list := []string{m.Action.URL, m.ReasonURL}
	for _, it := range m.Items {
		list = append(list, it.URL)
	}
	return list
}

// Every link in a message that leads to Tocsin finds a page, and the place on it that is meant.
func TestLinksOfMessages(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, nil)+`]}`)
		values := &rule.Values{Severity: rule.Critical, Status: rule.Open}
		for _, kind := range rule.Types {
			n := about("CVE-2026-1", kind, 1)
			n.Event = rule.EventNew
			n.Facts = dbmodel.Facts{ProductName: "Payments API", ProductGroupName: "Payments"}
			switch kind {
			case rule.TypeObservation:
				n.ObservationID = new(int64(1))
				n.SetValues(nil, values)
				e.notify(n)
			case rule.TypeObservationTitle:
				n.ProductID = nil
				n.SetValues(nil, values)
			case rule.TypeSecurityGate:
				n.Event = rule.EventFailed
			case rule.TypeException, rule.TypeTask:
				n.Event = rule.NoEvent
			}
			e.notify(n)
		}
		list, err := dbmodel.Notifications(t.Context(), e.db, dbmodel.Viewer{Admin: true}, dbmodel.NotificationFilter{}, 10)
		if err != nil || len(list) != 6 {
			t.Fatalf("%d notifications: %v", len(list), err)
		}
		b := message.Builder{BaseURL: "https://tocsin.example", Settings: new(dbmodel.Settings)}
		to := message.Recipient{Channel: rule.Email, Address: "a@example.com"}
		links := linksOf(b.Test("Payments API", 1, to))
		links = append(links, linksOf(b.Test("exceptions", 0, to))...)
		groups := []dbmodel.DigestGroup{}
		for i := range list {
			links = append(links, linksOf(b.Single(&list[i], 1, to))...)
			ofGroup := to
			ofGroup.Holder = rule.Holder{Kind: rule.HolderGroup, ID: 1}
			links = append(links, linksOf(b.Single(&list[i], 1, ofGroup))...)
			groups = append(groups, dbmodel.DigestGroup{Type: list[i].Type, Event: list[i].Event, Severity: list[i].AfterSeverity, Count: 1})
		}
		for products := range 3 {
			links = append(links, linksOf(b.Digest(&dbmodel.WaitingDigest{Groups: groups, Products: products, Named: list[:3], Worst: list[3:]}, 1, to))...)
		}
		pages := map[string]bool{}
		v := e.visitor("boss")
		for _, link := range links {
			path, own := strings.CutPrefix(link, "https://tocsin.example")
			u, err := url.Parse(path)
			if err != nil || !own {
				t.Fatalf("a link leads to %q (%v)", link, err)
			}
			s := v.open(path)
			if u.Fragment != "" {
				s.field(u.Fragment) // fails where there is none
			}
			pages[path] = true
		}
		for _, want := range []string{
			"/", "/settings", "/products", "/products/1", "/products/1#notification_email_to", "/product-groups/1#notification_email_to",
			"/settings#observation_title_notification_email_to", "/settings#exception_email_to", fmt.Sprintf("/notifications/%d", list[0].ID),
		} {
			if !pages[want] {
				t.Errorf("no message leads to %s, only to %v", want, pages)
			}
		}
	})
}

// What an application may know of an observation is its id.
func TestObservationLeadsToItsExplanation(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.shop()
	e.want(202, "POST", postPath, `{"observations":[`+observation(7, 1, nil)+`]}`)
	s := e.visitor("reader").open("/observations/7")
	s.says("Why? CVE-2026-7")
	if s.path != "/observations/7/explain" {
		t.Errorf("it leads to %s", s.path)
	}
	for _, c := range []struct{ name, path string }{{"reader", "/observations/8"}, {"outsider", "/observations/7"}, {"reader", "/observations/x"}} {
		if got := e.visitor(c.name).ask("GET", c.path, nil); got.status != 404 {
			t.Errorf("%s as %s is answered %d", c.path, c.name, got.status)
		}
	}
}
