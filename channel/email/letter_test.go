package email

import (
	"errors"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
)

var alex = channel.Target{Address: "alex@example.com"}

func TestText(t *testing.T) {
	t.Parallel()
	m := channeltest.Message("Critical: CVE-2026-1234 in Payments API")
	m.Text = "ValueError: x\n  at y"
	m.Items = []channel.Item{
		{Label: "Critical", Event: "New", Name: "CVE-1", Product: "Shop", URL: "https://x.example/1"},
		{Label: "Gate failed", Product: "Shop"},
	}
	m.More = "and 11 more"
	l, err := compose(alex, m)
	if err != nil {
		t.Fatal(err)
	}
	want := `Hello Alex,

Critical: CVE-2026-1234 in Payments API

Product: Payments API (Payments)
Severity: High → Critical
Title: Critical: CVE-2026-1234 in Payments API

ValueError: x
  at y

* Critical · New · CVE-1 · Shop
  https://x.example/1
* Gate failed · Shop

and 11 more

Open observation: https://secobserve.example/#/observations/12/show?a=1&b=%3C2%3E%7C%223%22

-- 
You get this mail because payments@example.com is set in the notification settings of Payments API.
Change it: https://tocsin.example/products/1/settings
`
	if diff := cmp.Diff(want, l.text); diff != "" {
		t.Error(diff)
	}
	bare, err := compose(alex, &channel.Message{Headline: "Test from Tocsin", From: "noreply@tocsin.example"})
	if err != nil {
		t.Fatal(err)
	}
	if bare.text != "Test from Tocsin\n" {
		t.Errorf("bare text %q", bare.text)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	m := channeltest.Message("High → Critical: x")
	l, err := compose(alex, m)
	if err != nil {
		t.Fatal(err)
	}
	root := "<observation-12@tocsin.example>"
	want := []header{
		{"Auto-Submitted", "auto-generated"},
		{"X-Auto-Response-Suppress", "DR, RN, NRN, OOF, AutoReply"},
		{"References", root},
		{"In-Reply-To", root},
	}
	if !slices.Equal(l.headers, want) {
		t.Errorf("headers %v", l.headers)
	}
	if l.messageID != "17-3@tocsin.example" || l.subject != "[Tocsin] High → Critical: x" || l.from != "noreply@tocsin.example" {
		t.Errorf("letter %+v", l)
	}
	m.From, m.ID, m.Thread = "Tocsin <noreply@tocsin.example>", "a b>\r\nX: y", ""
	if l, err = compose(alex, m); err != nil {
		t.Fatal(err)
	}
	if l.from != `"Tocsin" <noreply@tocsin.example>` || l.messageID != "a-b---X--y@tocsin.example" || len(l.headers) != 2 {
		t.Errorf("letter %+v", l)
	}
	m.Unsubscribe = "https://tocsin.example/unsubscribe/1/key"
	if l, err = compose(alex, m); err != nil || !slices.Equal(l.headers[2:], []header{
		{"List-Unsubscribe", "<https://tocsin.example/unsubscribe/1/key>"}, {"List-Unsubscribe-Post", "List-Unsubscribe=One-Click"},
	}) {
		t.Errorf("headers %v, %v", l.headers, err)
	}
	m.Unsubscribe = "javascript:alert(1)"
	if l, err = compose(alex, m); err != nil || len(l.headers) != 2 {
		t.Errorf("headers %v, %v", l.headers, err)
	}
	m.ID = ""
	a, errA := compose(alex, m)
	b, errB := compose(alex, m)
	if errA != nil || errB != nil || a.messageID == b.messageID || !strings.HasSuffix(a.messageID, "@tocsin.example") {
		t.Errorf("random IDs %q %q", a.messageID, b.messageID)
	}
}

var markup = regexp.MustCompile(`(?s)<head>.*</head>|<[^>]*>`)

// TestComposeHostile: text and HTML say the same, and no text of a message becomes markup.
func TestComposeHostile(t *testing.T) {
	t.Parallel()
	space := regexp.MustCompile(`\s+`)
	flat := func(s string) string { return strings.TrimSpace(space.ReplaceAllString(s, " ")) }
	tags := map[string]int{}
	for name, m := range channeltest.Messages() {
		l, err := compose(alex, m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		channeltest.Printable(t, []byte(l.text))
		channeltest.Printable(t, []byte(l.html))
		if strings.ContainsAny(l.subject, "\r\n") || channel.Length(l.subject) > 300 {
			t.Errorf("%s: subject %q", name, l.subject)
		}
		written := flat(l.text)
		shown := flat(html.UnescapeString(markup.ReplaceAllString(l.html, " ")))
		p := newContent(m)
		said := []string{p.Headline, p.Text, p.More, p.Reason}
		for _, f := range p.Facts {
			said = append(said, f.Name, f.Value)
		}
		for _, it := range p.Items {
			said = append(said, it.Label, it.Event, it.Name, it.Product)
		}
		for _, s := range said {
			s = flat(s)
			if !strings.Contains(shown, s) {
				t.Errorf("%s: the HTML does not say %.100q", name, s)
			}
			if !strings.Contains(written, s) {
				t.Errorf("%s: the text does not say %.100q", name, s)
			}
		}
		for _, tag := range []string{"<script", "<img", "javascript:", "ZgotmplZ"} {
			if strings.Contains(strings.ToLower(l.html), strings.ToLower(tag)) {
				t.Errorf("%s: the HTML has %s", name, tag)
			}
		}
		kind := strings.Fields(name)[0]
		if n := strings.Count(l.html, `class="button"`); n > 1 || n == 0 && kind != "bare" {
			t.Errorf("%s: %d buttons", name, n)
		}
		if n := strings.Count(l.html, "<"); kind == "gate" && tags[kind] != 0 && tags[kind] != n {
			t.Errorf("%s: a title became markup", name)
		} else {
			tags[kind] = n
		}
	}
}

func TestComposeRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from string
		to   channel.Secret
		says string
	}{
		{"", "alex@example.com", "email_from"},
		{"not an address", "alex@example.com", "email_from"},
		{"a@example.com", "", "receiver"},
		{"a@example.com", "b@example.com, c@example.com", "receiver"},
		{"a@example.com", "b@example.com\r\nBcc: c@example.com", "receiver"},
	} {
		_, err := compose(channel.Target{Address: c.to}, &channel.Message{Headline: "x", From: c.from})
		var e *channel.Error
		if !errors.As(err, &e) || e.Kind != channel.Permanent || !strings.Contains(e.Reason, c.says) {
			t.Errorf("from %q to %q: %v", c.from, c.to.Reveal(), err)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64) + "@" + strings.Repeat("b.", 94) + "c"
	for _, good := range []string{"alex@example.com", "a@localhost", "a.b+c@x.example", "o'neil@example.com", long[:254], "jörg@exämple.de"} {
		if err := CheckAddress(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", " ", "alex", "alex@", "@example.com", "a b@example.com", "a@b@c", "Alex <alex@example.com>", "<alex@example.com>",
		"alex@example.com ", " alex@example.com", "alex@example.com (Alex)", `"a b"@example.com`, "a@example.com,b@example.com",
		"a@example.com\r\nBcc: b@example.com", "a@exa\x00mple.com", strings.Repeat("a", 65) + "@example.com", long + "cc", "a@b\xff.com",
	} {
		if err := CheckAddress(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
	for list, want := range map[string][]string{
		"": nil, "  ": nil, "a@b.c": {"a@b.c"}, " a@b.c , d@e.f ": {"a@b.c", "d@e.f"},
		"\ufeffa@b.c\u200b,\u00a0d@e.f\u202c": {"a@b.c", "d@e.f"},
	} {
		if got, err := SplitAddresses(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", list, got, err)
		}
	}
	if _, err := SplitAddresses("a@b.c,d@e\u200b.f"); err == nil || !strings.Contains(err.Error(), "(U+200B) at position 4") {
		t.Error(err)
	}
	for _, bad := range []string{",", "a@b.c,", "a@b.c,,d@e.f", ",a@b.c", "a@b.c;d@e.f", "x"} {
		if got, err := SplitAddresses(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}
