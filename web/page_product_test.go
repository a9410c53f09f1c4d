package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// shop stores a group with a product and these users: boss, an administrator, and owner, maintainer and reader of the product.
func (e *env) shop() {
	e.t.Helper()
	e.want(200, "PUT", "/api/v1/product-groups/1", map[string]any{"name": "Payments", "observation_notification_min_severity": "High", "notification_slack_webhook": slackURL})
	e.want(200, "PUT", "/api/v1/products/1", `{"name":"Payments API","product_group_id":1}`)
	e.user("boss", true)
	e.user("outsider", false)
	for _, role := range []rule.Role{rule.Owner, rule.Maintainer, rule.Reader} {
		e.user(string(role), false)
		e.member(dbmodel.InProduct(1), string(role), role)
	}
}

func TestProductPageShowsWhenceASettingComes(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, nil)+`,`+observation(2, 1, map[string]any{"severity": "Critical"})+`,`+
			observation(3, 1, map[string]any{"severity": "Critical", "status": "Resolved"})+`]}`)
		v := e.visitor("maintainer")
		p := v.follow(v.follow(v.open("/"), "Products"), "Payments API")
		const severity, mail, slack = "observation_notification_min_severity", "notification_email_to", "notification_slack_webhook"
		if got := p.field(severity); !strings.Contains(got, "High or worse from group Payments") {
			t.Errorf("inherited: %s", got)
		}
		if got := p.field(slack); !strings.Contains(got, slackShown+" from group Payments") {
			t.Errorf("inherited webhook: %s", got)
		}
		p = v.send(p, "Save", url.Values{severity: {"Critical"}, mail: {"a@example.com, b@example.com"}, "observation_notification_min_priority": {"7"}})
		p.says("Saved. Applies when an observation next changes. 0 open observations match.")
		if got := p.field(severity); !strings.Contains(got, "Critical set here") || !strings.Contains(got, "Cleared, it is High or worse, from group Payments.") {
			t.Errorf("overridden: %s", got)
		}
		if p.value(severity) != "Critical" || p.value(mail) != "a@example.com, b@example.com" || p.value("observation_notification_min_priority") != "7" {
			t.Errorf("what was saved does not stand in the form")
		}
		p = v.send(p, "Save", url.Values{severity: {""}, "observation_notification_min_priority": {""}})
		p.says("2 open observations match.")
		p = v.send(p, "Save", url.Values{"observation_notification_statuses": {"", "Open", "Resolved"}})
		p.says("3 observations match.", "Open, Resolved set here")
		p = v.send(p, "Save", url.Values{"observation_notification_statuses": {""}})
		p.says("2 open observations match.", "Active ones: Open, Affected, In review")
	})
}

func TestProductPageKeepsWhatWasTyped(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		v := e.visitor("owner")
		p := v.send(v.open("/products/1"), "Save", url.Values{
			"notification_email_to": {"no address"}, "observation_notification_min_priority": {"100"}, "observation_notification_min_severity": {"Low"},
			"notification_ms_teams_webhook": {"ftp://example.com/verysecret"}, "notification_paused_until": {"2099-01-31T08:00"},
		})
		if p.status != http.StatusUnprocessableEntity {
			t.Errorf("answered %d", p.status)
		}
		p.says("Nothing was saved: 3 fields below cannot be used.", "Minimum priority must be from 1 to 99.", "type it anew")
		if p.value("notification_email_to") != "no address" || p.value("observation_notification_min_priority") != "100" || p.value("observation_notification_min_severity") != "Low" ||
			p.value("notification_paused_until") != "2099-01-31T08:00" {
			t.Errorf("what was typed is lost: %s", p.source)
		}
		if got := e.want(200, "GET", "/api/v1/products/1", nil).json; got["observation_notification_min_severity"] != "" || got["notification_paused_until"] != nil {
			t.Errorf("stored: %v", got)
		}
		p = v.send(p, "Save", url.Values{
			"notification_email_to": {"a@example.com"}, "observation_notification_min_priority": {"9"}, "notification_ms_teams_webhook": {"ftp://example.com/verysecret"},
		})
		p.says("Nothing was saved: one field below cannot be used.", "Microsoft Teams webhook", "type it anew")
		p = v.send(p, "Save", nil)
		p.says("Saved.", "Paused until 2099-01-31 08:00 UTC")
		if got := e.want(200, "GET", "/api/v1/products/1", nil).json; got["notification_paused_until"] != "2099-01-31T08:00:00Z" || got["notification_ms_teams_webhook"] != "" {
			t.Errorf("stored: %v", got)
		}
	})
}

