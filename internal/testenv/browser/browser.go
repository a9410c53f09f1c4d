// Package browser drives a Chromium for tests: it opens pages, presses keys, looks for faults of accessibility and
// takes pictures. A test fails at its end where a page complained of anything: an error of a script, or what its
// policy forbids.
package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// axe finds faults of accessibility: https://github.com/dequelabs/axe-core.
//
//go:embed axe.min.js
var axe string

// Time is for one step in a browser on a machine with much else to do.
const Time = 60 * time.Second

// Sizes of a window, in pixels.
const (
	width, height           = 1200, 800
	phoneWidth, phoneHeight = 375, 812
)

// Step is something to do in a tab.
type Step = chromedp.Action[chromedp.Void]

// Tab is a tab of a Chromium.
type Tab struct {
	t    testing.TB
	base string
	ctx  context.Context
}

// shared is the Chromium of the tests that run side by side in this process.
var shared struct {
	mu   sync.Mutex
	tabs int // of tests that have not ended
	ctx  context.Context
	stop func()
}

// chromium returns the context of the Chromium, which runs until the last test that asked for it has ended.
func chromium(t testing.TB) context.Context {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.tabs == 0 {
		start(t)
	}
	shared.tabs++
	t.Cleanup(func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.tabs--; shared.tabs == 0 {
			shared.stop()
		}
	})
	return shared.ctx
}

// start starts the Chromium. Its caller holds mu.
func start(t testing.TB) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(width, height),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP tocsin.test 127.0.0.1"), // an address of the network, as browsers see it
	)
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, cancelTab := chromedp.NewContext(ctx)
	shared.ctx, shared.stop = ctx, func() { _ = chromedp.Cancel(ctx); cancelTab(); cancel() }
	if err := chromedp.Do(ctx); err != nil {
		shared.stop()
		t.Fatalf("start chromium: %v", err)
	}
}

// New opens a tab for paths below base, for as long as the test. It shares cookies and connections with its other tabs
// alone.
func New(t testing.TB, base string) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(chromium(t), chromedp.WithNewBrowserContext())
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel() })
	b := &Tab{t, base, ctx}
	b.listen()
	return b
}

// Another opens a second tab of the same browser.
func (b *Tab) Another() *Tab {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.t.Cleanup(cancel)
	c := &Tab{b.t, b.base, ctx}
	c.listen()
	return c
}

// complaints are what a page complained of.
type complaints struct {
	mu   sync.Mutex
	list []string
}

func (c *complaints) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

func (c *complaints) fail(t testing.TB) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range c.list {
		t.Errorf("a page complains: %s", text)
	}
}

// refused are pages that say no on purpose; what a page itself needs, an asset or the API, must be there.
var (
	refused = regexp.MustCompile("a status of 4[0-9][0-9] ")
	asset   = regexp.MustCompile("/(static|api)/")
)

func (b *Tab) listen() {
	b.t.Helper()
	if err := chromedp.Do(b.ctx); err != nil { // opens the tab for as long as the context
		b.t.Fatalf("open a tab: %v", err)
	}
	c := new(complaints)
	b.t.Cleanup(func() { c.fail(b.t) })
	go func() {
		for event, err := range chromedp.Events(b.ctx, cdplog.EntryAdded) {
			if err != nil {
				return
			}
			if refused.MatchString(event.Entry.Text) && !asset.MatchString(event.Entry.URL) {
				continue
			}
			c.add("%s: %s %s", event.Entry.Level, event.Entry.Text, event.Entry.URL)
		}
	}()
	go func() {
		for event, err := range chromedp.Events(b.ctx, runtime.ExceptionThrown) {
			if err != nil {
				return
			}
			c.add("exception: %+v", event.ExceptionDetails)
		}
	}()
	b.Do(
		command(cdplog.Enable, cdp.Empty{}), chromedp.EmulateViewport(width, height),
		// Its window has the focus, whatever happens in others.
		command(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}),
	)
}

// command is a command of the protocol that answers nothing of interest.
func command[P, R any](c cdp.Command[P, R], params P) Step {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, c, params)
		return chromedp.Void{}, err
	}
}

// Timezone sets the browser's clock, by a name of the IANA database.
func (b *Tab) Timezone(name string) {
	b.t.Helper()
	b.Do(command(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: name}))
}

// Do takes steps; the test ends where one fails.
func (b *Tab) Do(steps ...Step) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, Time)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v\n%s", err, b.state())
	}
}

func evaluate[T any](b *Tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, Time)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Value is what an expression is in the page; T is what JSON makes of it.
func Value[T any](b *Tab, expression string) T {
	b.t.Helper()
	v, err := evaluate[T](b, expression)
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", expression, err, b.state())
	}
	return v
}

// state describes what the page shows, for the message of a failed test.
func (b *Tab) state() string {
	text, err := evaluate[string](b,
		"[location.href, document.title, document.body.innerText].join(String.fromCharCode(10))")
	if err != nil {
		return err.Error()
	}
	return text
}

// Open opens a path, or an address elsewhere.
func (b *Tab) Open(path string) {
	b.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.base + path
	}
	b.Do(chromedp.Navigate(path))
}

// Keys presses keys, one after the other.
func (b *Tab) Keys(keys string) {
	b.t.Helper()
	b.Do(chromedp.KeyEvent(keys))
}

// Until waits until an expression is true in the page, and its script has run.
func (b *Tab) Until(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(Time)
	testenv.Eventually(b.t, Time, func() error {
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

// Accessible fails the test where axe finds a fault in the page.
func (b *Tab) Accessible() {
	b.t.Helper()
	type fault struct{ Impact, ID, Help, HTML, Summary string }
	if !Value[bool](b, "Boolean(window.axe)") {
		Value[bool](b, axe+"; true")
	}
	text := Value[string](b, `axe.run({resultTypes: ["violations"]}).then(r =>
		JSON.stringify(r.violations.flatMap(v => v.nodes.map(n =>
		({Impact: v.impact, ID: v.id, Help: v.help, HTML: n.html, Summary: n.failureSummary})))))`)
	var faults []fault
	if err := json.Unmarshal([]byte(text), &faults); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range faults {
		b.t.Errorf("%s: %s: %s: %s\n%s", f.Impact, f.ID, f.Help, f.HTML, f.Summary)
	}
}

// Looks checks a page dark and light, and on a phone. Nothing may be wider than the screen.
func (b *Tab) Looks(name string) {
	b.t.Helper()
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{
		{"dark", "dark", width, height},
		{"phone", "light", phoneWidth, phoneHeight},
		{"light", "light", width, height},
	} {
		scheme := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: look.scheme}
		b.Do(
			command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{scheme},
			}),
			chromedp.EmulateViewport(look.width, look.height),
		)
		b.Accessible()
		b.Picture(name + "-" + look.name)
		if over := Value[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
			b.t.Errorf("%s is %d pixels wider than a screen of %d", name, over, look.width)
		}
	}
}
