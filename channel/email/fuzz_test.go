package email

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
	"github.com/seed91453169/tocsin/rule"
)

// FuzzAddresses: what is taken is a list of bare addresses that mail can be sent to, and nothing that ends a line or
// an argument of SMTP.
func FuzzAddresses(f *testing.F) {
	for _, seed := range []string{
		"", "payments@example.com", " a@b.c , d@e.f ", "jörg@exämple.de", "o'neil@example.com", "Alex <alex@example.com>", `"a b"@x.y`, "a@b\r\nRCPT TO:<c@d>",
		"a@[127.0.0.1]", "a@b,", strings.Repeat("a", 65) + "@b", "a@b\u2028c", "a@b\x00", "=?utf-8?q?a?=@b", "a@b.", "@b@c", "a@b(c)",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		addrs, err := SplitAddresses(list)
		if err != nil {
			if addrs != nil || len(err.Error()) > 100 {
				t.Errorf("%q: %q, %v", list, addrs, err)
			}
			return
		}
		if again, err := SplitAddresses(strings.Join(addrs, ",")); err != nil || !slices.Equal(again, addrs) {
			t.Errorf("%q: %q, and then %q, %v", list, addrs, again, err)
		}
		if found := rule.Addresses(list); len(found) > len(addrs) {
			t.Errorf("%q: %q are recipients, of %q", list, found, addrs)
		}
		for _, a := range addrs {
			if len(a) > maxAddress || !utf8.ValidString(a) || strings.Count(a, "@") != 1 ||
				strings.ContainsFunc(a, func(r rune) bool {
					return unicode.IsSpace(r) || unicode.IsControl(r) || !unicode.IsPrint(r) || strings.ContainsRune(`<>,;"`, r)
				}) {
				t.Errorf("%q: %q passes", list, a)
			}
			l, err := compose(channel.Target{Address: channel.Secret(a)}, &channel.Message{Headline: "x", From: a})
			if err == nil {
				_, err = message(l)
			}
			if err != nil {
				t.Errorf("%q passes, and no mail can be sent to it: %v", a, err)
			}
		}
	})
}

// FuzzHeader: whatever texts get into the head of a mail, they add no header and end no line, over SMTP and through
// Mailgun alike, and the subject is read as it was meant.
func FuzzHeader(f *testing.F) {
	for _, title := range channeltest.Titles {
		f.Add("noreply@tocsin.example", title, "17-3", "observation-12", title)
		f.Add("Tocsin "+title+" <noreply@tocsin.example>", "x", title, title, "Alex")
	}
	f.Add("=?utf-8?q?a=0d=0ab?= <a@b>", "=?utf-8?q?a=0d=0ab?=", "\x00", "\u2028", "")
	f.Add(`"a\"b" <a@b>`, "a\u0085b\u2029c", ">", "<", "\n.\n")
	f.Fuzz(func(t *testing.T, from, headline, id, thread, greeting string) {
		m := &channel.Message{From: from, Headline: headline, ID: id, Thread: thread, Greeting: greeting, Reason: greeting}
		l, err := compose(alex, m)
		if err != nil {
			return
		}
		if n := channel.Length(l.subject); n > maxSubject+len(subjectPrefix) || !utf8.ValidString(l.subject) {
			t.Errorf("the subject has %d characters", n)
		}
		overSMTP(t, l, m)
		throughMailgun(t, l, m)
	})
}

func overSMTP(t *testing.T, l *letter, m *channel.Message) {
	msg, err := message(l)
	if err != nil {
		t.Fatalf("%q: %v", m.From, err)
	}
	var raw bytes.Buffer
	if _, err := msg.WriteTo(&raw); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(raw.String(), "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
			t.Errorf("line %q", line)
		}
	}
	got, err := mail.ReadMessage(&raw)
	if err != nil {
		t.Fatalf("read the mail: %v\n%q", err, head)
	}
	want := []string{"Auto-Submitted", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To", "X-Auto-Response-Suppress"}
	if m.Thread != "" {
		want = append(want, "References", "In-Reply-To")
	}
	slices.Sort(want)
	if keys := slices.Sorted(maps.Keys(got.Header)); !slices.Equal(keys, want) {
		t.Errorf("headers %q", keys)
	}
	for key, values := range got.Header {
		if len(values) != 1 {
			t.Errorf("%s: %q", key, values)
		}
	}
	if s := decoded(t, got.Header.Get("Subject")); strings.TrimSpace(s) != strings.TrimSpace(l.subject) {
		t.Errorf("subject %q, want %q", s, l.subject)
	}
	if to, err := got.Header.AddressList("To"); err != nil || len(to) != 1 || to[0].Address != l.to {
		t.Errorf("to %q: %v", got.Header.Get("To"), err)
	}
	sender, err := mail.ParseAddress(m.From)
	if err != nil {
		t.Fatal(err)
	}
	if sender.Address, err = encodeDomain(sender.Address); err != nil {
		t.Fatal(err)
	}
	if list, err := got.Header.AddressList("From"); err != nil || len(list) != 1 || list[0].Address != sender.Address {
		t.Errorf("from %q: %v", got.Header.Get("From"), err)
	}
}

