package email

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/textproto"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/seed91453169/tocsin/channel"
)

const (
	smtpName = "the mail server"
	// maxConnections bounds the connections at once: mail servers allow each client some tens of them
	// (https://www.postfix.org/postconf.5.html#smtpd_client_connection_count_limit: 50).
	maxConnections = 20
	dialTimeout    = 10 * time.Second
	quitTimeout    = time.Second
	// sendTime is how long the sending of one mail may take.
	sendTime = 20 * time.Minute
)

// times are how long a mail server may take for one answer.
type times struct {
	open, mail time.Duration // until the login is over, and afterwards
	probe      time.Duration // for a greeting, before speaksTLS runs
}

// standardTimes has the times of https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2, 5 minutes for a greeting and
// for most commands and 10 minutes after a mail; probe is Tocsin's own.
var standardTimes = times{open: 5 * time.Minute, mail: 10 * time.Minute, probe: 3 * time.Second}

// Ways to encrypt the connection to a mail server.
const (
	TLSStart    = "starttls" // required: a server that does not offer it is not used
	TLSOffered  = "offered"  // STARTTLS where the server offers it, else as TLSNone: for a server on this machine
	TLSImplicit = "implicit"
	TLSNone     = "none" // no encryption, not even of passwords
)

// SMTPConfig says how to reach a mail server.
type SMTPConfig struct {
	Host     string
	Port     int    // 0: 587, 465 for TLSImplicit, 25 for TLSNone
	User     string // empty: no login
	Password channel.Secret
	TLS      string         // empty: TLSStart
	Helo     string         // the name in HELO; empty: the host name or, where that has no dot, the sender's domain
	RootCAs  *x509.CertPool // nil: those of the system
}

// SMTP sends mail through a mail server, with a connection for each mail; it implements channel.Sender.
type SMTP struct {
	config   SMTPConfig
	hostname string // of this machine; empty where it is not known
	times    times
	slots    chan struct{} // holds one value for each connection
}

// NewSMTP returns a sender, or an error where config is not valid. It does not connect; Ping does.
func NewSMTP(config SMTPConfig) (*SMTP, error) {
	standard := map[string]int{TLSStart: 587, TLSOffered: 587, TLSImplicit: 465, TLSNone: 25}
	if config.TLS == "" {
		config.TLS = TLSStart
	}
	port, ok := standard[config.TLS]
	switch {
	case !ok:
		return nil, errors.New("unknown way to encrypt the connection to the mail server")
	case config.Host == "":
		return nil, errors.New("the mail server has no host")
	case config.Port < 0 || config.Port > 65535:
		return nil, errors.New("the mail server has a port that does not exist")
	case config.Port == 0:
		config.Port = port
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = ""
	}
	return &SMTP{config: config, hostname: hostname, times: standardTimes, slots: make(chan struct{}, maxConnections)}, nil
}

// SendTime implements channel.Patient.
func (*SMTP) SendTime() time.Duration { return sendTime }

// helo returns the name of this host in HELO: the configured one, else the host name where it has a dot, else the
// domain of the sender. Many servers refuse a name without a dot.
func (s *SMTP) helo(from string) string {
	switch {
	case s.config.Helo != "":
		return s.config.Helo
	case strings.Contains(s.hostname, ".") && isASCII(s.hostname):
		return s.hostname
	}
	return cmp.Or(from[strings.LastIndexByte(from, '@')+1:], s.hostname, "localhost")
}

// Send implements channel.Sender. No answer, and an answer 4xx, are temporary; 5xx is permanent. A refusal of TLS,
// login or HELO is a fault of the configuration: no mail is lost until the operator has mended it.
func (s *SMTP) Send(ctx context.Context, to channel.Target, m *channel.Message) error {
	l, err := compose(to, m)
	if err != nil {
		return err
	}
	msg, err := message(l)
	if err != nil {
		return err
	}
	return s.withSession(ctx, l.sender, func(c *session) error {
		if err := c.allowUTF8(l.sender + l.to); err != nil {
			return err
		}
		err := c.client.SendWithSMTPClient(c.smtp, msg)
		if err == nil || msg.IsDelivered() { // an answer lost after the acceptance must not send it again
			return nil
		}
		var refused *gomail.SendError
		if errors.As(err, &refused) && refused.ErrorCode() > 0 {
			return answerError(refused.ErrorCode(), refused.EnhancedStatusCode(), refused.Error())
		}
		return c.broken(ctx, io.ErrUnexpectedEOF) // go-mail keeps the cause to itself
	})
}