// TestPauseIsTypedByAClock: of the zone beside it, and stored as a moment. What is not typed stays.
func TestPauseIsTypedByAClock(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		const until, zone = "notification_paused_until", "notification_paused_timezone"
		v := e.visitor("owner")
		stored := func(want string) {
			t.Helper()
			if got := e.want(200, "GET", "/api/v1/products/1", nil).json; got[until] != want {
				t.Errorf("paused until %v, want %s", got[until], want)
			}
		}
		v.send(v.open("/products/1"), "Save", url.Values{until: {"2099-07-31T08:00"}, zone: {"Europe/Berlin"}}).says("Saved.")
		stored("2099-07-31T06:00:00Z")
		v.send(v.open("/products/1"), "Save", nil).says("Saved.")
		stored("2099-07-31T06:00:00Z")
		p := v.send(v.open("/products/1"), "Save", url.Values{until: {"2099-07-31T09:00"}, zone: {"Berlin"}})
		p.says("one field below cannot be used", "Time zone of the pause must be a time zone of the IANA database")
		if p.value(until) != "2099-07-31T09:00" || p.value(zone) != "Berlin" {
			t.Errorf("what was typed is lost: %s", p.source)
		}
		stored("2099-07-31T06:00:00Z")
		v.send(p, "Save", url.Values{zone: {"America/New_York"}}).says("Saved.")
		stored("2099-07-31T13:00:00Z")
	})
}

// A webhook is never shown; an empty field keeps it, a box removes it.
func TestProductPageWebhook(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		v := e.visitor("maintainer")
		const name = "notification_slack_webhook"
		stored := func() any { return e.want(200, "GET", "/api/v1/products/1", nil).json[name] }
		p := v.send(v.open("/products/1"), "Save", url.Values{name: {"https://hooks.slack.com/services/T0/B0/verysecret-new1"}})
		p.says("https://hooks.slack.com/…new1")
		if p = v.send(p, "Save", nil); stored() != "https://hooks.slack.com/…new1" {
			t.Errorf("left alone: %v", stored())
		}
		v.send(p, "Save", url.Values{name + ".remove": {"true"}}).says(slackShown + " from group Payments")
		if stored() != "" {
			t.Errorf("removed: %v", stored())
		}
	})
}

func TestProductPageRights(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		reader := e.visitor("reader")
		p := reader.open("/products/1")
		p.says("High or worse from group Payments", "A maintainer or an owner changes them.")
		if len(p.all("form")) > 1 || strings.Contains(p.source, "<select") { // the one to log out
			t.Errorf("a reader finds forms: %s", p.source)
		}
		for path, want := range map[string]int{"/products/1": 403, "/products/1/test": 403, "/products/1/members": 403, "/product-groups/1": 403, "/products/2": 404} {
			if got := reader.ask("POST", path, url.Values{"username": {"reader"}, "role": {"owner"}}); got.status != want {
				t.Errorf("POST %s as a reader: %d", path, got.status)
			}
		}
		out := e.visitor("outsider")
		for _, path := range []string{"/products/1", "/product-groups/1", "/observations?product_id=1", "/deliveries?product_id=1"} {
			if got := out.ask("GET", path, nil); got.status != 404 {
				t.Errorf("%s as an outsider: %d", path, got.status)
			}
		}
		out.open("/products").says("You are a member of none")
		reader.open("/product-groups/1").says("only its members see its settings")
		reader.open("/product-groups/1").saysNot(slackShown)
	})
}

