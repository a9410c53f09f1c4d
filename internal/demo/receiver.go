package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/rs/zerolog"
)

const (
	maxBody = 1 << 20
	// A Slack channel whose name begins with archived is gone; one whose name begins with overloaded cannot accept
	// messages now. Both answer as Slack does then, so that the demo has failed deliveries.
	archived   = "archived-"
	overloaded = "overloaded-"
)

// Receiver accepts the messages of Tocsin as a mail server, as Slack and as Teams, and shows them on one page. It
// listens on the loopback address alone, without a login, and keeps the messages in memory.
type Receiver struct {
	box        *box
	http       *http.Server
	mail       *smtp.Server
	web, smtp  net.Listener
	stopped    chan struct{}
	stop       sync.Once
	background sync.WaitGroup
}

// NewReceiver starts a receiver on free ports.
func NewReceiver(log zerolog.Logger) (*Receiver, error) {
	var listen net.ListenConfig
	web, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	mail, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the receiver: %w", err), web.Close())
	}
	r := &Receiver{box: newBox(), web: web, smtp: mail, stopped: make(chan struct{})}
	r.http = &http.Server{Handler: r.routes(), ReadHeaderTimeout: 10 * time.Second}
	r.mail = newMailServer(r.box, log)
	r.background.Go(func() {
		if err := r.http.Serve(web); !errors.Is(err, http.ErrServerClosed) {
			log.Error().Err(err).Msg("the receiver's page ended")
		}
	})
	r.background.Go(func() {
		if err := r.mail.Serve(mail); err != nil && !errors.Is(err, smtp.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			log.Error().Err(err).Msg("the receiver's mail server ended")
		}
	})
	return r, nil
}

// URL is the page that shows what arrived.
func (r *Receiver) URL() string { return "http://" + r.web.Addr().String() + "/" }

// SMTPURL is the mail server, as SMTP_URL takes it.
func (r *Receiver) SMTPURL() string { return "smtp://" + r.smtp.Addr().String() + "?tls=none" }

// Close ends the receiver and waits for it.
func (r *Receiver) Close() error {
	var err error
	r.stop.Do(func() {
		close(r.stopped)
		err = errors.Join(r.http.Close(), r.mail.Close())
		_ = r.smtp.Close() // mail.Close misses it where Serve has not begun yet; else it is closed
	})
	r.background.Wait()
	return err
}

func (r *Receiver) slackURL(name string) string { return r.URL() + "slack/" + url.PathEscape(name) }
func (r *Receiver) teamsURL(name string) string { return r.URL() + "teams/" + url.PathEscape(name) }

func (r *Receiver) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /slack/{name}", r.takeSlack)
	mux.HandleFunc("POST /teams/{name}", r.takeTeams)
	mux.HandleFunc("GET /{$}", r.showPage)
	mux.HandleFunc("GET /events", r.stream)
	mux.Handle("GET /static/", http.FileServerFS(staticFiles))
	return mux
}

// takeSlack answers as https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks says.
func (r *Receiver) takeSlack(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("name")
	switch {
	case strings.HasPrefix(name, archived):
		answer(w, http.StatusGone, "channel_is_archived")
		return
	case strings.HasPrefix(name, overloaded):
		answer(w, http.StatusServiceUnavailable, "")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		answer(w, http.StatusBadRequest, "invalid_payload")
		return
	}
	m, fault := readSlack(body)
	if fault != "" {
		answer(w, http.StatusBadRequest, fault)
		return
	}
	m.Target = "#" + name
	r.box.add(m)
	answer(w, http.StatusOK, "ok")
}

// takeTeams answers as a workflow with the trigger "When a Teams webhook request is received": 202 and nothing.
func (r *Receiver) takeTeams(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, "")
		return
	}
	m, err := readTeams(body)
	if err != nil {
		answer(w, http.StatusBadRequest, "")
		return
	}
	m.Target = req.PathValue("name")
	r.box.add(m)
	w.WriteHeader(http.StatusAccepted)
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client may have gone
}

// stream sends the page a server-sent event for each new message.
func (r *Receiver) stream(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	for {
		last, changed := r.box.last()
		if _, err := fmt.Fprintf(w, "data: %d\n\n", last); err != nil || flush.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-req.Context().Done():
			return
		case <-r.stopped:
			return
		}
	}
}
