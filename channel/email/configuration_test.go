package email

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
)

// listening answers like dialogue and keeps the lines that a client says.
func listening(t *testing.T, answers map[string]string) (config SMTPConfig, said func() []string) {
	t.Helper()
	lines := make(chan string, 1000)
	addr := channeltest.Listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, greeting)
		scanner := bufio.NewScanner(c)
		for scanner.Scan() {
			lines <- scanner.Text()
			for key, answer := range answers {
				if strings.HasPrefix(scanner.Text(), key) {
					_, _ = io.WriteString(c, answer)
				}
			}
		}
	})
	return plainConfig(t, addr), func() []string {
		var all []string
		for len(lines) > 0 {
			all = append(all, <-lines)
		}
		return all
	}
}

func TestInternationalDomains(t *testing.T) {
	t.Parallel()
	m := channeltest.Message("Critical: x")
	m.From = "Müller & Söhne <noreply@müller.example>"
	for name, answer := range map[string]string{
		"without SMTPUTF8": dialogue["EHLO"], "with SMTPUTF8": "250-mail.example.com\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
	} {
		config, said := listening(t, but("EHLO", answer))
		err := newSMTP(t, config).Send(t.Context(), channel.Target{Address: "alex@Bücher.example"}, m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		lines := said()
		text := strings.Join(lines, "\n")
		for _, want := range []string{
			"MAIL FROM:<noreply@xn--mller-kva.example>", "RCPT TO:<alex@xn--bcher-kva.example>", "To: <alex@xn--bcher-kva.example>",
			"<noreply@xn--mller-kva.example>", "Message-ID: <17-3@xn--mller-kva.example>",
			"References: <observation-12@xn--mller-kva.example>", "In-Reply-To: <observation-12@xn--mller-kva.example>",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		if strings.Contains(text, " SMTPUTF8") {
			t.Errorf("%s: asks for SMTPUTF8 without need:\n%s", name, text)
		}
		for _, line := range lines {
			if strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
				t.Errorf("%s: line %q", name, line)
			}
		}
	}
	l, err := compose(channel.Target{Address: "alex@bücher.example"}, m)
	if err != nil || l.to != "alex@xn--bcher-kva.example" || !strings.HasSuffix(l.from, "<noreply@xn--mller-kva.example>") {
		t.Errorf("letter %+v, %v", l, err)
	}
}

func TestInternationalLocalPart(t *testing.T) {
	t.Parallel()
	to := channel.Target{Address: "jörg@bücher.example"}
	config, said := listening(t, dialogue)
	err := newSMTP(t, config).Send(t.Context(), to, channeltest.Message("x"))
	channeltest.Check(t, err, channeltest.Want{Kind: channel.Permanent, Says: "SMTPUTF8"})
	if text := strings.Join(said(), "\n"); strings.Contains(text, "RCPT") {
		t.Errorf("it was tried:\n%s", text)
	}
	config, said = listening(t, but("EHLO", "250-mail.example.com\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"))
	if err := newSMTP(t, config).Send(t.Context(), to, channeltest.Message("x")); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(said(), "\n")
	for _, want := range []string{" SMTPUTF8\n", "RCPT TO:<jörg@xn--bcher-kva.example>"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	_, err = compose(channel.Target{Address: "alex@ü-.example"}, channeltest.Message("x"))
	channeltest.Check(t, err, channeltest.Want{Kind: channel.Permanent, Says: "domain"})
}

func TestHELO(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ helo, hostname, want string }{
		{"", "tocsin", "tocsin.example"}, // the domain of the sender
		{"", "", "tocsin.example"},
		{"", "node1.lan", "node1.lan"},
		{"mail.tocsin.example", "node1.lan", "mail.tocsin.example"},
	} {
		config, said := listening(t, dialogue)
		config.Helo = c.helo
		s := newSMTP(t, config)
		s.hostname = c.hostname
		if err := s.Send(t.Context(), alex, channeltest.Message("x")); err != nil {
			t.Fatal(err)
		}
		if first := said()[0]; first != "EHLO "+c.want {
			t.Errorf("%+v: %q", c, first)
		}
	}
}

// TestRefusedConfiguration: what a server refuses because of how Tocsin is configured is tried again, and names it.
func TestRefusedConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers map[string]string
		says    string
	}{
		"Postfix, no dot":    {but("RCPT", "504 5.5.2 <tocsin>: Helo command rejected: need fully-qualified hostname\r\n"), "helo="},
		"Postfix, unknown":   {but("RCPT", "550 5.7.1 <tocsin>: Helo command rejected: Host not found\r\n"), "helo="},
		"Postfix, at MAIL":   {but("MAIL", "501 5.5.2 <tocsin>: Helo command rejected: Invalid name\r\n"), "helo="},
		"at EHLO":            {map[string]string{"EHLO": "501 5.5.4 Invalid domain name\r\n", "HELO": "501 5.5.4 Invalid domain name\r\n"}, "helo="},
		"login before RCPT":  {but("RCPT", "530 5.7.0 Authentication required\r\n"), "login"},
		"STARTTLS must come": {but("MAIL", "530 5.7.0 Must issue a STARTTLS command first\r\n"), "STARTTLS"},
		"sender not ours":    {but("MAIL", "553 5.7.1 <noreply@tocsin.example>: Sender address rejected: not owned by user\r\n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, _ := listening(t, c.answers)
			want := channeltest.Want{Kind: channel.Configuration, Says: c.says}
			if c.says == "" { // it is about the address
				want.Kind = channel.Permanent
			}
			channeltest.Check(t, newSMTP(t, config).Send(t.Context(), alex, channeltest.Message("x")), want)
		})
	}
}