// Ping connects, encrypts and logs in. Where from, the sender's address, is not empty, it also asks whether the server
// would accept a mail from that address to itself. It sends no mail.
func (s *SMTP) Ping(ctx context.Context, from string) error {
	if from == "" {
		return s.withSession(ctx, "", func(*session) error { return nil })
	}
	l, err := compose(channel.Target{Address: channel.Secret(bare(from))}, &channel.Message{From: from})
	if err != nil {
		return err
	}
	return s.withSession(ctx, l.sender, func(c *session) error {
		if err := c.allowUTF8(l.sender); err != nil {
			return err
		}
		err := c.smtp.Mail("<" + l.sender + ">")
		if err == nil {
			err = c.smtp.Rcpt("<" + l.to + ">")
		}
		if err == nil {
			return nil
		}
		if refused, ok := errors.AsType[*textproto.Error](err); ok {
			return answerError(refused.Code, enhancedCode.FindString(refused.Msg), refused.Msg)
		}
		return c.broken(ctx, err)
	})
}

// enhancedCode finds the status code of https://www.rfc-editor.org/rfc/rfc3463 in an answer.
var enhancedCode = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\b`)

// message converts l for go-mail. It uses only setters that encode untrusted text; all names of headers are fixed.
func message(l *letter) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if msg.From(l.from) != nil || msg.To(l.to) != nil {
		return nil, permanent("an address of the mail is not valid")
	}
	msg.Subject(l.subject)
	msg.SetMessageIDWithValue(l.messageID)
	msg.SetDate()
	for _, h := range l.headers {
		msg.SetGenHeader(gomail.Header(h.name), h.value)
	}
	msg.SetBodyString(gomail.TypeTextPlain, l.text)
	msg.AddAlternativeString(gomail.TypeTextHTML, l.html)
	return msg, nil
}

// withSession opens a session for a mail whose sender is from, encrypted and logged in as configured, runs do with it,
// and closes it. It returns by the deadline of ctx.
func (s *SMTP) withSession(ctx context.Context, from string, do func(*session) error) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return channel.NetworkError(smtpName, ctx.Err())
	}
	c := &session{config: s.config, helo: s.helo(from), times: s.times}
	defer c.close()
	if err := c.open(ctx); err != nil {
		return c.broken(ctx, err)
	}
	c.conn.answer.Store(int64(s.times.mail))
	return do(c)
}

func (s *SMTPConfig) address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

func (s *SMTPConfig) tls() *tls.Config {
	return &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12, RootCAs: s.RootCAs}
}

// answerError returns the error of an answer of the mail server to a mail. The error holds no text of the answer but
// its enhanced status code, which is digits (https://www.rfc-editor.org/rfc/rfc3463). 530, 534, 535 and 538 are about
// TLS or the login, and some answers are about the name in HELO: those are faults of the configuration, not of the
// mail.
func answerError(code int, enhanced, text string) *channel.Error {
	e := &channel.Error{Kind: channel.Permanent, TooLarge: enhanced == "5.3.4" || code == 552 && enhanced == ""}
	e.Status = strings.TrimSpace(strconv.Itoa(code) + " " + enhanced)
	what := ": the mail was refused"
	switch {
	case code == 504 || aboutHelo.MatchString(text):
		e.Kind, what = channel.Configuration, heloRefused
	case code == 530 && strings.Contains(strings.ToUpper(text), "STARTTLS"):
		e.Kind, what = channel.Configuration, ": it requires encryption (STARTTLS): remove tls=none from SMTP_URL"
	case code == 530 || code == 534 || code == 535 || code == 538:
		e.Kind, what = channel.Configuration, ": the login was refused"
	case code < 500:
		e.Kind, what = channel.Temporary, ": not now"
	case e.TooLarge:
		what = ": the mail is too large"
	case enhanced == "5.1.1":
		what = ": there is no such mailbox"
	case enhanced == "5.2.2":
		what = ": the mailbox is full"
	}
	e.Reason = smtpName + " answered " + e.Status + what
	return e
}

const heloRefused = ": it does not accept the name of this host (HELO): " +
	"set ?helo= in SMTP_URL to a full name such as mail.example.com"

// aboutHelo matches the text of an answer about the name in HELO. Many servers refuse that name only at RCPT.
var aboutHelo = regexp.MustCompile(`(?i)\b(helo|ehlo)\b( command| name| host|:|/)|\b(invalid|bad|wrong) (helo|ehlo)\b`)
