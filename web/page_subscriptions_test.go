package web_test

import (
	"net/url"
	"strings"
	"testing"
)

// TestSubscriptionPages: a reader subscribes with the form of five lines, changes the subscription and ends it; a maintainer makes
// one for the team.
func TestSubscriptionPages(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		reader := e.visitor("reader")
		reader.open("/products/1").says("Who receives what", "Notify me")
		p := reader.open("/subscriptions?where=product-1")
		p.says("My notifications", "Nothing yet", "Product Payments API")
		p = reader.send(p, "Subscribe", url.Values{"min_severity": {"Critical"}, "schedule": {"0 8 * * *"}, "timezone": {"Europe/Atlantis"}})
		p.says("must be a time zone of the IANA database")
		if !strings.Contains(p.source, `value="Europe/Atlantis"`) {
			t.Error("what was typed is lost")
		}
		p = reader.send(p, "Subscribe", url.Values{"timezone": {"Europe/Berlin"}})
		p.says("you are subscribed", "Critical or worse in product Payments API", "The next digest comes 20", " 08:00 Europe/Berlin.", "the address of your account which has none yet")
		mine := p.path
		e.want(200, "PUT", "/api/v1/users/reader", `{"email":"reader@example.com"}`)
		if p := reader.open(mine); strings.Contains(p.source, "none yet") {
			t.Error("an address is not found")
		}
		reader.open("/subscriptions").says("Critical or worse in product Payments API", "one digest a day, at 8, Europe/Berlin", "Unsubscribe")
		reader.open("/products/1").says("You are subscribed")

		p = reader.send(reader.open(mine), "Save", url.Values{"events": {"passed"}, "types": {"observation"}})
		p.says("no notification of the chosen types has such an event")
		p = reader.send(reader.open(mine), "Save", url.Values{"min_severity": {"High"}})
		p.says("Saved.", "High or worse in product Payments API")
		p = reader.send(p, "Add a contact", url.Values{"channel": {"webhook"}, "address": {"https://receiver.example/verysecret"}})
		p.says("whsec_", "https://receiver.example/…cret")
		if again := reader.open(mine); strings.Contains(again.source, "whsec_") {
			t.Error("the secret is shown twice")
		}
		p = reader.send(reader.open("/subscriptions"), "Unsubscribe", nil)
		p.says("Disabled: nothing is sent.")
		p = reader.send(p, "Delete this subscription", nil)
		p.says("Nothing yet")

		maintainer := e.visitor("maintainer")
		maintainer.open("/products/1").says("Add a subscription for the team")
		p = maintainer.open("/subscriptions?team=yes&where=product-1")
		p = maintainer.send(p, "Subscribe the team", url.Values{"address": {"team@example.com"}})
		p.says("the team is subscribed", "Of the team: everything in product Payments API", "team@example.com")
		p = maintainer.send(p, "Save", url.Values{"events": {"new", "none"}})
		p.says("Saved.", "Of the team: new, no result in product Payments API", "Security gates", "no result")
		reader.open("/products/1").says("team@example.com", "subscription")
		reader.open(p.path).says("You may read this.")

		root := e.visitor("owner")
		if _, err := e.db.ExecContext(t.Context(), "UPDATE users SET is_admin = true WHERE username = 'owner'"); err != nil {
			t.Fatal(err)
		}
		p = root.send(root.open("/subscriptions?team=yes"), "Subscribe the installation", url.Values{"address": {"soc@example.com"}})
		p.says("Of the team: everything everywhere", "soc@example.com")
		p = root.open("/subscriptions")
		p.says("Of the whole installation", "everything everywhere; Email soc@example.com; at once")
		if !strings.Contains(p.source, `<a href="/users/owner">enter it</a>`) {
			t.Error("an administrator without an address is not led to where it is entered")
		}
	})
}