// TestTLSAtOnce: smtp:// at a port that speaks TLS from the first byte is named, in a few seconds, with the remedy.
func TestTLSAtOnce(t *testing.T) {
	t.Parallel()
	for _, way := range []string{TLSStart, TLSOffered, TLSNone} {
		config := (&mailServer{implicit: true}).start(t)
		config.TLS = way
		s := newSMTP(t, config)
		s.times.probe = 10 * time.Millisecond
		channeltest.Check(t, s.Send(t.Context(), alex, channeltest.Message("x")), channeltest.Want{Kind: channel.Configuration, Says: "smtps://"})
	}
}

// TestPatience: a server may take longer for a mail than for its greeting, and no longer than the protocol says.
func TestPatience(t *testing.T) {
	t.Parallel()
	slow := &mailServer{noTLS: true, hold: make(chan struct{})}
	config := slow.start(t)
	config.TLS = TLSNone
	s := newSMTP(t, config)
	s.times.open, s.times.mail = 200*time.Millisecond, 20*time.Second
	go func() {
		<-time.After(600 * time.Millisecond)
		close(slow.hold)
	}()
	if err := s.Send(t.Context(), alex, channeltest.Message("x")); err != nil || len(slow.received()) != 1 {
		t.Errorf("%v, %d mails", err, len(slow.received()))
	}
	for name, answers := range map[string]map[string]string{"open": but("EHLO", "…"), "mail": but("RCPT", "…")} {
		sender, to := script(greeting, answers)(t)
		quick := sender.(*SMTP)
		quick.times.open, quick.times.mail = 200*time.Millisecond, 200*time.Millisecond
		begun := time.Now()
		channeltest.Check(t, quick.Send(t.Context(), to, channeltest.Message("x")), channeltest.Want{Kind: channel.Temporary, Says: "in time"})
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s: %v", name, took)
		}
	}
	if s.SendTime() < 10*time.Minute {
		t.Errorf("a send may take %v: https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 asks for 10 minutes after DATA", s.SendTime())
	}
}

// TestPingSender: Ping goes as far as RCPT for the sender's address, and sends nothing.
func TestPingSender(t *testing.T) {
	t.Parallel()
	config, said := listening(t, dialogue)
	if err := newSMTP(t, config).Ping(t.Context(), "Tocsin <noreply@müller.example>"); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(said(), "\n")
	if !strings.Contains(text, "RCPT TO:<noreply@xn--mller-kva.example>") || strings.Contains(text, "DATA") {
		t.Errorf("said\n%s", text)
	}
	refusing := &mailServer{rcpt: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: channeltest.Gossip}}
	channeltest.Check(t, newSMTP(t, refusing.start(t)).Ping(t.Context(), "noreply@tocsin.example"),
		channeltest.Want{Kind: channel.Permanent, Says: "no such mailbox"})
}
