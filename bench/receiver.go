package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// receiver is the far network: it takes every webhook and every mail at once, and counts.
type receiver struct {
	*httptest.Server
	smtp     *smtp.Server
	mailAddr string
	webhooks atomic.Int64
	mails    atomic.Int64
	last     atomic.Int64   // when the newest webhook or mail came; Unix time in nanoseconds
	single   chan time.Time // when a webhook whose path begins with /one came
}

func newReceiver() (*receiver, error) {
	r := &receiver{single: make(chan time.Time, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/one" {
			r.single <- time.Now()
		}
		_, _ = io.Copy(io.Discard, q.Body)
		if q.Method == http.MethodPost {
			r.webhooks.Add(1)
			r.last.Store(time.Now().UnixNano())
		}
		_, _ = io.WriteString(w, "ok")
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.mailAddr = l.Addr().String()
	r.smtp = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return session{r}, nil }))
	go func() { _ = r.smtp.Serve(l) }() // ends with close
	return r, nil
}

func (r *receiver) close() {
	r.Close()
	_ = r.smtp.Close()
}

type session struct{ r *receiver }

func (session) Mail(string, *smtp.MailOptions) error { return nil }
func (session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (session) Reset()                               {}
func (session) Logout() error                        { return nil }

func (s session) Data(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	s.r.mails.Add(1)
	s.r.last.Store(time.Now().UnixNano())
	return err
}

// waitFor waits until so many webhooks came.
func (r *receiver) waitFor(n int) error {
	for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if r.webhooks.Load() >= int64(n) {
			return nil
		}
	}
	return fmt.Errorf("%d of %d webhooks came", r.webhooks.Load(), n)
}
