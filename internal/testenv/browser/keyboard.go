package browser

import (
	"fmt"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// mostTabs is how often Tab is pressed on the way to an element.
const mostTabs = 150

// TabTo presses Tab until the element that a selector names has the focus. The test fails where one does not see on
// the way what has it.
func (b *Tab) TabTo(selector string) {
	b.t.Helper()
	b.tabTo(selector)
}

// TabBackTo is TabTo with Shift and Tab.
func (b *Tab) TabBackTo(selector string) {
	b.t.Helper()
	b.tabTo(selector, chromedp.KeyModifiers(chromedp.ModifierShift))
}

func (b *Tab) tabTo(selector string, options ...chromedp.KeyOption) {
	b.t.Helper()
	for range mostTabs {
		b.Do(chromedp.KeyEvent(kb.Tab, options...))
		if fault := Value[string](b, unseenFocus); fault != "" {
			b.t.Errorf("one does not see the focus: %s", fault)
		}
		if Value[bool](b, fmt.Sprintf("Boolean(document.activeElement?.matches(%q))", selector)) {
			return
		}
	}
	b.t.Fatalf("Tab does not lead to %s\n%s", selector, b.state())
}

// unseenFocus says what is wrong with the focus: it has no outline, is outside of the window or lies behind
// something. Empty where all is well, and where the window itself has it.
const unseenFocus = `(() => {
	const e = document.activeElement;
	if (!e || e === document.body || e === document.documentElement) return "";
	const shows = (x) => x && getComputedStyle(x).outlineStyle !== "none" &&
		parseFloat(getComputedStyle(x).outlineWidth) >= 2;
	const r = e.getBoundingClientRect();
	const name = e.outerHTML.slice(0, 200);
	if (!shows(e) && !shows(e.closest(".current"))) return "no outline: " + name;
	if (r.width < 4 || r.height < 4 || r.bottom <= 0 || r.top >= innerHeight || r.right <= 0 || r.left >= innerWidth) {
		return "outside of the window: " + name;
	}
	const x = Math.min(Math.max((r.left + r.right) / 2, 0), innerWidth - 1);
	const y = Math.min(Math.max((r.top + r.bottom) / 2, 0), innerHeight - 1);
	const top = document.elementFromPoint(x, y);
	if (e.contains(top) || top?.contains(e) || e.labels && [...e.labels].some((l) => l.contains(top))) return "";
	return "behind " + top?.outerHTML.slice(0, 100) + ": " + name;
})()`
