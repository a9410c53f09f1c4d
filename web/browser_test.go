package web_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web"
)

// axe finds faults of accessibility: https://github.com/dequelabs/axe-core.
//
//go:embed testdata/axe.min.js
var axe string

// browserTime is for one step in a browser on a machine with much else to do.
const browserTime = 60 * time.Second

// tab is a tab of a Chromium.
type tab struct {
	t   testing.TB
	e   *env
	ctx context.Context

	complaints *complaints
}

// browse starts a Chromium. The test fails at its end where a page complained of anything.
func (e *env) browse() *tab {
	e.t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(e.t.TempDir()), chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP tocsin.test 127.0.0.1"),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(e.t.Context()), options...)
	e.t.Cleanup(cancel)
	ctx, cancelTab := chromedp.NewContext(ctx)
	e.t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancelTab() })
	b := &tab{t: e.t, e: e, ctx: ctx, complaints: new(complaints)}
	b.listen()
	e.t.Cleanup(func() {
		for _, c := range b.complaints.all() {
			e.t.Errorf("a page complains: %s", c)
		}
	})
	return b
}

// another opens a second tab of the same browser.
func (b *tab) another() *tab {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.t.Cleanup(cancel)
	c := &tab{t: b.t, e: b.e, ctx: ctx, complaints: b.complaints}
	c.listen()
	return c
}

// complaints are what console, policy and scripts complained of, in any tab.
type complaints struct {
	mu   sync.Mutex
	list []string
}

func (c *complaints) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

func (c *complaints) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

func (b *tab) listen() {
	b.t.Helper()
	if err := chromedp.Do(b.ctx); err != nil { // starts the browser, or the tab, for as long as the context
		b.t.Fatalf("start chromium: %v", err)
	}
	go func() {
		for event, err := range chromedp.Events(b.ctx, cdplog.EntryAdded) {
			if err != nil {
				return
			}
			if strings.Contains(event.Entry.Text, "a status of 422") { // a form that is refused on purpose
				continue
			}
			b.complaints.add("%s: %s %s", event.Entry.Level, event.Entry.Text, event.Entry.URL)
		}
	}()
	go func() {
		for event, err := range chromedp.Events(b.ctx, runtime.ExceptionThrown) {
			if err != nil {
				return
			}
			b.complaints.add("exception: %+v", event.ExceptionDetails)
		}
	}()
	b.do(command(cdplog.Enable, cdp.Empty{}))
}

// command is a command of the protocol that answers nothing of interest.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, c, params)
		return chromedp.Void{}, err
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserTime)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v\n%s", err, b.state())
	}
}

func evaluate[T any](b *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, browserTime)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// state is what the page shows, for whoever reads why a test failed.
func (b *tab) state() string {
	text, err := evaluate[string](b, "[location.href, document.title, document.body.innerText].join(String.fromCharCode(10))")
	if err != nil {
		return err.Error()
	}
	return text
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.e.server.URL + path))
}

