package web_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/browser"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web"
)

// TestPagesInBrowser looks at the pages of products, observations, deliveries, settings and users, and works with them.
func TestPagesInBrowser(t *testing.T) {
	t.Parallel()
	e := newBrowserEnv(t)
	e.withPassword("alex", true)
	e.failing()
	far := newWebhooks(t)
	e.want(200, "PUT", "/api/v1/products/1", map[string]any{"notification_slack_webhook": far.URL + "/verysecret/test"})
	e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, map[string]any{"severity": "Medium", "title": hostile[0]})+`,`+observation(2, 1, map[string]any{"priority": 3})+`]}`)
	e.exec("UPDATE outbox SET failed_at = ?, reason = 'the database said no', attempts = 5", time.Now())
	e.exec("INSERT INTO periodic_tasks (task, slot, status, message, duration_ms, started_at) VALUES ('cleanup', ?, 'succeeded', '12 notifications deleted', 1500, ?)", time.Now(), time.Now())
	e.want(201, "POST", "/api/v1/subscriptions", `{"product_id":1,"name":"Tickets","contacts":[{"channel":"webhook","address":"https://receiver.example/verysecret"},{"channel":"email","address":"team@example.com"}]}`)
	b := browser.New(t, e.server.URL)
	b.Open("/products")
	b.Until(`location.pathname == "/login" && document.querySelector("[name=username]")`)
	b.Do(chromedp.SendKeys("[name=username]", "alex"), chromedp.SendKeys("[name=password]", goodPassword+kb.Enter))
	b.Until(`location.pathname == "/products" && document.querySelector("tbody tr")`)

	for name, path := range map[string]string{
		"products": "/products", "product-groups": "/product-groups", "product": "/products/1", "product-group": "/product-groups/1", "observations": "/observations",
		"explain": "/observations/1/explain", "error": "/notifications/999", "nobody": "/?viewed=all", "deliveries": "/deliveries", "settings": "/settings", "users": "/users", "user": "/users/owner", "my-notifications": "/subscriptions", "subscription": "/subscriptions/1", "team-subscription": "/subscriptions?team=yes&where=product-1", "password": "/password", "empty": "/observations?q=nothing", "reference": "/api/", "reference-call": "/api/calls/postObservations", "reference-type": "/api/types/ObservationBody",
	} {
		b.Open(path)
		b.Until(`document.querySelector("main h1")`)
		b.Looks(name)
	}

	// Who may only read sees the same without forms.
	e.withPassword("guest", false)
	e.member(dbmodel.InProduct(1), "guest", rule.Reader)
	b.Open("/products/1")
	b.Do(chromedp.Click(".user summary"), chromedp.Click(".user button"))
	b.Until(`document.querySelector("[name=username]")`)
	b.Do(chromedp.SendKeys("[name=username]", "guest"), chromedp.SendKeys("[name=password]", "wrong"+kb.Enter))
	b.Until(`document.querySelector("[role=alert]")`)
	b.Looks("wrong")
	b.Do(chromedp.SendKeys("[name=password]", goodPassword+kb.Enter))
	b.Until(`location.pathname == "/"`)
	for name, path := range map[string]string{"read-only": "/products/1", "name-only": "/product-groups/1", "forbidden": "/settings"} {
		b.Open(path)
		b.Looks(name)
	}
	b.Open("/")
	b.Do(chromedp.Click(".user summary"))
	b.Looks("menu")
	b.Do(chromedp.Click(".user button"))
	b.Until(`document.querySelector("[name=username]")`)
	b.Do(chromedp.SendKeys("[name=username]", "alex"), chromedp.SendKeys("[name=password]", goodPassword+kb.Enter))
	b.Until(`location.pathname == "/"`)

	// The field that is asked for is the one that is seen; the form is filled in and sent with the keyboard.
	b.Open("/products/1#notification_email_to")
	b.Until(`document.querySelector("#notification_email_to:target")`)
	b.Do(chromedp.Clear("#f-notification_email_to"), chromedp.SendKeys("#f-notification_email_to", "nowhere"+kb.Enter))
	b.Until(`document.querySelector("#notification_email_to .fault") && document.querySelector("#f-notification_email_to").value == "nowhere"`)
	b.Looks("refused")
	b.Do(chromedp.Clear("#f-notification_email_to"), chromedp.SendKeys("#f-notification_email_to", "alex@example.com"+kb.Enter))
	b.Until(`document.querySelector(".notice[role=status]")?.innerText.includes("Saved. Applies when an observation next changes. 1 open observation matches.")`)

	// What is inherited opens to be overridden.
	b.Do(chromedp.Click("#observation_notification_min_severity summary"))
	b.Until(`document.querySelector("#f-observation_notification_min_severity").checkVisibility()`)
	b.Do(chromedp.SetValue("#f-observation_notification_min_severity", "Medium"), chromedp.Click("form.settings .primary"))
	b.Until(`document.querySelector(".notice[role=status]")?.innerText.includes("2 open observations match.")`)

	b.Do(chromedp.Click(`button[value="slack"]`))
	b.Until(`document.querySelector(".results")?.innerText.includes("The message was sent.")`)
	if n := far.count("/verysecret/test"); n != 1 {
		t.Errorf("%d tests came", n)
	}
	b.Open("/deliveries")
	b.Until(`document.querySelector("form[action^='/targets/'] button")`)
	failing := func(n int) string {
		return fmt.Sprintf(`document.querySelectorAll("form[action^='/targets/']").length == %d`, n)
	}
	b.Until(failing(2))
	b.Do(chromedp.Click("form[action^='/targets/'] button"))
	b.Until(`document.querySelector(".notice[role=status]")?.innerText.includes("tried at once") && ` + failing(1))
	b.Until(`document.querySelector(".top .failing").innerText.includes("1 failing")`)
	b.Open("/observations/1/explain")
	b.Do(chromedp.Click("form[action$='/evaluate'] button"))
	b.Until(`document.querySelector(".notice[role=status]")?.innerText.includes("It is being evaluated again.")`)

	// A new password and a new token are shown once.
	b.Open("/users/guest")
	b.Do(chromedp.Click("form[action*='/tokens#'] button"))
	b.Until(`document.querySelector(".secret")`)
	b.Looks("token")

	// Times are shown and typed by the clock of the browser.
	b.Timezone("Asia/Tokyo")
	b.Open("/products/1")
	b.Until(`document.querySelector("#f-notification_paused_timezone").value == "Asia/Tokyo"`)
	b.Do(chromedp.SetValue("#f-notification_paused_until", "2099-07-31T08:00"), chromedp.Click("form.settings .primary"))
	b.Until(`document.querySelector("#notification_paused_until .applies").innerText.includes("Paused until 2099-07-31 08:00 Asia/Tokyo")`)
	b.Open("/subscriptions")
	b.Until(`document.querySelector("[name=timezone]").value == "Asia/Tokyo"`)
	b.Open("/notifications/1")
	b.Until(`document.querySelector("time").title.endsWith(" Asia/Tokyo")`)

	// The monitor is another application, under a policy of its own.
	b.Do(chromedp.Click(`.top a[href="/monitor/"]`))
	b.Until(`document.body.innerText.includes("Queue Size")`)
	b.Open("/monitor/redis")
	b.Until(`document.body.innerText.includes("Redis Info")`)
}

// TestFirstStartInBrowser follows the link that a first start prints.
func TestFirstStartInBrowser(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef0123456789abcdef"
	e := newEnv(t, testenv.SQLiteDB(t), func(c *web.Config) { c.BaseURL, c.SetupToken = "", token })
	b := browser.New(t, e.server.URL)
	b.Open(web.SetupURL("", token))
	b.Looks("setup")
	fill := func(repeated string) {
		t.Helper()
		b.Do(chromedp.SendKeys("[name=password]", goodPassword), chromedp.SendKeys("[name=repeated]", repeated+kb.Enter))
	}
	b.Do(chromedp.SendKeys("[name=username]", "alex"))
	fill("another password")
	b.Until(`document.querySelector("[role=alert]")?.innerText.includes("differ") && document.querySelector("[name=username]").value == "alex"`)
	b.Looks("setup-refused")
	fill(goodPassword)
	b.Until(`location.pathname == "/" && document.querySelector(".empty")?.innerText.includes("There are no products yet")`)
	b.Looks("first")
	b.Open(web.SetupURL("", token))
	b.Until(`document.querySelector("h1").innerText == "There is nothing here"`)
}
