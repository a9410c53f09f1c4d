package email

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/seed91453169/tocsin/channel"
)

// session is one connection to a mail server.
type session struct {
	config SMTPConfig
	conn   net.Conn // the connection itself, below TLS
	client *gomail.Client
	smtp   *smtp.Client
	stop   func() bool // ends the watch over the context
}

// open connects, encrypts and logs in.
func (c *session) open(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	options := []gomail.Option{
		gomail.WithPort(c.config.Port),
		gomail.WithTLSConfig(c.config.tls()),
		gomail.WithTimeout(time.Until(deadline)),
		gomail.WithDialContextFunc(func(dialCtx context.Context, network, _ string) (net.Conn, error) {
			return c.dial(dialCtx, ctx, network)
		}),
		gomail.WithoutNoop(), gomail.WithoutRset(), // one mail a connection needs neither
	}
	switch c.config.TLS {
	case TLSStart:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case TLSOffered:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case TLSImplicit: // with a dialer of one's own this encrypts nothing: dial does
		options = append(options, gomail.WithSSL())
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	options = append(options, c.login()...)
	var err error
	if c.client, err = gomail.NewClient(c.config.Host, options...); err != nil {
		return err
	}
	c.smtp, err = c.client.DialToSMTPClientWithContext(ctx)
	return err
}

// login lists the ways to log in, best first. A password goes in clear text only where TLSNone or TLSOffered ask for it, and only if
// the server knows no better way.
func (c *session) login() []gomail.Option {
	if c.config.User == "" {
		return nil
	}
	mechanisms := []gomail.SMTPAuthType{gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthCramMD5}
	if c.config.TLS == TLSNone || c.config.TLS == TLSOffered {
		mechanisms = []gomail.SMTPAuthType{
			gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthCramMD5, gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc,
		}
	}
	return []gomail.Option{
		gomail.WithUsername(c.config.User), gomail.WithPassword(c.config.Password.Reveal()),
		gomail.WithOpportunisticSMTPAuth(mechanisms...),
	}
}

// dial is go-mail's dialer; ctx ends with the dialling, all with the session. It keeps the connection, because go-mail
// leaves it open where TLS or login fail.
func (c *session) dial(ctx, all context.Context, network string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, c.config.address())
	if err != nil {
		return nil, err
	}
	end, _ := all.Deadline()
	c.conn = &bounded{Conn: conn, end: end}
	c.stop = context.AfterFunc(all, func() { _ = conn.Close() })
	if c.config.TLS != TLSImplicit {
		return c.conn, nil
	}
	secure := tls.Client(c.conn, c.config.tls())
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err // close closes it
	}
	return secure, nil
}

// close says goodbye where that can be done quickly, and closes the connection in any case.
func (c *session) close() {
	if c.conn == nil {
		return
	}
	if c.smtp != nil {
		if b, ok := c.conn.(*bounded); ok {
			b.end = minTime(b.end, time.Now().Add(quitTimeout))
			_ = b.SetDeadline(b.end)
		}
		_ = c.smtp.Quit()
	}
	c.stop()
	_ = c.conn.Close()
}

// broken says in words what is wrong with the connection; all of it is temporary, a refused login too, for that is the
// operator's to mend. err itself is left out: it may hold hosts, user names and texts of the server.
func (c *session) broken(ctx context.Context, err error) *channel.Error {
	if end, _ := ctx.Deadline(); ctx.Err() != nil || !time.Now().Before(end) { // the connection may notice it first
		return channel.NetworkError(smtpName, cmp.Or(ctx.Err(), context.DeadlineExceeded))
	}
	var answer *textproto.Error
	text := err.Error()
	e := &channel.Error{Kind: channel.Temporary}
	switch {
	case errors.As(err, &answer) && strings.HasPrefix(text, "SMTP AUTH"):
		e.Reason = fmt.Sprintf("%s answered %d: the login was refused", smtpName, answer.Code)
	case errors.As(err, &answer):
		e.Reason = fmt.Sprintf("%s answered %d: it does not serve us", smtpName, answer.Code)
	case strings.Contains(text, "not support STARTTLS"):
		e.Reason = smtpName + " offers no encryption (STARTTLS), which is required"
	case errors.Is(err, gomail.ErrNoSupportedAuthDiscovered), strings.Contains(text, "AUTH"):
		e.Reason = smtpName + " offers no way to log in that we know"
	default:
		return channel.NetworkError(smtpName, err)
	}
	return e
}

// bounded keeps go-mail, which starts its time-out anew with every step, from setting a deadline after end.
type bounded struct {
	net.Conn
	end time.Time
}

func (b *bounded) SetDeadline(t time.Time) error { return b.Conn.SetDeadline(minTime(t, b.end)) }

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
