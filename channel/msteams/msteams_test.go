package msteams_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
	"github.com/seed91453169/tocsin/channel/msteams"
	"github.com/seed91453169/tocsin/rule"
)

var receiver = channeltest.HTTP{
	New: func(_ *testing.T, base string) (channel.Sender, channel.Target) {
		return msteams.New(channel.NewHTTPClient(channeltest.Loopback)), channel.Target{
			Channel: rule.MSTeams, Address: channel.Secret(base + "/workflows/" + channeltest.Secret + "/triggers/manual/paths/invoke?api-version=1&sig=" + channeltest.Secret),
		}
	},
	Status: http.StatusAccepted, Shorter: []int{400, 413},
}

func TestSuite(t *testing.T) {
	t.Parallel()
	receiver.Suite().Run(t)
}

// connector stands for a retired webhook of Office 365 at host.
func connector(host string) channeltest.HTTP {
	return channeltest.HTTP{
		New: func(t *testing.T, base string) (channel.Sender, channel.Target) {
			t.Helper()
			at, err := url.Parse(base)
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Transport: elsewhere{at, channel.NewHTTPClient(channeltest.Loopback).Transport}}
			return msteams.New(client), channel.Target{
				Channel: rule.MSTeams, Address: channel.Secret("https://" + host + "/webhookb2/" + channeltest.Secret),
			}
		},
		Status: http.StatusOK, Body: "1", Shorter: []int{400, 413},
	}
}

// elsewhere is a transport that asks the server at a base instead of that of the request.
type elsewhere struct {
	base *url.URL
	next http.RoundTripper
}

func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = e.base.Scheme, e.base.Host
	return e.next.RoundTrip(r)
}

// TestConnectors: the retired connectors, and nothing else, hide the status of an error in the body of a 200.
func TestConnectors(t *testing.T) {
	t.Parallel()
	const hidden = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error %d with ContextId " +
		"tcid=0,server=" + channeltest.Gossip + "."
	ok := channeltest.Want{OK: true}
	for _, c := range []struct {
		name, host, body string
		want             channeltest.Want
	}{
		{"429", "tenant.webhook.office.com", fmt.Sprintf(hidden, 429), channeltest.Want{Kind: channel.RateLimited, Says: "429"}},
		{"413", "tenant.webhook.office.com", fmt.Sprintf(hidden, 413), channeltest.Want{Kind: channel.Permanent, TooLarge: true, Says: "413"}},
		{"403", "Tenant.Webhook.Office.com.", fmt.Sprintf(hidden, 403), channeltest.Want{Kind: channel.Permanent, Says: "403"}},
		{"502", "webhook.office.com", fmt.Sprintf(hidden, 502), channeltest.Want{Kind: channel.Temporary, Says: "502"}},
		{"quoted", "tenant.webhook.office.com", fmt.Sprintf("%q", fmt.Sprintf(hidden, 429)), channeltest.Want{Kind: channel.RateLimited, Says: "429"}},
		{"200", "tenant.webhook.office.com", fmt.Sprintf(hidden, 200), ok},
		{"999", "tenant.webhook.office.com", fmt.Sprintf(hidden, 999), ok},
		{"another text", "tenant.webhook.office.com", "Summary or Text is required.", ok},
		{"in the middle", "tenant.webhook.office.com", "The flow ran. " + fmt.Sprintf(hidden, 429), ok},
		{"a flow", "prod-1.westus.logic.azure.com", fmt.Sprintf(hidden, 429), ok},
		{"a similar host", "evilwebhook.office.com", fmt.Sprintf(hidden, 429), ok},
		{"a longer host", "webhook.office.com.example", fmt.Sprintf(hidden, 429), ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sender, to := connector(c.host).Answer(http.StatusOK, c.body)(t)
			channeltest.Check(t, sender.Send(t.Context(), to, channeltest.Message("x")), c.want)
		})
	}
}

type element struct {
	Type      string
	Text      string
	Color     string
	Weight    string
	FontType  string
	Separator bool
	Inlines   []element
	Actions   []element
	Body      []element
	Title     string
	URL       string
}

