package web_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
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
	b := e.browse()
	b.open("/products")
	b.until(`location.pathname == "/login" && document.querySelector("[name=username]")`)
	b.do(chromedp.SendKeys("[name=username]", "alex"), chromedp.SendKeys("[name=password]", goodPassword+kb.Enter))
	b.until(`location.pathname == "/products" && document.querySelector("tbody tr")`)

	for name, path := range map[string]string{
		"products": "/products", "product-groups": "/product-groups", "product": "/products/1", "product-group": "/product-groups/1", "observations": "/observations",
		"explain": "/observations/1/explain", "deliveries": "/deliveries", "settings": "/settings", "users": "/users", "user": "/users/owner", "empty": "/observations?q=nothing",
	} {
		b.open(path)
		b.until(`document.querySelector("main h1")`)
		b.looks(name)
	}

	// The field that is asked for is the one that is seen; the form is filled in and sent with the keyboard.
	b.open("/products/1#notification_email_to")
	b.until(`document.querySelector("#notification_email_to:target")`)
	b.do(chromedp.Clear("#f-notification_email_to"), chromedp.SendKeys("#f-notification_email_to", "nowhere"+kb.Enter))
	b.until(`document.querySelector("#notification_email_to .fault") && document.querySelector("#f-notification_email_to").value == "nowhere"`)
	b.looks("refused")
	b.do(chromedp.Clear("#f-notification_email_to"), chromedp.SendKeys("#f-notification_email_to", "alex@example.com"+kb.Enter))
	b.until(`document.querySelector(".notice[role=status]")?.innerText.includes("Saved. Applies when an observation next changes. 1 open observation matches.")`)

	// What is inherited opens to be overridden.
	b.do(chromedp.Click("#observation_notification_min_severity summary"))
	b.until(`document.querySelector("#f-observation_notification_min_severity").checkVisibility()`)
	b.do(chromedp.SetValue("#f-observation_notification_min_severity", "Medium"), chromedp.Click("form.settings .primary"))
	b.until(`document.querySelector(".notice[role=status]")?.innerText.includes("2 open observations match.")`)

	b.do(chromedp.Click(`button[value="slack"]`))
	b.until(`document.querySelector(".results")?.innerText.includes("The message was sent.")`)
	if n := far.count("/verysecret/test"); n != 1 {
		t.Errorf("%d tests came", n)
	}
	b.open("/deliveries")
	b.until(`document.querySelector("form[action^='/targets/'] button")`)
	failing := func(n int) string {
		return fmt.Sprintf(`document.querySelectorAll("form[action^='/targets/']").length == %d`, n)
	}
	b.until(failing(2))
	b.do(chromedp.Click("form[action^='/targets/'] button"))
	b.until(`document.querySelector(".notice[role=status]")?.innerText.includes("tried at once") && ` + failing(1))
	b.until(`document.querySelector(".top .failing").innerText.includes("1 failing")`)
	b.open("/observations/1/explain")
	b.do(chromedp.Click("form[action$='/evaluate'] button"))
	b.until(`document.querySelector(".notice[role=status]")?.innerText.includes("It is being evaluated again.")`)
}