func TestMembersOnThePage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		v := e.visitor("owner")
		p := v.open("/products/1")
		p = v.send(p, "Add", url.Values{"username": {"nobody"}, "role": {"writer"}})
		p.says("The name is no user here")
		if p.status != 422 || p.value("username") == "" || p.value("role") != "writer" {
			t.Errorf("%d: %s", p.status, p.source)
		}
		p = v.send(p, "Add", url.Values{"username": {"outsider"}})
		p.says("outsider is writer now.")
		e.visitor("outsider").open("/products/1")
		v.send(p, "Remove outsider", nil).says("outsider is no member any more.")
		if got := e.visitor("outsider").ask("GET", "/products/1", nil); got.status != 404 {
			t.Errorf("it still sees it: %d", got.status)
		}
		v.send(v.open("/products/1"), "Remove owner", nil).says("You are a member of none")
		e.visitor("maintainer").open("/products/1").saysNot("Add, or change")
	})
}

func TestTestOnThePage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		far := newWebhooks(t)
		e.want(200, "PUT", "/api/v1/products/1", map[string]any{"notification_slack_webhook": far.URL + "/verysecret/test", "notification_email_to": "a@example.com"})
		v := e.visitor("maintainer")
		p := v.send(v.open("/products/1"), "by Slack", nil)
		p.says("The message was sent.")
		if far.count("/verysecret/test") != 1 {
			t.Error("nothing came")
		}
		v.send(p, "to all", nil).says("The setting email_from is empty: without it no email is sent.")
		far.status.Store(404)
		v.send(p, "by Slack", nil).saysNot("The message was sent.")
	})
}

