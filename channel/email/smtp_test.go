package email

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
)

// dialogue is what a server says that takes everything.
var dialogue = map[string]string{
	"EHLO": "250-mail.example.com\r\n250 ENHANCEDSTATUSCODES\r\n", "MAIL": "250 2.1.0 ok\r\n", "RCPT": "250 2.1.5 ok\r\n",
	"DATA": "354 go on\r\n", ".": "250 2.0.0 kept\r\n", "QUIT": "221 2.0.0 bye\r\n", "RSET": "250 2.0.0 ok\r\n",
}

func but(key, answer string) map[string]string {
	d := maps.Clone(dialogue)
	d[key] = answer
	return d
}

const greeting = "220 mail.example.com ESMTP\r\n"

func TestSMTPSuite(t *testing.T) {
	t.Parallel()
	suite := channeltest.Suite{
		Accepts: (&mailServer{}).setup(nil),
		Refuses: func(t *testing.T) (channel.Sender, channel.Target) {
			return newSMTP(t, plainConfig(t, channeltest.ClosedPort(t))), smtpTarget()
		},
		Hangs:     script("", nil),
		BreaksOff: script(greeting, but(".", "")),
	}
	add := func(name string, setup channeltest.Setup, kind channel.Kind, says string) {
		suite.Cases = append(suite.Cases, channeltest.Case{Name: name, Setup: setup, Want: channeltest.Want{Kind: kind, Says: says}})
	}
	for _, code := range []int{421, 450, 451, 452, 454, 500, 503, 550, 551, 553, 554, 571} {
		refusal := &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 7, 1}, Message: channeltest.Gossip}
		kind := channel.Temporary
		if code >= 500 {
			kind = channel.Permanent
		}
		shown := fmt.Sprintf("%d %d.7.1", code, code/100)
		add(fmt.Sprintf("MAIL %d", code), (&mailServer{mail: refusal}).setup(nil), kind, shown)
		add(fmt.Sprintf("RCPT %d", code), (&mailServer{rcpt: refusal}).setup(nil), kind, shown)
		add(fmt.Sprintf("DATA %d", code), (&mailServer{data: refusal}).setup(nil), kind, shown)
	}
	add("no mailbox", (&mailServer{rcpt: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}}}).setup(nil), channel.Permanent, "no such mailbox")
	add("mailbox full", (&mailServer{rcpt: &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 2, 2}}}).setup(nil), channel.Permanent, "full")
	add("login refused", (&mailServer{auth: &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: channeltest.Gossip}}).setup(nil), channel.Configuration, "535: the login was refused")
	add("login required", (&mailServer{mail: &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}}}).setup(nil), channel.Configuration, "login")
	add("unknown ways to log in", (&mailServer{mechanisms: []string{"GSSAPI"}}).setup(nil), channel.Configuration, "no way to log in")
	add("no STARTTLS", (&mailServer{noTLS: true}).setup(nil), channel.Configuration, "STARTTLS")
	add("certificate of nobody", (&mailServer{}).setup(func(c *SMTPConfig) { c.RootCAs = nil }), channel.Temporary, "certificate")
	add("certificate of nobody, implicit", (&mailServer{implicit: true}).setup(func(c *SMTPConfig) { c.RootCAs = nil }), channel.Temporary, "certificate")
	add("certificate of another", (&mailServer{}).setup(func(c *SMTPConfig) { c.Host = "localhost" }), channel.Temporary, "certificate")
	add("clear text where TLS is meant", (&mailServer{noTLS: true}).setup(func(c *SMTPConfig) { c.TLS = TLSImplicit }), channel.Temporary, "")
	add("greeting 554", script("554 "+channeltest.Gossip+"\r\n", nil), channel.Temporary, "554")
	add("greeting 421", script("421 "+channeltest.Gossip+"\r\n", nil), channel.Temporary, "421")
	add("not SMTP", script("HTTP/1.1 400 "+channeltest.Gossip+"\r\n", nil), channel.Temporary, "")
	add("EHLO and HELO refused", script(greeting, map[string]string{"EHLO": "550 no\r\n", "HELO": "550 no\r\n"}), channel.Temporary, "550")
	for _, key := range []string{"EHLO", "MAIL", "RCPT", "DATA", "."} {
		add("breaks off at "+key, script(greeting, but(key, "")), channel.Temporary, "broke off")
		suite.Cases = append(suite.Cases, channeltest.Case{
			Name: "hangs at " + key, Setup: script(greeting, but(key, "…")), Hangs: true, Want: channeltest.Want{Kind: channel.Temporary, Says: "in time"},
		})
	}
	for name, code := range map[string]smtp.EnhancedCode{"with": {5, 3, 4}, "without": smtp.NoEnhancedCode} {
		suite.Cases = append(suite.Cases, channeltest.Case{
			Name:  "too large, " + name + " enhanced code",
			Setup: (&mailServer{data: &smtp.SMTPError{Code: 552, EnhancedCode: code}}).setup(nil),
			Want:  channeltest.Want{Kind: channel.Permanent, TooLarge: true, Says: "too large"},
		})
	}
	accepted := channeltest.Want{OK: true}
	suite.Cases = append(suite.Cases,
		channeltest.Case{Name: "breaks off after it was accepted", Setup: script(greeting, but("QUIT", "")), Want: accepted},
		channeltest.Case{Name: "hangs after it was accepted", Setup: script(greeting, but("QUIT", "…")), Want: accepted},
		channeltest.Case{Name: "implicit TLS", Setup: (&mailServer{implicit: true}).setup(nil), Want: accepted},
		channeltest.Case{Name: "no TLS", Setup: (&mailServer{noTLS: true}).setup(func(c *SMTPConfig) { c.TLS = TLSNone }), Want: accepted},
		channeltest.Case{Name: "TLS if offered: not", Setup: (&mailServer{noTLS: true}).setup(func(c *SMTPConfig) { c.TLS = TLSOffered }), Want: accepted},
		channeltest.Case{Name: "TLS if offered", Setup: (&mailServer{}).setup(func(c *SMTPConfig) { c.TLS = TLSOffered }), Want: accepted},
		channeltest.Case{Name: "no login", Setup: (&mailServer{}).setup(func(c *SMTPConfig) { c.User = "" }), Want: accepted},
	)
	suite.Run(t)
}

