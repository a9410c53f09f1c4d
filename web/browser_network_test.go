package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv/browser"
	"github.com/seed91453169/tocsin/rule"
)

// Over plain HTTP a browser says less of where a form comes from than on its own machine, or over TLS: one can log in and
// send forms all the same.
func TestFormsOverPlainHTTP(t *testing.T) {
	t.Parallel()
	e := newBrowserEnv(t)
	e.withPassword("alex", true)
	e.server.URL = strings.Replace(e.server.URL, "127.0.0.1", "tocsin.test", 1)
	b := browser.New(t, e.server.URL)
	b.Open("/login?next=/settings")
	b.Do(chromedp.SendKeys("[name=username]", "alex"), chromedp.SendKeys("[name=password]", goodPassword+kb.Enter))
	b.Until(`location.pathname == "/settings"`)
	b.Do(chromedp.Click("form.settings .primary"))
	b.Until(`document.querySelector(".notice[role=status]")?.innerText.includes("Saved.")`)
	b.Do(chromedp.Click(".user summary"), chromedp.Click(".user button"))
	b.Until(`location.pathname == "/login"`)
}

// Tabs that nobody looks at hold no connection: of these a browser has six for all of them.
func TestManyTabs(t *testing.T) {
	t.Parallel()
	e := newBrowserEnv(t)
	e.withPassword("alex", true)
	b := browser.New(t, e.server.URL)
	b.Open("/login")
	b.Do(chromedp.SendKeys("[name=username]", "alex"), chromedp.SendKeys("[name=password]", goodPassword+kb.Enter))
	b.Until(`location.pathname == "/"`)
	looks := func(at *browser.Tab, hidden bool) { // in a browser without a screen all tabs are seen
		at.Until(fmt.Sprintf(`Object.defineProperty(document, "hidden", {value: %t, configurable: true}) && document.dispatchEvent(new Event("visibilitychange"))`, hidden))
	}
	for i := range 8 {
		looks(b, true)
		b = b.Another()
		b.Open(fmt.Sprintf("/products?q=%d", i))
		b.Until(`document.title == "Products · Tocsin"`)
	}
	looks(b, true)
	e.notify(dbmodel.NewNotification{Notification: dbmodel.Notification{Type: rule.TypeTask, Name: "ValueError"}})
	looks(b, false)
	b.Until(`document.title == "(1) Products · Tocsin"`)
}