func TestPausedOnThePage(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.shop()
		v := e.visitor("reader")
		v.open("/products/1").saysNot("no message is sent")
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"notification_paused_until":"2100-01-02T03:04:00Z"}`)
		v.open("/products/1").says("Paused until 2100-01-02 03:04 UTC, from group Payments. Notifications are stored")
		e.want(200, "PUT", "/api/v1/product-groups/1", `{"notification_paused_until":"2001-01-02T03:04:00Z"}`)
		v.open("/products/1").saysNot("no message is sent")
	})
}

// TestPauseBegins: before it ends, of a product and of a group; a pause that is cleared has no beginning either.
func TestPauseBegins(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		const from, until = "notification_paused_from", "notification_paused_until"
		for _, path := range []string{"/api/v1/products/1", "/api/v1/product-groups/1"} {
			for _, body := range []string{
				`{"` + from + `":"2100-01-02T03:04:00Z"}`,
				`{"` + from + `":"2100-01-02T03:04:00Z","` + until + `":"2100-01-02T03:04:00Z"}`,
				`{"` + from + `":"2100-01-02T03:04:01Z","` + until + `":"2100-01-02T03:04:00Z"}`,
			} {
				if faults := e.want(422, "PUT", path, body).faults(); len(faults) != 1 || faults[from] == "" {
					t.Errorf("%s %s: %v", path, body, faults)
				}
			}
			e.want(200, "PUT", path, `{"`+from+`":"2100-01-01T00:00:00Z","`+until+`":"2100-01-02T03:04:00Z"}`)
			if faults := e.want(422, "PUT", path, `{"`+until+`":"2100-01-01T00:00:00Z"}`).faults(); faults[from] == "" {
				t.Errorf("%s, only the end: %v", path, faults)
			}
			e.want(200, "PUT", path, `{"`+until+`":null}`)
			if got := e.want(200, "GET", path, nil).json; got[from] != nil || got[until] != nil {
				t.Errorf("%s is cleared: %v, %v", path, got[from], got[until])
			}
		}
	})
}

func TestLastDeliveriesOnThePage(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.shop()
		for i := range 5 {
			e.notify(about(fmt.Sprintf("task %d", i), rule.TypeTask, 1, e.targets(rule.Slack, slackURL)...))
		}
		e.notify(about("x", rule.TypeSecurityGate, 1, e.targets(rule.Email, "old@example.com")...))
		e.notify(about("x", rule.TypeTask, 1, e.targets(rule.Email, "operations@example.com")...))
		e.exec("UPDATE deliveries SET state = 'failed', last_error = 'the webhook answered 404'")
		p := e.visitor("reader").open("/products/1")
		p.says("task 4", "task 2", "the webhook answered 404", "old@example.com no contact any more ✗ failed now Security gate",
			"operations@example.com contact for background tasks, in the settings")
		p.saysNot("task 1")

		e.want(200, "PUT", "/api/v1/users/reader", `{"email":"reader@example.com"}`)
		e.asUser("reader", 201, "POST", "/subscriptions", `{"username":"me","name":"Mine","product_id":1,"contacts":[{"channel":"email"}]}`)
		e.notify(about("x", rule.TypeSecurityGate, 1, e.targets(rule.Email, "reader@example.com")...))
		e.exec(`UPDATE deliveries SET source_kind = 'subscription', source_id = (SELECT max(id) FROM subscriptions)
			WHERE notification_id = (SELECT max(id) FROM notifications)`)
		e.visitor("boss").open("/products/1").says("reader@example.com subscription Mine", "And one user by a subscription of their own.")
	})
}

func TestProductsAreSearchedAndPaged(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.shop()
		for i := range 120 {
			e.want(200, "PUT", fmt.Sprintf("/api/v1/products/%d", 1000-i), map[string]any{"name": fmt.Sprintf("item %03d%%", i)})
		}
		v := e.visitor("boss")
		p := v.open("/products")
		p.says("item 000%", "item 049%")
		p.saysNot("item 050%")
		p = v.follow(v.follow(p, "Next"), "Next")
		p.says("item 119%", "Payments API", "High or worse", "Slack")
		v.follow(p, "First page").says("item 000%")
		p = v.send(p, "Search", url.Values{"q": {"PAYMENTS"}})
		p.says("Payments API")
		p.saysNot("item")
		v.send(p, "Search", url.Values{"q": {"1_9"}}).says("No product that you may see has “1_9” in its name.")
		v.send(p, "Search", url.Values{"q": {"19%"}}).says("item 019%", "item 119%")
	})
}

// Products without a contact are found: one of their group counts as theirs.
func TestProductsWithoutContact(t *testing.T) {
	both(t, func(_ *testing.T, e *env) {
		e.shop() // product 1 has the webhook of its group
		e.want(200, "PUT", "/api/v1/product-groups/2", `{"name":"without"}`)
		for id, more := range map[int64]map[string]any{
			2: {}, 3: {"product_group_id": 2}, 4: {"notification_email_to": "a@example.com"}, 5: {"product_group_id": 2, "notification_slack_webhook": slackURL},
		} {
			more["name"] = fmt.Sprintf("item %d", id)
			e.want(200, "PUT", fmt.Sprintf("/api/v1/products/%d", id), more)
		}
		v := e.visitor("boss")
		v.open("/").says("2 products have no target for notifications: set one")
		p := v.send(v.open("/products"), "Search", url.Values{"contacts": {"none"}})
		p.says("item 2", "item 3")
		p.saysNot("item 4", "item 5", "Payments API")
		v.send(p, "Search", url.Values{"q": {"api"}}).says("Each product with “api” in its name that you may see has a contact or a subscription.")
		e.visitor("reader").open("/").saysNot("no target") // of what they do not see
	})
}

// TestProductsWithSubscriptionsOnly: the lists do not say that nobody receives anything of a product without a contact
// where a subscription does that the reader of the list may know of.
func TestProductsWithSubscriptionsOnly(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.want(200, "PUT", "/api/v1/product-groups/2", `{"name":"item group"}`)
		for id := int64(2); id <= 6; id++ {
			e.want(200, "PUT", fmt.Sprintf("/api/v1/products/%d", id), map[string]any{"name": fmt.Sprintf("item %d", id)})
			e.member(dbmodel.InProduct(id), "reader", rule.Reader)
		}
		e.want(200, "PUT", "/api/v1/products/3", `{"product_group_id":2}`)
		e.member(dbmodel.InProduct(4), "owner", rule.Owner)
		subscribe := func(fields string) {
			e.want(201, "POST", "/api/v1/subscriptions", `{`+fields+`,"contacts":[{"channel":"slack","address":"`+slackURL+`"}]}`)
		}
		subscribe(`"product_id":2`)
		subscribe(`"product_group_id":2`)
		subscribe(`"product_id":4,"username":"reader"`)
		subscribe(`"product_id":5,"enabled":false`)
		contacts := func(name, path string) (out []string) {
			for _, row := range within(e.visitor(name).open(path).root, "tr")[1:] {
				out = append(out, strings.Join(strings.Fields(textOf(row)), " "))
			}
			return out
		}
		check := func(name, path string, want ...string) {
			t.Helper()
			got := contacts(name, path)
			for i := range got {
				item, _, _ := strings.Cut(got[i], " none")
				item, _, _ = strings.Cut(item, " item group")
				item, _, _ = strings.Cut(item, " no observation")
				last := "none"
				if strings.HasSuffix(got[i], " subscriptions only") {
					last = "subscriptions"
				}
				got[i] = item + ": " + last
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s as %s (-want +got):\n%s", path, name, diff)
			}
		}
		all := []string{"item 2: subscriptions", "item 3: subscriptions", "item 4: subscriptions", "item 5: none", "item 6: none"}
		check("boss", "/products?q=item", all...)
		check("reader", "/products?q=item", all...)
		check("owner", "/products?q=item", "item 4: none") // whose subscription that of the reader is not
		check("boss", "/products?contacts=none", all[3:]...)
		check("boss", "/product-groups?q=item", "item group: subscriptions")
		e.visitor("boss").open("/").says("2 products have no target for notifications: set one")
		e.visitor("boss").open("/product-groups/2").says("subscriptions only")
		subscribe(`"name":"everything"`) // which administrators see
		check("boss", "/products?q=item", append(all[:3:3], "item 5: subscriptions", "item 6: subscriptions")...)
		check("reader", "/products?q=item", all...)
		e.visitor("boss").open("/").saysNot("no target")
	})
}

func TestGroupPage(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, nil)+`]}`)
		v := e.visitor("boss")
		p := v.follow(v.follow(v.open("/products"), "Groups"), "Payments")
		p.says("High or worse set here", "Payments API", slackShown)
		v.send(p, "Save", url.Values{"observation_notification_min_severity": {"Low"}}).says("1 open observation matches.", "Low or worse set here")
		if got := e.want(200, "GET", "/api/v1/product-groups/1", nil).json["notification_slack_webhook"]; got != slackShown {
			t.Errorf("the webhook is %v", got)
		}
	})
}

// Of two who have the same form before them none undoes what the other did, also not after a fault.
func TestTwoFillInTheSameForm(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		e.want(200, "PUT", "/api/v1/products/1", map[string]any{
			"observation_notification_statuses": []string{"Open", "Resolved"}, "notification_email_to": "a@example.com", "notification_paused_until": "2099-01-31T08:00:07Z",
		})
		one, two := e.visitor("owner"), e.visitor("maintainer")
		first, second := one.open("/products/1"), two.open("/products/1")
		one.send(first, "Save", url.Values{
			"observation_notification_statuses": {"", "Open"}, "notification_email_to": {"b@example.com"}, "observation_notification_min_severity": {"Low"}, "notification_slack_webhook": {slackURL},
		}).says("Saved.")
		second = two.send(second, "Save", url.Values{"observation_notification_min_priority": {"100"}, "notification_email_to": {"a@example.com"}})
		second.says("Nothing was saved")
		if second.value("notification_email_to") != "a@example.com" {
			t.Errorf("what was typed is lost: %s", second.value("notification_email_to"))
		}
		two.send(second, "Save", url.Values{"observation_notification_min_priority": {"7"}}).says("Saved.")
		got := e.want(200, "GET", "/api/v1/products/1", nil).json
		want := map[string]any{
			"observation_notification_statuses": []any{"Open"}, "notification_email_to": "b@example.com", "observation_notification_min_severity": "Low",
			"notification_slack_webhook": slackShown, "observation_notification_min_priority": 7.0, "notification_paused_until": "2099-01-31T08:00:07Z",
		}
		for name, v := range want {
			if fmt.Sprint(got[name]) != fmt.Sprint(v) {
				t.Errorf("%s is %v instead of %v", name, got[name], v)
			}
		}

		// Nobody gets a right back because somebody else corrects a name.
		admin := e.visitor("boss")
		e.user("former", true)
		form := admin.open("/users/former")
		e.user("former", false)
		admin.send(form, "Save", url.Values{"full_name": {"Alex"}}).says("Saved.")
		if got := e.want(200, "GET", "/api/v1/users/former", nil).json; got["is_admin"] != false || got["full_name"] != "Alex" {
			t.Errorf("stored: %v", got)
		}
	})
}