// keys presses keys, one after the other.
func (b *tab) keys(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// until waits until an expression is true in the page, and its script has run.
func (b *tab) until(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(browserTime)
	testenv.Eventually(b.t, browserTime, func() error {
		is, err := evaluate[bool](b, `document.readyState == "complete" && Boolean(`+expression+")")
		switch {
		case err != nil: // a page that goes away in this moment
			return err
		case !is && time.Until(deadline) < 5*time.Second:
			return errors.New(b.state())
		case !is:
			return errors.New("not yet")
		}
		return nil
	}, expression)
}

// accessible fails the test where axe finds a fault in the page.
func (b *tab) accessible() {
	b.t.Helper()
	type fault struct{ Impact, ID, Help, HTML, Summary string }
	if _, err := evaluate[bool](b, axe+"; true"); err != nil {
		b.t.Fatal(err)
	}
	text, err := evaluate[string](b, `axe.run().then(r => JSON.stringify(r.violations.flatMap(v => v.nodes.map(n =>
		({Impact: v.impact, ID: v.id, Help: v.help, HTML: n.html, Summary: n.failureSummary})))))`)
	var faults []fault
	if err = errors.Join(err, json.Unmarshal([]byte(text), &faults)); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range faults {
		b.t.Errorf("%s: %s: %s: %s\n%s", f.Impact, f.ID, f.Help, f.HTML, f.Summary)
	}
}

// shot writes a picture where somebody wants to look at the pages: TOCSIN_SCREENSHOTS names the folder.
func (b *tab) shot(name string) {
	b.t.Helper()
	folder := screenshots()
	if folder == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err := errors.Join(err, os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, name+".png"), png, 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

// looks checks a page light and dark and on a phone, where nothing may be wider than the screen.
func (b *tab) looks(name string) {
	b.t.Helper()
	for _, value := range []string{"dark", "light"} {
		b.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}}}))
		b.accessible()
		b.shot(name + "-" + value)
	}
	b.do(chromedp.EmulateViewport(390, 844))
	b.accessible()
	b.shot(name + "-phone")
	if over, err := evaluate[int](b, "document.documentElement.scrollWidth - innerWidth"); err != nil || over > 0 {
		b.t.Errorf("%s is %d pixels wider than a phone (%v)", name, over, err)
	}
	b.do(chromedp.EmulateViewport(1280, 900))
}

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

	b := e.browse()
	b.open("/?viewed=false")
	b.until(`location.pathname == "/login" && document.querySelector("[name=username]")`)
	b.looks("login")
	b.do(chromedp.SendKeys("[name=username]", "alex"), chromedp.SendKeys("[name=password]", goodPassword+kb.Enter))
	b.until(`location.pathname == "/" && location.search == "?viewed=false"`)
	b.until(`document.title == "(7) Inbox · Tocsin"`)
	b.looks("inbox")

	// A filter applies when it is chosen.
	b.do(chromedp.SetValue("[name=type]", "task"))
	b.until(`document.querySelector("[name=type]").dispatchEvent(new Event("change", {bubbles: true}))`)
	b.until(`location.search.includes("type=task") && document.querySelectorAll(".list > li").length == 1`)
	b.open("/")

	// Another tab follows what is marked here, by keys alone.
	other := b.another()
	other.open("/products")
	other.until(`document.title.startsWith("(7)")`)
	b.keys("jjk")
	b.until(`document.querySelectorAll(".list > li")[0].classList.contains("current")`)
	b.keys("e")
	b.until(`document.querySelector(".list > li.viewed") && document.querySelectorAll(".list > li")[1].classList.contains("current")`)
	other.until(`document.title.startsWith("(6)") && document.querySelector("#unread").innerText.startsWith("6")`)
	e.observed(1, "arrives meanwhile", rule.EventNew, rule.High)
	b.until(`!document.getElementById("fresh").hidden && document.title.startsWith("(7)")`)
	other.until(`document.title.startsWith("(7)")`)

	b.keys("?")
	b.until(`document.querySelector("dialog[open]")`)
	b.accessible()
	b.shot("keys")
	b.keys(kb.Escape)
	b.until(`!document.querySelector("dialog[open]")`)
	b.keys("/")
	b.until(`document.activeElement.id == "search"`)
	b.until(`(document.activeElement.value = "") == ""`) // the protocol types a key that a script has taken, too
	b.keys("openssl" + kb.Enter)
	b.until(`location.search == "?viewed=all&viewed=false&q=openssl" || location.search.includes("q=openssl")`)
	b.until(`document.querySelectorAll(".list > li").length == 4`)

	// Open, mark, and delete with the keys; deleting asks.
	b.keys("j" + kb.Enter)
	b.until(`location.pathname.startsWith("/notifications/") && document.getElementById("one")`)
	b.looks("notification")
	b.keys("e")
	b.until(`document.querySelector(".notice")?.innerText.includes("1 notification is marked as viewed")`)
	b.open("/?q=openssl")
	b.until(`document.querySelectorAll(".list > li").length == 3`)
	b.keys("jxjx#")
	b.until(`location.pathname == "/notifications/delete" && document.querySelectorAll(".deleted li").length == 2`)
	b.looks("delete")
	b.do(chromedp.Click(".danger"))
	b.until(`document.querySelector(".notice")?.innerText.includes("2 notifications are deleted") && document.querySelectorAll(".list > li").length == 1`)

	// What is selected with the mouse is marked by the button above the list.
	b.open("/")
	b.do(chromedp.Click(".list > li:first-child .pick"), chromedp.Click("[data-act=view]"))
	b.until(`document.querySelector(".list > li:first-child.viewed")`)

	b.do(chromedp.Click(".user summary"))
	b.accessible()
	b.do(chromedp.Click(".user button"))
	b.until(`location.pathname == "/login"`)
	other.do(chromedp.Reload())
	other.until(`location.pathname == "/login"`)
}
