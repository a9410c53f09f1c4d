package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/seed91453169/tocsin/channel"
)

const (
	smtpName = "the mail server"
	// maxConnections bounds the connections at once: mail servers allow each client some tens of them
	// (https://www.postfix.org/postconf.5.html#smtpd_client_connection_count_limit: 50).
	maxConnections = 20
	smtpTimeout    = 60 * time.Second // of one mail, where the context has no deadline
	quitTimeout    = time.Second
)

// Ways to encrypt the connection to a mail server.
const (
	TLSStart    = "starttls" // required: a server that does not offer it is not used
	TLSOffered  = "offered"  // STARTTLS where the server offers it; else passwords too go in clear text: for the own machine
	TLSImplicit = "implicit"
	TLSNone     = "none" // passwords too go in clear text
)

// SMTPConfig says how to reach a mail server.
type SMTPConfig struct {
	Host     string
	Port     int    // 0: 587, 465 for TLSImplicit, 25 for TLSNone
	User     string // empty: no login
	Password channel.Secret
	TLS      string         // empty: TLSStart
	RootCAs  *x509.CertPool // nil: those of the system
}

// SMTP sends mail through a mail server, with a connection for each mail; it implements channel.Sender.
type SMTP struct {
	config SMTPConfig
	slots  chan struct{}
}

// NewSMTP returns a sender, or what is wrong with config. It does not connect: see Ping.
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
	return &SMTP{config: config, slots: make(chan struct{}, maxConnections)}, nil
}

// Send implements channel.Sender. An answer 4xx is temporary, 5xx permanent; no answer, and what concerns the connection
// rather than this mail (greeting, TLS, login), is temporary: the operator will mend it, and nothing is to be lost by then.
func (s *SMTP) Send(ctx context.Context, to channel.Target, m *channel.Message) error {
	l, err := compose(to, m)
	if err != nil {
		return err
	}
	msg, err := message(l)
	if err != nil {
		return err
	}
	return s.with(ctx, func(c *session) error {
		err := c.client.SendWithSMTPClient(c.smtp, msg)
		if err == nil || msg.IsDelivered() { // an answer lost after the acceptance must not send it again
			return nil
		}
		var refused *gomail.SendError
		if errors.As(err, &refused) && refused.ErrorCode() > 0 {
			return answerError(refused.ErrorCode(), refused.EnhancedStatusCode())
		}
		return c.broken(ctx, io.ErrUnexpectedEOF) // go-mail keeps the cause to itself
	})
}

// Ping connects, encrypts, logs in and leaves.
func (s *SMTP) Ping(ctx context.Context) error {
	return s.with(ctx, func(*session) error { return nil })
}

// message is l in go-mail's form. Only setters that encode untrusted text are used; all names of headers are fixed.
func message(l *letter) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if msg.From(l.from) != nil || msg.To(l.to) != nil {
		return nil, &channel.Error{Kind: channel.Permanent, Reason: "an address of the mail is not valid"}
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

// with runs do with a connection that is encrypted and logged in as configured, and closes it. All of it ends by the
// deadline of ctx.
func (s *SMTP) with(ctx context.Context, do func(*session) error) error {
	ctx, cancel := context.WithTimeout(ctx, smtpTimeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return channel.NetworkError(smtpName, ctx.Err())
	}
	c := &session{config: s.config}
	defer c.close()
	if err := c.open(ctx); err != nil {
		return c.broken(ctx, err)
	}
	return do(c)
}

func (s *SMTPConfig) address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

func (s *SMTPConfig) tls() *tls.Config {
	return &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12, RootCAs: s.RootCAs}
}

// answerError says what an answer of a mail server to a mail means. Of its text only the enhanced status code is kept,
// which is digits (https://www.rfc-editor.org/rfc/rfc3463). 530 to 538 are about the login, not about the mail.
func answerError(code int, enhanced string) *channel.Error {
	e := &channel.Error{Kind: channel.Permanent, TooLarge: enhanced == "5.3.4" || code == 552 && enhanced == ""}
	told := strconv.Itoa(code)
	if enhanced != "" {
		told += " " + enhanced
	}
	what := ": the mail was refused"
	switch {
	case code == 530 || code == 534 || code == 535 || code == 538:
		e.Kind, what = channel.Temporary, ": the login was refused"
	case code < 500:
		e.Kind, what = channel.Temporary, ": not now"
	case e.TooLarge:
		what = ": the mail is too large"
	case enhanced == "5.1.1":
		what = ": there is no such mailbox"
	case enhanced == "5.2.2":
		what = ": the mailbox is full"
	}
	e.Reason = fmt.Sprintf("%s answered %s%s", smtpName, told, what)
	return e
}
