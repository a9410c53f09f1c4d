package slack_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
	"github.com/seed91453169/tocsin/channel/slack"
	"github.com/seed91453169/tocsin/rule"
)

var receiver = channeltest.HTTP{
	New: func(_ *testing.T, base string) (channel.Sender, channel.Target) {
		return slack.New(channel.NewHTTPClient(channeltest.Loopback)), channel.Target{
			Channel: rule.Slack, Address: channel.Secret(base + "/services/T00/B00/" + channeltest.Secret),
		}
	},
	Status: http.StatusOK, Body: "ok", Shorter: []int{400, 413},
}

func TestSuite(t *testing.T) {
	t.Parallel()
	permanent := func(tooLarge bool, says string) channeltest.Want {
		return channeltest.Want{Kind: channel.Permanent, TooLarge: tooLarge, Says: says}
	}
	var cases []channeltest.Case
	for _, c := range []struct {
		status int
		body   string
		want   channeltest.Want
	}{
		{400, "invalid_payload", permanent(true, "400 (invalid_payload)")},
		{400, "invalid_blocks", permanent(true, "400 (invalid_blocks)")},
		{403, "action_prohibited", permanent(false, "403 (action_prohibited)")},
		{404, "channel_not_found", permanent(false, "404 (channel_not_found)")},
		{404, "no_service", permanent(false, "404 (no_service)")},
		{410, "channel_is_archived", permanent(false, "410 (channel_is_archived)")},
		{500, "rollup_error", channeltest.Want{Kind: channel.Temporary, Says: "500 (rollup_error)"}},
		{404, channeltest.Gossip, permanent(false, "404: ")},
	} {
		cases = append(cases, channeltest.Case{
			Name: fmt.Sprintf("answer %d %s", c.status, c.body), Setup: receiver.Answer(c.status, c.body), Want: c.want,
		})
	}
	receiver.Suite(cases...).Run(t)
}

func TestNotPublic(t *testing.T) {
	t.Parallel()
	sender, to := slack.New(channel.NewHTTPClient(nil)), channel.Target{Address: "https://127.0.0.1/services/" + channeltest.Secret}
	channeltest.Check(t, sender.Send(t.Context(), to, channeltest.Message("x")),
		channeltest.Want{Kind: channel.Permanent, Says: "TOCSIN_WEBHOOK_ALLOWED_NETWORKS"})
	to.Address = "::not a url " + channeltest.Secret
	channeltest.Check(t, sender.Send(t.Context(), to, channeltest.Message("x")), channeltest.Want{Kind: channel.Permanent, Says: "not a valid URL"})
}

type text struct{ Type, Text string }

type payload struct {
	Text   string
	Blocks json.RawMessage
	blocks []struct {
		Type     string
		Text     *text
		Fields   []text
		Elements []struct {
			Type, URL string
			Text      json.RawMessage
		}
	}
}

// TestPayloads sends every kind of message with every title, and checks each against Slack's limits and types.
func TestPayloads(t *testing.T) {
	t.Parallel()
	recorder := &channeltest.Recorder{}
	sender, to := recorder.Setup(receiver)(t)
	blocks := make(map[string]json.RawMessage)
	for name, m := range channeltest.Messages() {
		if err := sender.Send(t.Context(), to, m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, contentType := recorder.Last(t)
		if contentType != "application/json; charset=utf-8" {
			t.Errorf("%s: content type %q", name, contentType)
		}
		var p payload
		if err := json.Unmarshal(body, &p); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := json.Unmarshal(p.Blocks, &p.blocks); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		blocks[name] = p.Blocks
		t.Run(name, func(t *testing.T) { checkLimits(t, p, body, channel.Line(m.Headline, 150)) })
	}
	channeltest.ValidateBlocks(t, blocks)
}

func checkLimits(t *testing.T, p payload, body []byte, headline string) {
	atMost := func(what, s string, limit int) {
		t.Helper()
		if n := channel.Length(s); n > limit || n == 0 && what != "text" {
			t.Errorf("%s has %d characters, at most %d are allowed", what, n, limit)
		}
	}
	channeltest.Printable(t, body)
	atMost("text", p.Text, 4000)
	rest := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(p.Text)
	if strings.ContainsAny(rest, "&<>") || strings.Contains(p.Text, "\n") {
		t.Errorf("text is not escaped: %q", p.Text)
	}
	if len(p.blocks) > 50 {
		t.Errorf("%d blocks", len(p.blocks))
	}
	buttons := 0
	for i, b := range p.blocks {
		limit := 3000
		if b.Type == "header" {
			limit = 150
			if i != 0 || headline != "" && b.Text.Text != headline {
				t.Errorf("header %d is %q, want %q", i, b.Text.Text, headline)
			}
		}
		if b.Text != nil {
			atMost(b.Type, b.Text.Text, limit)
			if b.Text.Type != "plain_text" {
				t.Errorf("%s is %s", b.Type, b.Text.Type)
			}
		}
		if b.Type == "section" && b.Text == nil && len(b.Fields) == 0 {
			t.Error("section without text and fields")
		}
		if len(b.Fields) > 10 || len(b.Elements) > 10 {
			t.Errorf("%d fields, %d elements", len(b.Fields), len(b.Elements))
		}
		for _, f := range b.Fields {
			atMost("field", f.Text, 2000)
			if f.Type != "plain_text" && !strings.HasPrefix(f.Text, "<https://secobserve.example/") {
				t.Errorf("untrusted text is %s: %q", f.Type, f.Text)
			}
		}
		for _, e := range b.Elements {
			if e.Type == "button" {
				buttons++
				atMost("URL", e.URL, 3000)
				if !strings.HasPrefix(e.URL, "https://") {
					t.Errorf("button to %q", e.URL)
				}
			}
		}
	}
	if buttons > 1 {
		t.Errorf("%d buttons", buttons)
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	recorder := &channeltest.Recorder{}
	sender, to := recorder.Setup(receiver)(t)
	m := channeltest.Message("12 Critical: 13 notifications from <1> product")
	m.Items = []channel.Item{{Label: "Critical", Event: "New", Name: "CVE-1", Product: "Shop", URL: "https://x.example/?a=1&b=2"}}
	m.Text, m.More = "said", "and 12 more"
	if err := sender.Send(t.Context(), to, m); err != nil {
		t.Fatal(err)
	}
	body, _ := recorder.Last(t)
	last := -1
	for _, part := range []string{
		`"text":"12 Critical: 13 notifications from &lt;1&gt; product"`, `"type":"header"`, `"text":"Severity\nHigh → Critical"`, `"text":"said"`,
		`"text":"Critical · New · CVE-1 · Shop"`, `"text":"<https://x.example/?a=1&amp;b=2|Open>"`, `"type":"context"`, "and 12 more", `"type":"actions"`,
		`"url":"https://secobserve.example/#/observations/12/show?a=1&b=%3C2%3E%7C%223%22"`,
	} {
		at := strings.Index(string(body), part)
		if at <= last {
			t.Fatalf("%s is missing, or too early, in %s", part, body)
		}
		last = at
	}
}

func FuzzAnswers(f *testing.F) {
	channeltest.FuzzAnswers(f, func(client *http.Client) (channel.Sender, channel.Target) {
		return slack.New(client), channel.Target{Address: "https://hooks.slack.com/services/" + channeltest.Secret}
	}, "no_service", "invalid_blocks", "rollup_error")
}
