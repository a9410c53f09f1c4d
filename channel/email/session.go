package email

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/seed91453169/tocsin/channel"
)

// session is one connection to a mail server.
type session struct {
	config SMTPConfig
	helo   string
	times  times
	conn   *steadyConn // the connection itself, below TLS; nil before it is made
	client *gomail.Client
	smtp   *smtp.Client
	stop   func() bool // ends the watch over the context

	tlsAtOnce atomic.Bool // the server waits for TLS from the first byte on
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
		gomail.WithoutNoop(), gomail.WithoutRset(), // a connection for one mail needs neither
		gomail.WithHELO(c.helo),
	}
	switch c.config.TLS {
	case TLSStart:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case TLSOffered:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case TLSImplicit: // with our own dialer this encrypts nothing: dial does
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

// login lists the ways to log in, the preferred one first. A password goes in clear text only with TLSNone or
// TLSOffered, and only where the server knows no better way.
func (c *session) login() []gomail.Option {
	if c.config.User == "" {
		return nil
	}
	mechanisms := []gomail.SMTPAuthType{
		gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthCramMD5,
	}
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

// dial is the dialer of go-mail. dialCtx ends with the dialling, sessionCtx with the whole session. dial keeps the
// connection for close, because go-mail leaves it open where TLS or login fail.
func (c *session) dial(dialCtx, sessionCtx context.Context, network string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(dialCtx, network, c.config.address())
	if err != nil {
		return nil, err
	}
	c.conn = &steadyConn{Conn: conn}
	c.conn.end, _ = sessionCtx.Deadline()
	c.conn.answer.Store(int64(c.times.open))
	c.stop = context.AfterFunc(sessionCtx, func() { _ = conn.Close() })
	if c.config.TLS != TLSImplicit {
		c.conn.silence = time.AfterFunc(c.times.probe, func() {
			if c.speaksTLS(sessionCtx) {
				c.tlsAtOnce.Store(true)
				_ = conn.Close()
			}
		})
		return c.conn, nil
	}
	secure := tls.Client(c.conn, c.config.tls())
	if err := secure.HandshakeContext(dialCtx); err != nil {
		return nil, err // close closes it
	}
	return secure, nil
}

// speaksTLS finds out, over a connection of its own, whether a server that sends no greeting waits for TLS.
func (c *session) speaksTLS(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	// #nosec G402 -- only whether it is TLS counts; nothing is sent
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", c.config.address())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// allowUTF8 uses SMTPUTF8 (https://www.rfc-editor.org/rfc/rfc6531) only where addresses need it, because the next
// server may not know it. It returns an error where this server does not.
func (c *session) allowUTF8(addresses string) error {
	if isASCII(addresses) {
		c.smtp.SkipSMTPUTF8(true)
		return nil
	}
	if offered, _ := c.smtp.Extension("SMTPUTF8"); !offered {
		return &channel.Error{
			Kind:   channel.Permanent,
			Reason: smtpName + " does not offer SMTPUTF8, which an address with letters beyond ASCII before its @ needs",
		}
	}
	return nil
}

// close sends QUIT where the server answers quickly, and closes the connection in any case.
func (c *session) close() {
	if c.conn == nil {
		return
	}
	if c.smtp != nil {
		c.conn.answer.Store(int64(quitTimeout))
		_ = c.smtp.Quit()
	}
	c.stop()
	if c.conn.silence != nil {
		c.conn.silence.Stop()
	}
	_ = c.conn.Close()
}

// broken returns the error of a connection that failed. It is never permanent, not even for a refused login, because
// the operator can change the configuration. The text of err is left out: it may hold hosts, user names and texts of
// the server.
func (c *session) broken(ctx context.Context, err error) *channel.Error {
	if c.tlsAtOnce.Load() {
		return &channel.Error{
			Kind:   channel.Configuration,
			Reason: smtpName + " speaks TLS from the first byte on at this port: write smtps:// instead of smtp:// in SMTP_URL",
		}
	}
	late := c.conn != nil && c.conn.late.Load()
	// The connection may notice the deadline before the context does.
	if end, _ := ctx.Deadline(); late || ctx.Err() != nil || !time.Now().Before(end) {
		return channel.NetworkError(smtpName, cmp.Or(ctx.Err(), context.DeadlineExceeded))
	}
	var answer *textproto.Error
	text := err.Error()
	e := &channel.Error{Kind: channel.Configuration}
	if errors.As(err, &answer) {
		e.Status = strconv.Itoa(answer.Code)
	}
	switch {
	case answer != nil && strings.HasPrefix(text, "SMTP AUTH"):
		e.Reason = smtpName + " answered " + e.Status + ": the login was refused"
	case answer != nil && (answer.Code == 501 || answer.Code == 504 || aboutHelo.MatchString(answer.Msg)):
		e.Reason = smtpName + " answered " + e.Status + heloRefused
	case answer != nil:
		e.Kind = channel.Temporary
		e.Reason = smtpName + " answered " + e.Status + ": it does not accept this connection"
	case strings.Contains(text, "not support STARTTLS"):
		e.Reason = smtpName + " offers no encryption (STARTTLS), which is required"
	case errors.Is(err, gomail.ErrNoSupportedAuthDiscovered), strings.Contains(text, "AUTH"):
		e.Reason = smtpName + " offers no way to log in that Tocsin knows"
	default:
		return channel.NetworkError(smtpName, err)
	}
	return e
}

// steadyConn is a connection that gives the server the same time for each answer, but never beyond end, whatever
// deadlines go-mail sets.
type steadyConn struct {
	net.Conn
	end     time.Time
	answer  atomic.Int64 // time for one answer, a time.Duration
	silence *time.Timer  // runs until the first bytes of the server; nil: none
	late    atomic.Bool  // an answer did not come in time
}

// Read implements net.Conn.
func (c *steadyConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(c.next()); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.late.Store(true)
	}
	if c.silence != nil && n > 0 {
		c.silence.Stop()
	}
	return n, err
}

// Write implements net.Conn.
func (c *steadyConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(c.next()); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// SetDeadline implements net.Conn. It does nothing: Read and Write set deadlines of their own.
func (c *steadyConn) SetDeadline(time.Time) error { return nil }

// next returns the deadline of the next answer.
func (c *steadyConn) next() time.Time {
	next := time.Now().Add(time.Duration(c.answer.Load()))
	if c.end.Before(next) {
		return c.end
	}
	return next
}