func throughMailgun(t *testing.T, l *letter, m *channel.Message) {
	var got request
	g := NewMailgun("tocsin.example", channeltest.Secret, "https://api.mailgun.example", &http.Client{Transport: mailgunOf(func(r *http.Request) { got.read(t, r) })})
	if err := g.Send(t.Context(), alex, m); err != nil {
		t.Fatal(err)
	}
	want := []string{"from", "h:Auto-Submitted", "h:Message-Id", "h:X-Auto-Response-Suppress", "html", "o:tracking", "subject", "text", "to"}
	if m.Thread != "" {
		want = append(want, "h:References", "h:In-Reply-To")
	}
	slices.Sort(want)
	if fields := slices.Sorted(maps.Keys(got.form)); !slices.Equal(fields, want) {
		t.Errorf("fields %q", fields)
	}
	for field, values := range got.form {
		if len(values) != 1 || field != "text" && field != "html" && strings.ContainsFunc(values[0], unicode.IsControl) {
			t.Errorf("%s: %q", field, values)
		}
	}
	if s := got.form["subject"]; len(s) != 1 || s[0] != l.subject {
		t.Errorf("subject %q, want %q", s, l.subject)
	}
}

// mailgunOf is a transport that goes nowhere: Mailgun takes every mail.
type mailgunOf func(*http.Request)

func (m mailgunOf) RoundTrip(r *http.Request) (*http.Response, error) {
	m(r)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(queued)), Request: r}, nil
}

func FuzzMailgunAnswers(f *testing.F) {
	channeltest.FuzzAnswers(f, func(client *http.Client) (channel.Sender, channel.Target) {
		return NewMailgun("tocsin.example", channeltest.Secret, "https://api.mailgun.example", client), alex
	}, queued, `{"message":"Domain not found: x"}`)
}

// FuzzSMTPAnswers gives the sender anything that a mail server may say, all of it at once.
func FuzzSMTPAnswers(f *testing.F) {
	for _, seed := range []string{
		"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n221 bye\r\n", "220 x\r\n250-x\r\n250 STARTTLS\r\n220 go\r\nnonsense",
		"220 x\r\n250-x\r\n250 AUTH PLAIN\r\n535 5.7.8 " + channeltest.Gossip + "\r\n", "220 x\r\n250 x\r\n250 ok\r\n550 5.1.1 " + channeltest.Gossip + "\r\n",
		"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n552 5.3.4\r\n", "220-\r\n220-\r\n999999999999 x\r\n", "250-" + strings.Repeat("x", 5000) + "\r\n",
		"\x00\xff\r\n-1\r\n2\r\n250 AUTH\r\n", "",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	said := make(chan string, 1)
	port := serveAnswers(f, said)
	f.Fuzz(func(t *testing.T, answers string, login bool) {
		said <- answers
		config := SMTPConfig{Host: "127.0.0.1", Port: port, TLS: TLSNone}
		if login {
			config.User, config.Password = "tocsin", channeltest.Secret
		}
		err := newSMTP(t, config).Send(t.Context(), alex, channeltest.Message("x"))
		if err == nil {
			return
		}
		channeltest.NoLeak(t, err)
		var e *channel.Error
		if !errors.As(err, &e) || e.Reason == "" || len(e.Reason) > 200 || strings.ContainsFunc(e.Reason, unicode.IsControl) {
			t.Errorf("%T %q", err, err)
		}
	})
}

// serveAnswers takes one connection after the other, says what it is given without listening, and returns its port.
func serveAnswers(f *testing.F, said <-chan string) int {
	f.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		f.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, <-said)
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	f.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).Port
}