// TestImplicitTLSIsEncrypted: not a byte goes out that is not TLS.
func TestImplicitTLSIsEncrypted(t *testing.T) {
	t.Parallel()
	first := make(chan byte, 1)
	addr := channeltest.Listen(t, func(c net.Conn) {
		b := make([]byte, 1)
		if _, err := io.ReadFull(c, b); err == nil {
			first <- b[0]
		}
	})
	config := plainConfig(t, addr)
	config.TLS, config.User, config.Password = TLSImplicit, "tocsin", channeltest.Secret
	channeltest.Check(t, newSMTP(t, config).Send(t.Context(), smtpTarget(), channeltest.Message("x")), channeltest.Want{Kind: channel.Temporary})
	if b := <-first; b != 0x16 { // a TLS handshake record
		t.Errorf("the first byte is %#x", b)
	}
}

// TestNoPasswordWithoutTLS: a server that offers a login but no STARTTLS does not see it.
func TestNoPasswordWithoutTLS(t *testing.T) {
	t.Parallel()
	server := &mailServer{noTLS: true}
	if err := newSMTP(t, server.start(t)).Ping(t.Context(), ""); err == nil || len(server.logins) > 0 {
		t.Errorf("Ping: %v, logins %v", err, server.logins)
	}
}

// TestOfferedTLSIsTaken: what could be encrypted is.
func TestOfferedTLSIsTaken(t *testing.T) {
	t.Parallel()
	for _, noTLS := range []bool{false, true} {
		server := &mailServer{noTLS: noTLS}
		config := server.start(t)
		config.TLS = TLSOffered
		if err := newSMTP(t, config).Send(t.Context(), smtpTarget(), channeltest.Message("x")); err != nil {
			t.Fatal(err)
		}
		if got := server.received(); len(got) != 1 || got[0].tls == noTLS {
			t.Errorf("STARTTLS missing %t: %d mails, %+v", noTLS, len(got), got)
		}
	}
}

