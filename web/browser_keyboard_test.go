package web_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv/browser"
	"github.com/seed91453169/tocsin/rule"
)

// TestKeyboardOnly does a whole triage without a mouse: log in, read, mark, search, delete, change the contacts, log out.
func TestKeyboardOnly(t *testing.T) {
	t.Parallel()
	e := newBrowserEnv(t)
	e.withPassword("alex", true)
	e.product(1)
	for i, severity := range []rule.Severity{rule.Low, rule.Medium, rule.High, rule.Critical} {
		e.observed(1, fmt.Sprintf("CVE-2026-%d in openssl", i), rule.EventNew, severity)
	}
	b := browser.New(t, e.server.URL)
	const lines = `document.querySelectorAll(".list > li").length == %d`
	current := func(title string) {
		t.Helper()
		b.Until(fmt.Sprintf(`document.activeElement.closest(".current")?.querySelector("b").innerText == %q`, title))
	}

	b.Open("/")
	b.Until(`document.activeElement.name == "username"`)
	b.Keys("alex" + kb.Tab + goodPassword)
	b.TabTo("button.primary")
	b.Keys(kb.Enter)
	b.Until(`location.pathname == "/" && ` + fmt.Sprintf(lines, 4))

	// What comes first jumps over the header.
	b.TabTo(".skip")
	b.Keys(kb.Enter)
	b.Until(`document.activeElement.id == "main"`)
	b.TabTo("[name=type]")
	b.TabTo("#pick-all")

	// Select two with keys, mark them, and read the next.
	b.Keys("jxjx")
	b.Until(`document.getElementById("chosen").innerText == "2 selected" && document.getElementById("pick-all").indeterminate`)
	b.Keys("e")
	b.Until(`document.querySelectorAll("li.viewed").length == 2`)
	current("CVE-2026-2 in openssl")
	b.Keys("j" + kb.Enter)
	b.Until(`location.pathname.startsWith("/notifications/") && document.getElementById("one")`)
	b.Keys("e")
	b.Until(`document.querySelector(".notice")?.innerText.includes("1 notification is marked as viewed")`)
	b.TabTo(".crumbs a")
	b.Keys(kb.Enter)
	b.Until(`location.pathname == "/" && ` + fmt.Sprintf(lines, 1))

	b.Keys("?")
	b.Until(`document.querySelector("dialog[open]") && document.activeElement.innerText == "Close"`)
	b.Keys("j" + kb.Enter) // keys rest while they are explained
	b.Until(`!document.querySelector("dialog[open]") && !document.querySelector(".current")`)

	b.TabTo("[type=checkbox][name=viewed]")
	b.Keys(" ")
	b.Until(`location.search.includes("viewed=all") && ` + fmt.Sprintf(lines, 4))
	b.Keys("/")
	b.Until(`document.activeElement.id == "search"`)
	b.Until(`(document.activeElement.value = "") == ""`) // the protocol types a key that a script has taken, too
	b.Keys("CVE-2026-3" + kb.Enter)
	b.Until(`location.search.includes("q=CVE-2026-3") && ` + fmt.Sprintf(lines, 1))

	// Deleting asks, and Enter alone keeps.
	b.Keys("j")
	current("CVE-2026-3 in openssl")
	b.Keys("#")
	b.Until(`location.pathname == "/notifications/delete" && document.activeElement.innerText == "Keep"`)
	b.Keys(kb.Enter)
	b.Until(`location.pathname == "/" && ` + fmt.Sprintf(lines, 1))
	b.Keys("j#")
	b.Until(`location.pathname == "/notifications/delete" && document.activeElement.innerText == "Keep"`)
	b.TabBackTo(".danger")
	b.Keys(kb.Enter)
	b.Until(`document.querySelector(".notice")?.innerText.includes("1 notification is deleted")`)
	left, err := dbmodel.Notifications(t.Context(), e.db, dbmodel.Viewer{Admin: true}, dbmodel.NotificationFilter{}, 10)
	if err != nil || len(left) != 3 {
		t.Errorf("%d notifications are left (%v), want 3", len(left), err)
	}

	b.TabTo(".top nav a[href='/products']")
	b.Keys(kb.Enter)
	b.Until(`document.querySelector("tbody tr")`)
	b.TabTo("tbody a")
	b.Keys(kb.Enter)
	b.Until(`location.pathname == "/products/1"`)
	b.TabTo("#f-observation_notification_min_severity")
	b.Keys("High")
	b.TabTo("[value='Resolved']")
	b.Keys(" ")
	b.TabTo("#f-notification_email_to")
	b.Keys("payments@example.com")
	b.TabTo("form.settings .primary")
	b.Keys(kb.Enter)
	b.Until(`document.querySelector(".notice")?.innerText.includes("Saved.")`)
	p, err := dbmodel.ProductByID(t.Context(), e.db, 1)
	holder := rule.Holder{Kind: rule.HolderProduct, ID: 1}
	contacts, failed := dbmodel.ContactsOf(t.Context(), e.db, holder)
	to := contacts[holder][rule.Email]
	if err != nil || failed != nil || p.MinSeverity != rule.High || len(p.Statuses) != 1 || len(to) != 1 || to[0].Address != "payments@example.com" {
		t.Errorf("saved is %+v, %+v (%v %v)", p, to, err, failed)
	}

	b.TabTo(".user summary")
	b.Keys(kb.Enter)
	b.Until(`document.querySelector(".user").open`)
	b.TabTo(".user button")
	b.Keys(kb.Enter)
	b.Until(`location.pathname == "/login" && document.activeElement.name == "username"`)
}
