package web_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/rule"
)

// TestNewcomer finds out why an observation was not notified, and mends it, by links and buttons alone.
func TestNewcomer(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.observe(map[string]any{"severity": "Medium", "title": "SQL injection in /login"})
		v := e.visitor("maintainer")
		p := v.follow(v.follow(v.open("/"), "Products"), "Payments API")
		p = v.send(v.follow(p, "why is one notified, or not"), "Search", url.Values{"q": {"sql INJ"}})
		p = v.follow(p, "SQL injection")
		p.says("Not notified: Medium is below High, which group Payments asks for.", "not met Severity Medium High or worse group Payments", "Last notified: nothing yet.",
			"Would receive it if it were notified ○ would be a recipient Slack "+slackShown)
		p.saysNot("✓ recipient")
		// The group is not theirs: they override it for the product.
		p = v.follow(p, "Payments API")
		p = v.send(p, "Save", url.Values{"observation_notification_min_severity": {"Medium"}})
		p.says("1 open observation matches.")
		p = v.follow(v.follow(p, "why is one notified"), "SQL injection")
		p.says("Notified as new at its next evaluation", "met Severity Medium Medium or worse product Payments API", "Will receive it ✓ recipient Slack "+slackShown)
		v.send(p, "Evaluate again", nil).says("It is being evaluated again.")
		if n := e.count("outbox", "kind = 'observation' AND failed_at IS NULL"); n < 1 {
			t.Error("nothing waits for its evaluation")
		}
		e.remember(&rule.Values{Severity: rule.Medium, Status: rule.Open})
		v.open("/observations/1/explain").says("Last notified: Medium, Open.", "Not notified again")
		reader := e.visitor("reader").open("/observations/1/explain")
		reader.saysNot("Evaluate again", "Its title, in all products")
	})
}

// TestExplainPageOfFailingContact: who reads why something did not arrive learns that the contact itself fails.
func TestExplainPageOfFailingContact(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.shop()
		e.observe(map[string]any{"severity": "Medium"})
		e.notify(about("gate", rule.TypeSecurityGate, 1, e.targets(rule.Slack, slackURL)...))
		v := e.visitor("reader")
		const fails, failed = "Deliveries to it fail at present, and are tried again.", "A delivery to it has failed for good, and none has succeeded since."
		v.open("/observations/1/explain").saysNot(fails, failed)
		e.exec("UPDATE targets SET failures = 2, failing_since = next_at WHERE channel = 'slack'")
		v.open("/observations/1/explain").says(fails)
		e.exec("UPDATE deliveries SET state = 'failed'")
		e.exec("UPDATE targets SET failure_notified = ? WHERE channel = 'slack'", true)
		v.open("/observations/1/explain").says(failed)
		e.exec("UPDATE targets SET failure_notified = ? WHERE channel = 'slack'", false) // one was taken, and the next one was not
		p := v.open("/observations/1/explain")
		p.says(fails)
		p.saysNot(failed)
	})
}

func TestExplainPageOfNothingSet(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.user("boss", true)
		e.product(1)
		e.observe(nil)
		v := e.visitor("boss")
		p := v.open("/observations/1/explain")
		p.says("no condition is set for product product 1", "not met Conditions none is set at least one Set one for product product 1", "No contact. Set an email address or a webhook for product product 1",
			"Its title, in all products", "no condition for observation titles is set in the settings", "Set one in the settings")
		v.follow(p, "Set one for product product 1").says("Notification settings")
		v.follow(p, "Set one in the settings").says("Observation titles")
	})
}

// The longest title makes neither a link that a proxy refuses nor a heavy list.
func TestLongTitle(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("boss", true)
		e.product(1)
		title := strings.Repeat("ö", 10_000)
		e.observe(map[string]any{"title": title})
		e.observed(1, title, rule.EventNew, rule.High, e.targets(rule.Slack, slackURL)...)
		v := e.visitor("boss")
		for _, path := range []string{"/", "/deliveries", "/observations"} {
			if n := len(v.open(path).source); n > 10_000 {
				t.Errorf("%s weighs %d bytes", path, n)
			}
		}
		p := v.open("/observations/1/explain")
		for _, a := range p.all("a") {
			if n := len(attr(a, "href")); n > 4000 {
				t.Errorf("a link has %d bytes", n)
			}
		}
		if n := len(v.follow(p, "Its notifications").lines()); n != 1 {
			t.Errorf("%d notifications are found", n)
		}
	})
}

func TestObservationSearch(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.product(2)
		e.want(202, "POST", postPath, `{"observations":[`+observation(7, 1, map[string]any{"title": "100% odd"})+`,`+observation(8, 2, map[string]any{"title": "hidden odd"})+`]}`)
		v := e.visitor("reader")
		find := func(q string) *sheet { return v.open("/observations?" + url.Values{"q": {q}}.Encode()) }
		find("ODD").says("100% odd")
		find("ODD").saysNot("hidden")
		find("7").says("100% odd")
		find("0%").says("100% odd")
		find("8").says("No observation that you may see")
		if got := v.ask("GET", "/observations/8/explain", nil); got.status != 404 {
			t.Errorf("hidden: %d", got.status)
		}
		e.visitor("boss").open("/observations?q=odd").says("hidden odd", "100% odd")
	})
}

// TestHostileTexts: whatever names and titles are, they are text.
func TestHostileTexts(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		const script, image, attribute = `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover=alert(1) x='{{.}}`
		e.user("boss", true)
		e.want(200, "PUT", "/api/v1/product-groups/1", map[string]any{"name": image})
		e.want(200, "PUT", "/api/v1/products/1", map[string]any{"name": script + attribute, "product_group_id": 1, "observation_notification_min_severity": "High"})
		e.want(200, "PUT", "/api/v1/users/mallory", map[string]any{"full_name": script + image})
		e.want(204, "PUT", "/api/v1/products/1/members/mallory", `{"role":"owner"}`)
		e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, map[string]any{"title": image + script})+`]}`)
		n := about(script+image, rule.TypeSecurityGate, 1, e.targets(rule.Slack, slackURL)...)
		n.Facts.ProductName = image
		e.notify(n)
		e.exec("UPDATE deliveries SET state = 'failed', last_error = ?", script+image)
		e.exec("UPDATE targets SET failure_notified = ?", true)
		v := e.visitor("boss")
		for _, path := range []string{
			"/products", "/products?q=" + url.QueryEscape(image), "/product-groups", "/products/1", "/product-groups/1", "/observations", "/observations?q=" + url.QueryEscape(script),
			"/observations/1/explain", "/deliveries", "/settings", "/users", "/users/mallory",
		} {
			p := v.open(path)
			for _, tag := range []string{"img", "script"} {
				for _, found := range p.all(tag) {
					if !strings.HasPrefix(attr(found, "src"), "/static/") {
						t.Errorf("%s has a %s of somebody else: %s", path, tag, attr(found, "src"))
					}
				}
			}
			for found := range p.root.Descendants() {
				for _, a := range found.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
						t.Errorf("%s has %s=%q", path, a.Key, a.Val)
					}
				}
			}
		}
		v.open("/products/1").says(script + attribute)
		v.open("/observations/1/explain").says(image + script)
	})
}