func receive(t *testing.T, recorder *channeltest.Recorder) (card json.RawMessage, e element, body []byte) {
	t.Helper()
	body, contentType := recorder.Last(t)
	if contentType != "application/json; charset=utf-8" {
		t.Errorf("content type %q", contentType)
	}
	var m struct {
		Type        string
		Attachments []struct {
			ContentType string
			ContentURL  any
			Content     json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	if m.Type != "message" || len(m.Attachments) != 1 || m.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" || m.Attachments[0].ContentURL != nil {
		t.Fatalf("envelope: %s", body)
	}
	if err := json.Unmarshal(m.Attachments[0].Content, &e); err != nil {
		t.Fatal(err)
	}
	return m.Attachments[0].Content, e, body
}

// TestPayloads sends every kind of message with every title, and checks each against Teams' limit and types.
func TestPayloads(t *testing.T) {
	t.Parallel()
	recorder := &channeltest.Recorder{}
	sender, to := recorder.Setup(receiver)(t)
	cards := make(map[string]json.RawMessage)
	for name, m := range channeltest.Messages() {
		if err := sender.Send(t.Context(), to, m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		raw, card, body := receive(t, recorder)
		cards[name] = raw
		t.Run(name, func(t *testing.T) {
			channeltest.Printable(t, body)
			if len(body) >= 20_000 {
				t.Errorf("%d bytes", len(body))
			}
			if len(card.Actions) > 1 || len(card.Actions) == 1 && !strings.HasPrefix(card.Actions[0].URL, "https://") {
				t.Errorf("actions: %+v", card.Actions)
			}
			for _, b := range card.Body {
				if b.Type != "RichTextBlock" || len(b.Inlines) == 0 {
					t.Errorf("untrusted text in %s", b.Type)
				}
				for _, r := range b.Inlines {
					if r.Text == "" || strings.Contains(r.Text, "\n") || strings.Contains(r.Text, "{{DATE(2") {
						t.Errorf("run %q", r.Text)
					}
				}
			}
		})
	}
	channeltest.ValidateCards(t, cards)
}

func TestLayout(t *testing.T) {
	t.Parallel()
	recorder := &channeltest.Recorder{}
	sender, to := recorder.Setup(receiver)(t)
	for tone, color := range map[channel.Tone]string{
		channel.Attention: "Attention", channel.Warning: "Warning", channel.Accent: "Accent", channel.Good: "Good",
		channel.Default: "Default", "": "Default",
	} {
		m := channeltest.Message("Critical: CVE-2026-1234 in Payments API")
		m.Tone, m.Text = tone, "ValueError\n  at x\n\nend"
		m.Items = []channel.Item{{Label: "Critical", Event: "New", Name: "CVE-1", Product: "Shop", URL: "https://x.example/1"}}
		m.More = "and 12 more"
		if err := sender.Send(t.Context(), to, m); err != nil {
			t.Fatal(err)
		}
		_, card, body := receive(t, recorder)
		heading := card.Body[0].Inlines[0]
		if heading.Text != m.Headline || heading.Color != color || heading.Weight != "Bolder" {
			t.Errorf("heading of %q: %+v", tone, heading)
		}
		var lines []string
		for _, b := range card.Body {
			var line strings.Builder
			for _, r := range b.Inlines {
				line.WriteString(r.Text)
			}
			lines = append(lines, line.String())
		}
		want := []string{
			m.Headline, "Product: Payments API (Payments)", "Severity: High → Critical", "Title: " + m.Headline,
			"ValueError", "\u00a0\u00a0at x", "\u00a0", "end", "Critical · New · CVE-1 · Shop", "and 12 more",
		}
		if strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("lines %q, want %q", lines, want)
		}
		if !strings.Contains(string(body), `"selectAction":{"type":"Action.OpenUrl","url":"https://x.example/1"}`) {
			t.Errorf("no link at the item: %s", body)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	channeltest.FuzzAnswers(f, func(client *http.Client) (channel.Sender, channel.Target) {
		return msteams.New(client), channel.Target{Address: "https://x.logic.azure.com/workflows/x?sig=" + channeltest.Secret}
	}, "1", `"accepted"`, "Microsoft Teams endpoint returned HTTP error 429 with ContextId x", "HTTP error 999", `[[[[`)
}

// TestItemsWithoutRoomAreCounted: a digest that is shortened says how many of its items it leaves out.
func TestItemsWithoutRoomAreCounted(t *testing.T) {
	t.Parallel()
	recorder := &channeltest.Recorder{}
	sender, to := recorder.Setup(receiver)(t)
	const said, items = "122 more are in Tocsin's inbox.", 30
	for _, name := range []string{"CVE-1", strings.Repeat("脆弱性", 90)} {
		m := channeltest.Message("152 new in 3 products")
		m.Items, m.More = nil, said
		for range items {
			m.Items = append(m.Items, channel.Item{Label: "Critical", Event: "New", Name: name, Product: "Shop", URL: "https://x.example/1"})
		}
		if err := sender.Send(t.Context(), to, m); err != nil {
			t.Fatal(err)
		}
		_, card, _ := receive(t, recorder)
		shown, last := 0, card.Body[len(card.Body)-1].Inlines[0].Text
		for _, b := range card.Body {
			if strings.HasPrefix(b.Inlines[0].Text, "Critical") {
				shown++
			}
		}
		want := said
		if shown < items {
			want = fmt.Sprintf("%d more without room here. %s", items-shown, said)
		}
		if last != want || shown == 0 || (shown < items) != (name != "CVE-1") {
			t.Errorf("%d items, and %q", shown, last)
		}
	}
}
