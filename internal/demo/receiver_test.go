package demo

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
	"github.com/seed91453169/tocsin/channel/email"
	"github.com/seed91453169/tocsin/channel/msteams"
	"github.com/seed91453169/tocsin/channel/slack"
	"github.com/seed91453169/tocsin/rule"
)

func startReceiver(t *testing.T) *Receiver {
	t.Helper()
	r, err := NewReceiver(zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// send sends m through the real sender of a channel; name is a channel's name or an email address.
func send(t *testing.T, r *Receiver, to rule.Channel, name string, m *channel.Message) error {
	t.Helper()
	client := channel.NewHTTPClient([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	var sender channel.Sender
	address := name
	switch to {
	case rule.Webhook:
		t.Fatal("the receiver has no signed webhooks")
	case rule.Slack:
		sender, address = slack.New(client), r.slackURL(name)
	case rule.MSTeams:
		sender, address = msteams.New(client), r.teamsURL(name)
	case rule.Email:
		u, err := url.Parse(r.SMTPURL())
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(u.Port())
		if err != nil {
			t.Fatal(err)
		}
		if sender, err = email.NewSMTP(email.SMTPConfig{Host: u.Hostname(), Port: port, TLS: u.Query().Get("tls")}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return sender.Send(ctx, channel.Target{Channel: to, Address: channel.Secret(address)}, m)
}

// request returns status and body.
func request(t *testing.T, method, url, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// pageOf returns the page, at path and query.
func pageOf(t *testing.T, r *Receiver, path string) string {
	t.Helper()
	status, body, _ := request(t, http.MethodGet, r.URL()+path, "")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	return body
}

func TestEmptyPage(t *testing.T) {
	t.Parallel()
	r := startReceiver(t)
	status, body, header := request(t, http.MethodGet, r.URL(), "")
	if status != http.StatusOK || !strings.Contains(body, "Nothing has arrived yet") {
		t.Errorf("%d %s", status, body)
	}
	if p := header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "script-src 'self' 'unsafe") {
		t.Errorf("policy %q", p)
	}
	for _, file := range []string{"static/receiver.css", "static/receiver.js"} {
		if status, body, _ := request(t, http.MethodGet, r.URL()+file, ""); status != http.StatusOK || body == "" {
			t.Errorf("%s: %d", file, status)
		}
	}
	css, err := os.ReadFile("static/receiver.css")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(css), "http") {
		t.Error("the style sheet loads something from elsewhere")
	}
}

// TestRealSenders: what the real senders say arrives, is shown whole and newest first, whatever is in it.
func TestRealSenders(t *testing.T) {
	t.Parallel()
	r := startReceiver(t)
	m := channeltest.Message("CVE-2026-1234 in openssl")
	for to, name := range map[rule.Channel]string{rule.Slack: "payments-security", rule.MSTeams: "payments", rule.Email: "payments@example.com"} {
		if err := send(t, r, to, name, m); err != nil {
			t.Fatalf("%s: %v", to, err)
		}
	}
	for kind, target := range map[string]string{"slack": "#payments-security", "teams": "payments", "mail": "payments@example.com"} {
		body := pageOf(t, r, "?kind="+kind)
		for _, want := range []string{target, "CVE-2026-1234 in openssl", "High → Critical", "Payments API (Payments)", "Open observation"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %q is not shown", kind, want)
			}
		}
		if n := strings.Count(body, "<article"); n != 1 {
			t.Errorf("%s: %d messages", kind, n)
		}
		if !strings.Contains(body, `All <span class="count">3</span>`) {
			t.Errorf("%s: wrong counts", kind)
		}
	}
	if body := pageOf(t, r, "?kind=mail"); !strings.Contains(body, "[Tocsin] CVE-2026-1234") || !strings.Contains(body, "noreply@tocsin.example") {
		t.Errorf("the head of the mail is missing")
	}
}

func TestHostileMessages(t *testing.T) {
	t.Parallel()
	r := startReceiver(t)
	for name, m := range channeltest.Messages() {
		m.Headline = name + " " + m.Headline + `<script>alert(1)</script>"'></iframe><img src=x onerror=alert(2)>`
		for _, to := range []rule.Channel{rule.Slack, rule.MSTeams} {
			if err := send(t, r, to, "hostile", m); err != nil {
				t.Errorf("%s, %s: %v", to, name, err)
			}
		}
	}
	if err := send(t, r, rule.Email, "hostile@example.com", channeltest.Message(`</iframe><script>alert(1)</script>"><img src=x onerror=alert(2)>`)); err != nil {
		t.Error(err)
	}
	for before := "?"; before != ""; {
		body := pageOf(t, r, before)
		if n := strings.Count(body, "<script"); n != 1 {
			t.Errorf("%d scripts", n)
		}
		for _, bad := range []string{"<img", "javascript:", "<iframe title=\"Mail: [Tocsin] </iframe>"} {
			if strings.Contains(body, bad) {
				t.Errorf("%q is in the page", bad)
			}
		}
		_, rest, found := strings.Cut(body, `class="older"><a href="/`)
		before = ""
		if found {
			before, _, _ = strings.Cut(rest, `"`)
			before = strings.ReplaceAll(before, "&amp;", "&")
		}
	}
}

// TestHostileInput: nobody but Tocsin writes here, but nothing that arrives may break the page or run in it.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	r := startReceiver(t)
	deep := strings.Repeat(`{"type":"Container","items":[`, 40) + strings.Repeat(`]}`, 40)
	for _, c := range []struct {
		path, body string
		status     int
		answer     string
	}{
		{"slack/a", `{"text":"<script>alert(1)</script>"}`, 200, "ok"},
		{"slack/a", `{"blocks":[{"type":"section","text":{"type":"mrkdwn","text":"a <https://x.example?a=1&amp;b|la&lt;bel> <javascript:alert(1)|no> <!channel>"}}]}`, 200, "ok"},
		{"slack/a", `{"text":"x","blocks":[{"type":"video"},{"type":"divider"},{"type":"context","elements":[{"type":"image"}]}]}`, 200, "ok"},
		{"slack/a", `{"text":"x","blocks":[{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"Run"},"url":"javascript:alert(1)"}]}]}`, 200, "ok"},
		{"slack/%3Cb%3E", `{"text":"x"}`, 200, "ok"},
		{"slack/a", `{"text":`, 400, "invalid_payload"},
		{"slack/a", `{}`, 400, "no_text"},
		{"slack/a", `{"text":"x","blocks":[{"type":"header"}]}`, 400, "invalid_blocks"},
		{"slack/a", `{"text":"x","blocks":[{"type":"header","text":{"type":"plain_text","text":"` + strings.Repeat("ü", 151) + `"}}]}`, 400, "invalid_blocks"},
		{"slack/a", `{"text":"x","blocks":[` + strings.Repeat(`{"type":"divider"},`, 50) + `{"type":"divider"}]}`, 400, "invalid_blocks"},
		{"slack/a", `{"text":"` + strings.Repeat("x", maxBody) + `"}`, 400, "invalid_payload"},
		{"slack/archived-x", `{"text":"x"}`, 410, "channel_is_archived"},
		{"slack/overloaded-x", `{"text":"x"}`, 503, ""},
		{"teams/a", card(`{"type":"TextBlock","text":"<b>x</b>","weight":"Bolder"}`), 202, ""},
		{"teams/a", card(`{"type":"RichTextBlock","inlines":["mere text",{"type":"TextRun","text":"x","color":"\"><script>","selectAction":{"type":"Action.OpenUrl","url":"javascript:alert(1)"}},{"type":"Other"}]}`), 202, ""},
		{"teams/a", card(deep), 202, ""},
		{"teams/a", `{"attachments":{}}`, 400, ""},
		{"teams/a", `{"attachments":[]}`, 400, ""},
		{"teams/a", `[`, 400, ""},
	} {
		status, body, _ := request(t, http.MethodPost, r.URL()+c.path, c.body)
		if status != c.status || body != c.answer {
			t.Errorf("%s %.100s: got %d %q, want %d %q", c.path, c.body, status, body, c.status, c.answer)
		}
	}
	body := pageOf(t, r, "")
	for _, bad := range []string{"<script>", "href=\"javascript:", "<b>x", "#<b>"} {
		if strings.Contains(body, bad) {
			t.Errorf("%q is in the page", bad)
		}
	}
	for _, want := range []string{`href="https://x.example?a=1&amp;b"`, "la&lt;bel", "&lt;!channel&gt;", "Not drawn here: video", "mere text"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
}

func card(elements string) string {
	return `{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"type":"AdaptiveCard","body":[` + elements + `]}}]}`
}

func TestCardElements(t *testing.T) {
	t.Parallel()
	m, err := readTeams([]byte(card(`{"type":"TextBlock","text":"Heading","size":"Large","color":"Attention","spacing":"None","separator":true},
		{"type":"FactSet","facts":[{"title":"Product","value":"Payments API"}]},
		{"type":"ColumnSet","columns":[{"type":"Column","items":[{"type":"TextBlock","text":"a","isSubtle":true}]},{"type":"Column","width":"auto"}]},
		{"type":"Table","columns":[{"width":1}],"rows":[{"type":"TableRow","cells":[{"type":"TableCell","items":[{"type":"TextBlock","text":"b"}]}]}]},
		{"type":"ActionSet","actions":[{"type":"Action.OpenUrl","title":"Open","url":"https://x.example"}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	want := []node{
		block("space-none separator", run("c-large c-attention", "Heading")),
		{Kind: factsNode, Class: "space-default", Nodes: []node{{Kind: factNode, Class: "Product", Text: "Payments API"}}},
		group("space-default columns", []node{group("space-default", []node{block("space-default", run("subtle", "a"))}), group("space-default", nil)}),
		{Kind: tableNode, Class: "space-default", Nodes: []node{{Kind: rowNode, Nodes: []node{group("space-default", []node{block("space-default", run("", "b"))})}}}},
		group("space-default actions", []node{{Kind: buttonNode, Text: "Open", URL: "https://x.example"}}),
	}
	if diff := cmp.Diff(want, m.Content); diff != "" {
		t.Error(diff)
	}
	if m.Lead != "Heading" {
		t.Errorf("lead %q", m.Lead)
	}
}

func TestKeepsTheLast(t *testing.T) {
	t.Parallel()
	b := newBox()
	for range kept + 10 {
		b.add(message{Kind: kindSlack})
	}
	list, older, counts := b.find("", 0, kept*2)
	if len(list) != kept || older || counts[kindSlack] != kept+10 || list[0].ID != kept+10 {
		t.Errorf("%d messages, older %v, counts %v", len(list), older, counts)
	}
	if list, older, _ := b.find(kindSlack, 100, 10); len(list) != 10 || !older || list[0].ID != 99 {
		t.Errorf("got %d, %v", len(list), older)
	}
	if list, _, _ := b.find(kindMail, 0, 10); len(list) != 0 {
		t.Errorf("got %d mails", len(list))
	}
}

// TestEvents: the page learns of every message, and a stream does not keep the receiver from ending.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := startReceiver(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q (%v), want %q", lines.Text(), lines.Err(), want)
		}
		lines.Scan()
	}
	expect("data: 0")
	request(t, http.MethodPost, r.URL()+"slack/a", `{"text":"x"}`)
	expect("data: 1")
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for lines.Scan() { // ends
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.smtp.Addr().String())
	if err == nil {
		t.Error("the mail server still listens", conn.Close())
	}
}

func TestReadMail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		raw  string
		want message
	}{
		"plain":    {"Subject: =?utf-8?q?H=C3=A9?=\r\nFrom: a@x.example\r\n\r\nbody\r\n", message{Kind: kindMail, Subject: "Hé", Lead: "Hé", From: "a@x.example", Text: "body\n"}},
		"nested":   {"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+eDwvYj4=\r\n--i--\r\n--o--\r\n", message{Kind: kindMail, HTML: "<b>x</b>"}},
		"bad word": {"Subject: =?what?q?x?=\r\n\r\n", message{Kind: kindMail, Subject: "=?what?q?x?=", Lead: "=?what?q?x?="}},
	} {
		got, err := readMail(strings.NewReader(c.raw))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, raw := range []string{"no head", "Content-Transfer-Encoding: base64\r\n\r\n!!!"} {
		if _, err := readMail(strings.NewReader(raw)); err == nil {
			t.Errorf("%q was read", raw)
		}
	}
}
