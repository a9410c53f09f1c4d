package web_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/browser"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web"
)

// newBrowserEnv serves under the address that the browser asks.
func newBrowserEnv(t *testing.T) *env {
	t.Helper()
	return newEnv(t, testenv.SQLiteDB(t), func(c *web.Config) { c.BaseURL = "" })
}

func TestInBrowser(t *testing.T) {
	t.Parallel()
	e := newBrowserEnv(t)
	e.withPassword("alex", true)
	e.product(1)
	targets := e.targets(rule.Slack, slackURL)
	for i, severity := range []rule.Severity{rule.Medium, rule.High, rule.Low, rule.Critical} {
		event := rule.EventNew
		if i == 1 {
			event = rule.EventChanged
		}
		e.observed(1, fmt.Sprintf("CVE-2026-%d in openssl", i), event, severity, targets...)
	}
	e.observed(1, hostile[0]+strings.Repeat("long", 40), rule.EventNew, rule.High)
	e.notify(dbmodel.NewNotification{Notification: dbmodel.Notification{
		Type: rule.TypeTask, Name: "ValueError", Function: "import", Message: "no such file", Trace: "Traceback\n  line 7", Suppressed: 24,
	}})
	e.notify(dbmodel.NewNotification{Notification: dbmodel.Notification{
		Type: rule.TypeSecurityGate, Event: rule.EventFailed, Name: "gate", ProductID: new(int64(1)), Facts: dbmodel.Facts{ProductName: "product 1"},
	}})

	b := browser.New(t, e.server.URL)
	b.Open("/?viewed=false")
	b.Until(`location.pathname == "/login" && document.querySelector("[name=username]")`)
	b.Looks("login")
	b.Do(chromedp.SendKeys("[name=username]", "alex"), chromedp.SendKeys("[name=password]", goodPassword+kb.Enter))
	b.Until(`location.pathname == "/" && location.search == "?viewed=false"`)
	b.Until(`document.title == "(7) Inbox · Tocsin"`)
	b.Looks("inbox")

	// A filter applies when it is chosen.
	b.Do(chromedp.SetValue("[name=type]", "task"))
	b.Until(`document.querySelector("[name=type]").dispatchEvent(new Event("change", {bubbles: true}))`)
	b.Until(`location.search.includes("type=task") && document.querySelectorAll(".list > li").length == 1`)
	b.Open("/")

	// Another tab follows what is marked here, by keys alone.
	other := b.Another()
	other.Open("/products")
	other.Until(`document.title.startsWith("(7)")`)
	b.Keys("jjk")
	b.Until(`document.querySelectorAll(".list > li")[0].classList.contains("current")`)
	b.Keys("e")
	b.Until(`document.querySelector(".list > li.viewed") && document.querySelectorAll(".list > li")[1].classList.contains("current")`)
	other.Until(`document.title.startsWith("(6)") && document.querySelector("#unread").innerText.startsWith("6")`)
	e.observed(1, "arrives meanwhile", rule.EventNew, rule.High)
	b.Until(`!document.getElementById("fresh").hidden && document.title.startsWith("(7)")`)
	other.Until(`document.title.startsWith("(7)")`)

	b.Keys("?")
	b.Until(`document.querySelector("dialog[open]")`)
	b.Accessible()
	b.Picture("keys")
	b.Keys(kb.Escape)
	b.Until(`!document.querySelector("dialog[open]")`)
	b.Keys("/")
	b.Until(`document.activeElement.id == "search"`)
	b.Until(`(document.activeElement.value = "") == ""`) // the protocol types a key that a script has taken, too
	b.Keys("openssl" + kb.Enter)
	b.Until(`location.search == "?viewed=all&viewed=false&q=openssl" || location.search.includes("q=openssl")`)
	b.Until(`document.querySelectorAll(".list > li").length == 4`)

	// Open, mark, and delete with the keys; deleting asks.
	b.Keys("j" + kb.Enter)
	b.Until(`location.pathname.startsWith("/notifications/") && document.getElementById("one")`)
	b.Looks("notification")
	b.Keys("e")
	b.Until(`document.querySelector(".notice")?.innerText.includes("1 notification is marked as viewed")`)
	b.Open("/?q=openssl")
	b.Until(`document.querySelectorAll(".list > li").length == 3`)
	b.Keys("jxjx#")
	b.Until(`location.pathname == "/notifications/delete" && document.querySelectorAll(".deleted li").length == 2`)
	b.Looks("delete")
	b.Do(chromedp.Click(".danger"))
	b.Until(`document.querySelector(".notice")?.innerText.includes("2 notifications are deleted") && document.querySelectorAll(".list > li").length == 1`)

	// What is selected with the mouse is marked by the button above the list.
	b.Open("/")
	b.Do(chromedp.Click(".list > li:first-child .pick"), chromedp.Click("[data-act=view]"))
	b.Until(`document.querySelector(".list > li:first-child.viewed")`)

	// More than anybody reads one by one.
	e.notify(slices.Repeat([]dbmodel.NewNotification{named("many")}, 1100)...)
	other.Until(`document.title.startsWith("(999+) ") && document.querySelector("#unread").innerText.startsWith("999+")`)

	b.Do(chromedp.Click(".user summary"))
	b.Accessible()
	b.Do(chromedp.Click(".user button"))
	b.Until(`location.pathname == "/login"`)
	other.Do(chromedp.Reload())
	other.Until(`location.pathname == "/login"`)
}
