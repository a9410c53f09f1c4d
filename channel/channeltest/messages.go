package channeltest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed91453169/tocsin/channel"
)

// Titles are what a scanner, or somebody who wants to do harm, may call an observation.
var Titles = []string{
	"CVE-2026-1234 in openssl",
	`Hard-coded "secret" & <token> in {"json": ['x']} \ \n \u0000 \\"`,
	"<!channel> <!here> <@U123> <#C123> <https://evil.example|click> &lt;!channel&gt;",
	"*bold* _italic_ ~gone~ `code` ```block``` [link](https://evil.example) ![x](https://evil.example/x.png) # h1\n" +
		"- list\n> quote",
	"{{DATE()}} {{DATE(2017-02-14T06:00:00Z, SHORT)}} {{TIME(2017-02-14T06:00:00Z)}} ${title} @{triggerBody()} " +
		"%recipient.name%",
	"<script>alert(1)</script><img src=x onerror=alert(1)></style></title></pre>{{.Headline}}",
	strings.Repeat("A long title without end ", 200),
	strings.Repeat("unbroken", 625),
	strings.Repeat("<&>", 1700),
	strings.Repeat(`"\`, 2500),
	strings.Repeat("🚨", 5000),
	strings.Repeat("ü", 5000),
	strings.Repeat("👩‍👩‍👧‍👦", 700),
	"שלום עולם مرحبا بالعالم",
	"abc\u202etxt.exe\u202c \u2066\u2067\u2068\u2069\u200e\u200f\u061c",
	"emoji 🚨🔥 :fire: é combining e\u0301 \u200b zero",
	"nul \x00 bell \x07 escape \x1b[31mred\x1b[0m delete \x7f c1 \u0085\u009b",
	"invalid \xff\xfe\xc3\x28 utf-8 \xed\xa0\x80",
	"line one\r\nBcc: victim@example.com\r\nX-Injected: yes\r\n\r\nbody",
	"line\u2028separator\u2029paragraph\vtab\fform",
	"",
	" ",
	"\n",
}

// Message is a common message about title.
func Message(title string) *channel.Message {
	return &channel.Message{
		Headline: title,
		Tone:     channel.Attention,
		Facts: []channel.Fact{
			{Name: "Product", Value: "Payments API (Payments)"},
			{Name: "Severity", Value: "High → Critical"},
			{Name: "Title", Value: title},
		},
		Action: channel.Link{
			Label: "Open observation", URL: "https://secobserve.example/#/observations/12/show?a=1&b=<2>|\"3\"",
		},
		ID: "17-3", Thread: "observation-12", From: "noreply@tocsin.example", Greeting: "Alex",
		Reason:    "because payments@example.com is set in the notification settings of Payments API",
		ReasonURL: "https://tocsin.example/products/1/settings",

		Notifications: []json.RawMessage{notification(title)},
		At:            time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC),
		Secrets:       []channel.Secret{SigningSecret},
	}
}

// SigningSecret is a secret of a signed webhook, with Secret in it.
const SigningSecret = "whsec_" + Secret + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// notification returns a notification in the form of the HTTP interface, with only some of its fields.
func notification(title string) json.RawMessage {
	out, err := json.Marshal(map[string]any{"id": 17, "type": "observation", "event": "changed", "name": title})
	if err != nil {
		panic(err)
	}
	return out
}

// Messages returns every kind of message with every title, by name.
func Messages() map[string]*channel.Message {
	all := make(map[string]*channel.Message)
	for i, title := range Titles {
		for kind, m := range kinds(title) {
			all[fmt.Sprintf("%s %02d", kind, i)] = m
		}
	}
	return all
}

func kinds(title string) map[string]*channel.Message {
	exception := Message("Exception " + title)
	exception.Text = title + "\n\tat line 1\n\n    indented\n" +
		strings.Repeat("  File \"x.py\", line 3, in "+title+"\n", 20)
	gate := Message("Security gate passed: " + title)
	gate.Tone, gate.Facts, gate.Thread = channel.Good, nil, ""
	digest := Message("12 Critical, 40 High: 131 notifications from 3 products")
	digest.Tone, digest.More = channel.Warning, "and 121 more: "+title
	digest.Items = items(10, title)
	huge := Message(title)
	huge.Tone, huge.Text, huge.More = channel.Accent, strings.Repeat(title+"\n", 1+50_000/(1+len(title))),
		strings.Repeat(title, 2)
	huge.Items = items(60, title)
	for i := range 60 {
		huge.Facts = append(huge.Facts, channel.Fact{Name: fmt.Sprint(i, title), Value: title})
	}
	huge.Action = channel.Link{Label: title, URL: "https://secobserve.example/?t=" + strings.Repeat("x", 2900)}
	bare := &channel.Message{
		Headline: title, From: "noreply@tocsin.example", Action: channel.Link{Label: "Run", URL: "javascript:alert(1)"},
	}
	return map[string]*channel.Message{
		"observation": Message(title), "exception": exception, "gate": gate, "digest": digest, "huge": huge, "bare": bare,
	}
}

func items(n int, title string) []channel.Item {
	list := make([]channel.Item, n)
	for i := range list {
		list[i] = channel.Item{
			Label: "Critical", Event: "High → Critical", Name: title, Product: "Payments API",
			URL: fmt.Sprintf("https://secobserve.example/#/observations/%d/show", i),
		}
	}
	list[0].URL = "https://secobserve.example/" + strings.Repeat("y", 3100)
	list[1].URL = "javascript:alert(1)"
	return list
}

// Printable fails where body, which is JSON or text, holds a character that must not reach a reader: a control
// character, one that changes the direction of text, invalid UTF-8.
func Printable(t *testing.T, body []byte) {
	t.Helper()
	text := string(body)
	var v any
	if json.Unmarshal(body, &v) == nil { // escapes are undone
		text = fmt.Sprint(v)
	}
	if !utf8.ValidString(text) {
		t.Error("invalid UTF-8")
	}
	for _, r := range text {
		if unicode.Is(unicode.Bidi_Control, r) || unicode.IsControl(r) && r != '\n' && r != '\t' {
			t.Errorf("character %U", r)
			return
		}
	}
}
