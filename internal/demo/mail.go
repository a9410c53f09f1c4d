package demo

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/rs/zerolog"
)

const (
	maxMail  = 5 << 20
	maxDepth = 8 // of parts in parts, and of elements in elements
)

func newMailServer(b *box, log zerolog.Logger) *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{box: b}, nil }))
	s.Domain = "receiver.demo.example"
	s.MaxMessageBytes = maxMail
	s.MaxRecipients = 10
	s.EnableSMTPUTF8 = true
	s.ReadTimeout, s.WriteTimeout = time.Minute, time.Minute
	s.ErrorLog = &log
	return s
}

// mailSession is one connection; the server calls it from one goroutine.
type mailSession struct {
	box *box
	to  []string
}

// Reset implements smtp.Session.
func (s *mailSession) Reset() { s.to = nil }

// Logout implements smtp.Session.
func (*mailSession) Logout() error { return nil }

// Mail implements smtp.Session.
func (*mailSession) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt implements smtp.Session.
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

// Data implements smtp.Session.
func (s *mailSession) Data(r io.Reader) error {
	m, err := readMail(r)
	if err != nil {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "This mail cannot be read"}
	}
	m.Target = strings.Join(s.to, ", ")
	s.box.add(m)
	return nil
}

// readMail takes what a reader's program would show of a mail.
func readMail(r io.Reader) (message, error) {
	raw, err := mail.ReadMessage(r)
	if err != nil {
		return message{}, fmt.Errorf("read mail: %w", err)
	}
	words := new(mime.WordDecoder)
	decoded := func(name string) string {
		value := raw.Header.Get(name)
		if s, err := words.DecodeHeader(value); err == nil {
			return s
		}
		return value
	}
	m := message{Kind: kindMail, From: decoded("From"), Subject: decoded("Subject")}
	m.Lead = m.Subject
	return m, m.readPart(textproto.MIMEHeader(raw.Header), raw.Body, maxDepth)
}

// readPart takes the first text and the first HTML; all else is passed over.
func (m *message) readPart(header textproto.MIMEHeader, body io.Reader, depth int) error {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		kind = "text/plain" // https://www.rfc-editor.org/rfc/rfc2045#section-5.2
	}
	if strings.HasPrefix(kind, "multipart/") && depth > 0 {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read a part: %w", err)
			}
			if err := m.readPart(p.Header, p, depth-1); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(header.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("read a part: %w", err)
	}
	text := strings.ToValidUTF8(strings.ReplaceAll(string(content), "\r\n", "\n"), "\ufffd")
	switch {
	case kind == "text/html" && m.HTML == "":
		m.HTML = text
	case kind == "text/plain" && m.Text == "":
		m.Text = text
	}
	return nil
}