// TestSMTPMails sends every kind of message with every title and reads what arrives.
func TestSMTPMails(t *testing.T) {
	t.Parallel()
	server := &mailServer{}
	sender := newSMTP(t, server.start(t))
	var names []string
	for name, m := range channeltest.Messages() {
		if err := sender.Send(t.Context(), smtpTarget(), m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		names = append(names, name)
	}
	all := server.received()
	if len(all) != len(names) {
		t.Fatalf("%d mails, want %d", len(all), len(names))
	}
	for i, d := range all {
		m := channeltest.Messages()[names[i]]
		if d.from != "noreply@tocsin.example" || !slices.Equal(d.to, []string{"alex@example.com"}) || !d.tls {
			t.Errorf("%s: envelope %s %s, TLS %v", names[i], d.from, d.to, d.tls)
		}
		got := readMail(t, d.raw)
		l, err := compose(smtpTarget(), m)
		if err != nil {
			t.Fatal(err)
		}
		if got.text != l.text || strings.TrimRight(got.html, "\r\n") != strings.TrimRight(strings.ReplaceAll(l.html, "\n", "\r\n"), "\r\n") {
			t.Errorf("%s: the body is not what was written", names[i])
		}
		if s := decoded(t, got.header.Get("Subject")); strings.TrimSpace(s) != strings.TrimSpace(l.subject) {
			t.Errorf("%s: subject %q, want %q", names[i], s, l.subject)
		}
		want := map[string]string{
			"From": "<noreply@tocsin.example>", "To": "<alex@example.com>", "Auto-Submitted": "auto-generated",
			"X-Auto-Response-Suppress": "DR, RN, NRN, OOF, AutoReply", "Mime-Version": "1.0",
		}
		if m.ID != "" {
			want["Message-Id"] = "<17-3@tocsin.example>"
		}
		if m.Thread != "" {
			want["References"], want["In-Reply-To"] = "<observation-12@tocsin.example>", "<observation-12@tocsin.example>"
		}
		for key, values := range got.header {
			if w, ok := want[key]; len(values) != 1 || ok && values[0] != w {
				t.Errorf("%s: %s is %q, want %q", names[i], key, values, w)
			}
			if _, ok := want[key]; !ok && !slices.Contains([]string{"Subject", "Date", "Content-Type", "Message-Id"}, key) {
				t.Errorf("%s: header %s: %s", names[i], key, values)
			}
		}
		for key := range want {
			if got.header.Get(key) == "" {
				t.Errorf("%s: no %s", names[i], key)
			}
		}
		for line := range strings.SplitSeq(got.raw, "\r\n") {
			if len(line) > 998 {
				t.Errorf("%s: a line of %d bytes", names[i], len(line))
			}
		}
	}
}

// TestManyConnections: however many mails are sent at once, the server sees a bounded number of connections.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	server := &mailServer{hold: make(chan struct{})}
	sender := newSMTP(t, server.start(t))
	var (
		all  sync.WaitGroup
		sent atomic.Int32
	)
	for range 3 * maxConnections {
		all.Go(func() {
			if err := sender.Send(t.Context(), smtpTarget(), channeltest.Message("x")); err != nil {
				t.Error(err)
				return
			}
			sent.Add(1)
		})
	}
	for range maxConnections { // each of the first ones is in DATA at the same time
		server.hold <- struct{}{}
	}
	close(server.hold)
	all.Wait()
	// A session ends a little after its client has gone, so a few of the next ones may overlap with it.
	if n := sent.Load(); n != 3*maxConnections || server.most > 2*maxConnections {
		t.Errorf("%d sent, %d connections at once", n, server.most)
	}
}

func TestSMTPPing(t *testing.T) {
	t.Parallel()
	for _, server := range []*mailServer{{}, {implicit: true}} {
		if err := newSMTP(t, server.start(t)).Ping(t.Context(), ""); err != nil || len(server.logins) != 1 || len(server.received()) != 0 {
			t.Errorf("Ping: %v, %d logins", err, len(server.logins))
		}
	}
	err := newSMTP(t, (&mailServer{auth: smtp.ErrAuthFailed}).start(t)).Ping(t.Context(), "")
	channeltest.Check(t, err, channeltest.Want{Kind: channel.Configuration, Says: "login was refused"})
}

func TestNewSMTP(t *testing.T) {
	t.Parallel()
	for tls, port := range map[string]int{"": 587, TLSStart: 587, TLSOffered: 587, TLSImplicit: 465, TLSNone: 25} {
		s, err := NewSMTP(SMTPConfig{Host: "mail.example.com", TLS: tls})
		if err != nil || s.config.Port != port {
			t.Errorf("%q: %+v, %v", tls, s, err)
		}
	}
	for _, bad := range []SMTPConfig{{}, {Host: "x", TLS: "ssl"}, {Host: "x", Port: -1}, {Host: "x", Port: 65536}} {
		if _, err := NewSMTP(bad); err == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}
