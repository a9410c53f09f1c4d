package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/browser"
	"github.com/seed91453169/tocsin/internal/testenv/program"
)

// Ids of the demo's sample.
const (
	demoHelm      = 31 // a product with settings of its own
	demoPhoton    = 42 // a product with a target that fails
	demoPaused    = 62
	demoSilent    = 17 // an observation that is not notified
	demoKindsSeen = 60 // seconds; the end of the demo's beginning is this setting
)

// printed is what stands behind words in the output of a program, once it is there.
func (p *process) printed(words string) string {
	p.t.Helper()
	found := regexp.MustCompile(words + `\s+(\S+)`)
	var text string
	testenv.Eventually(p.t, time.Minute, func() error {
		m := found.FindStringSubmatch(p.log.String())
		if m == nil {
			return fmt.Errorf("printed is %s", p.log)
		}
		text = m[1]
		return nil
	}, words)
	return text
}

// TestDemo does what the demo says, and follows the links of its messages. With TOCSIN_SCREENSHOTS it takes the pictures of
// the README.
func TestDemo(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	d := newDeployment(t)
	p := start(t, []string{d.env[0], "TOCSIN_ADMIN_TOKEN=" + adminToken, "TMPDIR=" + folder}, "demo")
	if got := p.printed("The inbox:"); got != d.url {
		t.Errorf("the inbox is said to be at %s, and is at %s", got, d.url)
	}
	receiver := p.printed("What email, Teams and Slack got:")
	testenv.Eventually(t, time.Minute, func() error {
		var settings struct {
			Limit int `json:"exception_rate_limit"`
		}
		if d.call(http.MethodGet, "/api/v1/settings", nil, &settings); settings.Limit != demoKindsSeen {
			return fmt.Errorf("exception_rate_limit is %d", settings.Limit)
		}
		return nil
	}, "the beginning is not reported")
	newest := d.demoInbox()

	b := browser.New(t, d.url)
	b.Open("/")
	b.Until(`document.querySelector("[name=username]")`)
	b.Do(chromedp.SendKeys("[name=username]", p.printed("Log in as:")), chromedp.SendKeys("[name=password]", p.printed("with the password:")+kb.Enter))
	b.Until(`document.querySelectorAll(".list > li").length == 50 && !document.getElementById("unread").hidden`)
	for name, path := range map[string]string{
		"inbox": "/", "notification": newest, "product": fmt.Sprintf("/products/%d", demoHelm), "explain": fmt.Sprintf("/observations/%d/explain", demoSilent),
		"deliveries": "/deliveries",
	} {
		b.Open(path)
		b.Until(`document.querySelector("main h1")`)
		b.Accessible()
		b.Picture(name)
	}
	followLinks(t, b, d.url, receiver)
	b.Do(chromedp.Navigate("about:blank")) // no page asks for what has ended

	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit %d", code)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// demoInbox checks that there is something of everything to look at. It returns the page of a change.
func (d *deployment) demoInbox() (changed string) {
	d.t.Helper()
	var list struct {
		Items []struct {
			ID         int64
			Type       string
			Event      string
			Product    *struct{ ID int64 }
			Suppressed int
			Facts      struct {
				KnownExploited bool `json:"known_exploited"`
			}
			After      *struct{ Severity string }
			Deliveries []struct{ Source struct{ Name string } }
		}
	}
	d.call(http.MethodGet, "/api/v1/notifications?limit=250", nil, &list)
	seen := map[string]bool{}
	for _, n := range list.Items {
		seen[strings.Trim(n.Type+" "+n.Event, " ")] = true
		seen["suppressed"] = seen["suppressed"] || n.Suppressed > 0
		seen["paused"] = seen["paused"] || n.Product != nil && n.Product.ID == demoPaused && len(n.Deliveries) == 0
		seen["a Medium that is known to be exploited"] = seen["a Medium that is known to be exploited"] ||
			n.Facts.KnownExploited && n.After.Severity == "Medium" && len(n.Deliveries) > 0
		for _, d := range n.Deliveries {
			seen[d.Source.Name] = true
		}
		if n.Type == "observation" && n.Event == "changed" && n.Product.ID == demoPhoton {
			changed = fmt.Sprintf("/notifications/%d", n.ID)
		}
	}
	for _, want := range []string{
		"observation new", "observation changed", "observation dropped", "observation_title new", "observation_title changed",
		"security_gate passed", "security_gate failed", "exception", "task", "suppressed", "paused",
		"Critical by mail", "Everything in Slack", "Every morning at 8", "a Medium that is known to be exploited",
	} {
		if !seen[want] {
			d.t.Errorf("the demo's inbox shows no %s", want)
		}
	}
	var silent struct {
		Matches bool
		Event   *string
	}
	d.call(http.MethodGet, fmt.Sprintf("/api/v1/observations/%d/explain", demoSilent), nil, &silent)
	if silent.Matches || silent.Event != nil {
		d.t.Errorf("observation %d is notified: %+v", demoSilent, silent)
	}
	var s program.Status
	if d.call(http.MethodGet, "/api/v1/status", nil, &s); s.FailedDeliveries == 0 || s.PendingDeliveries == 0 {
		d.t.Errorf("no target fails, or none is tried again: %+v", s)
	}
	return changed
}

// followLinks opens one link of each kind that the messages at the receiver have.
func followLinks(t *testing.T, b *browser.Tab, base, receiver string) {
	t.Helper()
	const links = `[...document.querySelectorAll("article")].flatMap((a) => {
		const frame = a.querySelector("iframe");
		return [...(frame ? new DOMParser().parseFromString(frame.srcdoc, "text/html") : a).querySelectorAll("a[href^=http]")].map((l) => a.className + " " + l.href);
	})`
	number := regexp.MustCompile(`\d+`)
	kinds := map[string]string{} // an address of each kind, by channel and shape
	wanted := []string{
		"slack /", "slack /notifications/N", "slack /products/N", "teams /", "teams /notifications/N", "mail /", "mail /notifications/N", "mail /products/N",
		"mail /product-groups/N#notification_email_to", "mail /settings#observation_title_notification_email_to", "mail /settings#exception_email_to",
	}
	testenv.Eventually(t, time.Minute, func() error { // Slack takes one message a second
		for next := receiver; next != ""; {
			b.Open(next)
			for _, link := range browser.Value[[]string](b, links) {
				channel, address, _ := strings.Cut(link, " ")
				path, own := strings.CutPrefix(address, base)
				if !own {
					t.Errorf("a message leads to %s", address)
				}
				kinds[channel+" "+number.ReplaceAllString(path, "N")] = path
			}
			next = browser.Value[string](b, `document.querySelector(".older a")?.href ?? ""`)
		}
		for _, want := range wanted {
			if kinds[want] == "" {
				return fmt.Errorf("no message has a link %s, only %v", want, kinds)
			}
		}
		return nil
	}, "messages of all kinds")
	for _, path := range kinds {
		b.Open(path)
		b.Until(`document.querySelector("main h1")`)
		if title := browser.Value[string](b, "document.title"); strings.Contains(title, "nothing here") {
			t.Errorf("%s leads to nothing", path)
		}
		if u, err := url.Parse(path); err != nil || u.Fragment != "" && !browser.Value[bool](b, `Boolean(document.querySelector(":target"))`) {
			t.Errorf("%s has no such place (%v)", path, err)
		}
	}
}
