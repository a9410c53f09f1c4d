package email

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/channel/channeltest"
	"github.com/seed91453169/tocsin/rule"
)

// mailServer is a real SMTP server that fails where a test says so.
type mailServer struct {
	mail, rcpt, data, auth error
	noTLS, implicit        bool
	mechanisms             []string // nil: PLAIN

	mu         sync.Mutex
	got        []delivered
	logins     []string
	open, most int
	hold       chan struct{} // DATA waits for it
}

type delivered struct {
	from string
	to   []string
	raw  []byte
	tls  bool
}

// testTLS is a certificate for 127.0.0.1 and who trusts it.
var testTLS = sync.OnceValues(func() (*tls.Config, *x509.CertPool) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return &tls.Config{Certificates: srv.TLS.Certificates, MinVersion: tls.VersionTLS12}, pool
})

// start runs the server and returns how to reach it.
func (m *mailServer) start(t *testing.T) SMTPConfig {
	t.Helper()
	serverTLS, pool := testTLS()
	srv := smtp.NewServer(m)
	srv.Domain, srv.ErrorLog = "mail.example.com", log.New(io.Discard, "", 0)
	srv.AllowInsecureAuth = true
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	config := SMTPConfig{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: "tocsin", Password: channeltest.Secret, RootCAs: pool,
	}
	switch {
	case m.implicit:
		config.TLS = TLSImplicit
		l = tls.NewListener(l, serverTLS)
	case !m.noTLS:
		srv.TLSConfig = serverTLS
	}
	t.Cleanup(func() { _ = srv.Close() })
	go func() { _ = srv.Serve(l) }()
	return config
}

func (m *mailServer) NewSession(c *smtp.Conn) (smtp.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open++
	m.most = max(m.most, m.open)
	return &mailSession{server: m, conn: c}, nil
}

func (m *mailServer) received() []delivered {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]delivered(nil), m.got...)
}

type mailSession struct {
	server *mailServer
	conn   *smtp.Conn
	mail   delivered
	done   bool
}

func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	s.mail = delivered{from: from}
	return s.server.mail
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.to = append(s.mail.to, to)
	return s.server.rcpt
}

func (s *mailSession) Data(r io.Reader) error {
	var err error
	if s.mail.raw, err = io.ReadAll(r); err != nil {
		return err
	}
	if s.server.hold != nil {
		<-s.server.hold
	}
	if s.server.data != nil {
		return s.server.data
	}
	_, s.mail.tls = s.conn.TLSConnectionState()
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.got = append(s.server.got, s.mail)
	return nil
}

func (s *mailSession) Reset() {}

func (s *mailSession) Logout() error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if !s.done {
		s.done = true
		s.server.open--
	}
	return nil
}

func (s *mailSession) AuthMechanisms() []string {
	if s.server.mechanisms != nil {
		return s.server.mechanisms
	}
	return []string{sasl.Plain}
}

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.logins = append(s.server.logins, user)
		if s.server.auth != nil {
			return s.server.auth
		}
		if user != "tocsin" || password != channeltest.Secret {
			return errors.New("wrong login")
		}
		return nil
	}), nil
}

func smtpTarget() channel.Target {
	return channel.Target{Channel: rule.Email, Address: "alex@example.com"}
}

func newSMTP(t *testing.T, config SMTPConfig) *SMTP {
	t.Helper()
	s, err := NewSMTP(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// setup is the channeltest.Setup of m; change may alter how it is reached.
func (m *mailServer) setup(change func(*SMTPConfig)) channeltest.Setup {
	return func(t *testing.T) (channel.Sender, channel.Target) {
		t.Helper()
		config := m.start(t)
		if change != nil {
			change(&config)
		}
		return newSMTP(t, config), smtpTarget()
	}
}

// script is the Setup of a server without encryption that knows nothing but a script: it answers each line that
// begins as a key with its value, closes the connection at the value "", and says nothing more at the value "…".
func script(greeting string, answers map[string]string) channeltest.Setup {
	return func(t *testing.T) (channel.Sender, channel.Target) {
		t.Helper()
		addr := channeltest.Listen(t, func(c net.Conn) {
			_, _ = io.WriteString(c, greeting)
			lines := bufio.NewScanner(c)
			for lines.Scan() {
				for key, answer := range answers {
					if !strings.HasPrefix(lines.Text(), key) {
						continue
					}
					if answer == "" {
						return
					}
					if answer != "…" {
						_, _ = io.WriteString(c, answer)
					}
				}
			}
		})
		return newSMTP(t, plainConfig(t, addr)), smtpTarget()
	}
}

func plainConfig(t *testing.T, addr string) SMTPConfig {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return SMTPConfig{Host: "127.0.0.1", Port: a.Port, TLS: TLSNone}
}
