package torture

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/mail"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// serveMail starts the mail server.
func (f *network) serveMail() {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // on this machine
	if err != nil {
		f.t.Fatal(err)
	}
	f.smtp = l.Addr().String()
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &mailSession{f: f, conn: c}, nil
	}))
	server.ErrorLog = quiet{}
	go server.Serve(l) //nolint:errcheck // ends with Close
	f.t.Cleanup(func() { _ = server.Close() })
}

// quiet drops the log lines of go-smtp about connections that the test cuts.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// mailSession receives one mail for one receiver.
type mailSession struct {
	f    *network
	conn *smtp.Conn
	to   string
}

func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = strings.ToLower(to)
	return nil
}
func (s *mailSession) Reset()        { s.to = "" }
func (s *mailSession) Logout() error { return nil }

// messageID is the form of the Message-ID of a mail.
var messageID = regexp.MustCompile(`^<(delivery|digest)-(\d+)@`)

func (s *mailSession) Data(r io.Reader) error {
	f := s.f
	as := f.manner(s.to)
	if as.manner == "cuts" {
		return s.cut()
	}
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, m.Body); err != nil {
		return err // the sender died
	}
	a := arrival{receiver: s.to, at: time.Now(), outcome: taken}
	found := messageID.FindStringSubmatch(m.Header.Get("Message-ID"))
	subject, _ := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	switch {
	case found == nil:
		err = errors.New("its Message-ID has another form")
	case found[1] == "digest":
		a.last, err = strconv.ParseInt(found[2], 10, 64)
		_ = a.readCount(subject) // one of net changes has none
	default:
		a.delivery, err = strconv.ParseInt(found[2], 10, 64)
	}
	if err != nil {
		f.t.Errorf("%s got an unreadable message: %v: %v", s.to, err, m.Header)
		return &smtp.SMTPError{Code: 550, Message: "no"}
	}
	defer func() { f.note(a) }()
	switch as.manner {
	case "fails", "throttles", "lies":
		a.outcome = failed
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "not now"}
	case "refuses", "redirects":
		a.outcome = refused
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "nobody here"}
	case "hangs":
		a.outcome = unheard
		f.hang(as, nil)
		return s.cut()
	case "drops":
		a.outcome = unheard
		return s.cut()
	}
	time.Sleep(as.takes) //nolint:forbidigo // so that senders are busy when they are killed
	return nil
}

// cut ends the connection without an answer.
func (s *mailSession) cut() error {
	_ = s.conn.Conn().Close()
	return errors.New("cut")
}
