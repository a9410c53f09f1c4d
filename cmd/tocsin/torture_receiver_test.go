package main

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// manners are the ways in which a receiver behaves badly.
var manners = []string{"fails", "throttles", "hangs", "drops", "cuts", "lies", "refuses", "redirects", "dawdles"}

// outcome is what a receiver did with a message.
type outcome string

const (
	taken   outcome = "taken"
	failed  outcome = "failed"    // told to try again
	refused outcome = "refused"   // told never to try again
	unheard outcome = "not heard" // read, and not answered
)

// arrival is one message that a receiver has read.
type arrival struct {
	receiver     string
	at, answered time.Time
	notification int64 // 0: a digest, or a mail
	delivery     int64 // of a mail; 0: a digest
	count        int   // how many notifications a digest tells
	outcome      outcome
	wait         time.Duration // asked for by Retry-After
}

func (a *arrival) isDigest() bool { return a.notification == 0 && a.delivery == 0 }

// far is the network far away: webhooks and a mail server that behave as they are told.
type far struct {
	*httptest.Server
	smtp string
	t    testing.TB

	mu     sync.Mutex
	got    []arrival
	spells map[string]spell
	noise  map[string]*rand.Rand // of each receiver; nil: none
	closed chan struct{}
}

type spell struct {
	manner string
	ended  chan struct{}
	takes  time.Duration // until a message is answered
}

func newFar(t testing.TB, p *plan) *far {
	t.Helper()
	f := &far{t: t, spells: map[string]spell{}, noise: map[string]*rand.Rand{}, closed: make(chan struct{})}
	for _, name := range receivers {
		f.noise[name] = p.random("noise of " + name)
	}
	f.Server = httptest.NewServer(http.HandlerFunc(f.webhook))
	t.Cleanup(f.Close)
	f.serveMail()
	t.Cleanup(func() { close(f.closed) }) // before the others: it ends what hangs
	return f
}

// behave begins a spell of a receiver, and returns what ends it.
func (f *far) behave(name, manner string) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := spell{manner: manner, ended: make(chan struct{})}
	f.spells[name] = s
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.spells, name)
		close(s.ended)
	}
}

// calm ends all noise.
func (f *far) calm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noise = nil
}

// manner says how a receiver behaves this time, and when its spell ends.
func (f *far) manner(name string) spell {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, found := f.spells[name]
	if r := f.noise[name]; r != nil {
		s.takes = time.Duration(r.IntN(8)) * time.Millisecond
		if !found && r.IntN(40) == 0 {
			s.manner = []string{"fails", "drops", "cuts", "lies"}[r.IntN(4)]
		}
	}
	if s.manner == "dawdles" {
		s.takes = 300 * time.Millisecond
	}
	return s
}

// hang waits until the spell or the run ends, or the sender goes away.
func (f *far) hang(s spell, gone <-chan struct{}) {
	select {
	case <-s.ended:
	case <-f.closed:
	case <-gone:
	}
}

func (f *far) note(a arrival) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.answered = time.Now()
	f.got = append(f.got, a)
}

// all returns what arrived, in the order in which it was answered.
func (f *far) all() []arrival {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]arrival(nil), f.got...)
}

// liesOfTeams is what Teams answers with status 200 when it did not take a message.
const liesOfTeams = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId tcid=0"

func (f *far) webhook(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path
	s := f.manner(name)
	if s.manner == "cuts" {
		cut(w)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender died
	}
	a := arrival{receiver: name, at: time.Now(), outcome: taken}
	if err := a.read(body); err != nil {
		f.t.Errorf("%s got what is no message: %v: %s", name, err, body)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	teams := strings.HasPrefix(name, "/teams/")
	status, answer := http.StatusOK, "ok"
	if teams {
		status, answer = http.StatusAccepted, ""
	}
	switch s.manner {
	case "fails":
		a.outcome, status = failed, []int{500, 502, 503, 408}[len(body)%4]
	case "throttles":
		a.outcome, a.wait, status = failed, 4*time.Second, http.StatusTooManyRequests
		w.Header().Set("Retry-After", "4")
	case "hangs":
		f.hang(s, r.Context().Done())
		a.outcome = unheard
	case "drops":
		a.outcome = unheard
	case "lies":
		a.outcome, status, answer = failed, http.StatusOK, "<html>Log in first</html>"
		if teams {
			answer = liesOfTeams
		}
	case "refuses":
		a.outcome, status, answer = refused, []int{400, 403, 404, 410}[len(body)%4], ""
	case "redirects":
		a.outcome, status = refused, http.StatusFound
		w.Header().Set("Location", f.URL+"/elsewhere")
	}
	time.Sleep(s.takes) //nolint:forbidigo // so that senders are busy when they are killed
	if a.outcome == unheard || r.Context().Err() != nil {
		a.outcome = unheard
		f.note(a)
		cut(w)
		return
	}
	f.note(a)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

// cut ends the connection without an answer.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// Where a message leads to, and how many a digest tells.
var (
	toNotification = regexp.MustCompile(`/notifications/(\d+)$`)
	tells          = regexp.MustCompile(`(\d+) notifications?\b`)
)

// read finds out what a message for Slack or Teams tells.
func (a *arrival) read(body []byte) error {
	var m struct {
		Text   string
		Blocks []struct {
			Type     string
			Elements []struct{ URL string }
		}
		Attachments []struct {
			Content struct {
				Body    []struct{ Inlines []struct{ Text string } }
				Actions []struct{ URL string }
			}
		}
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return err
	}
	headline, link := m.Text, ""
	for _, b := range m.Blocks {
		if b.Type == "actions" {
			link = b.Elements[0].URL
		}
	}
	if len(m.Attachments) > 0 {
		c := m.Attachments[0].Content
		headline, link = c.Body[0].Inlines[0].Text, c.Actions[0].URL
	}
	if found := toNotification.FindStringSubmatch(link); found != nil {
		var err error
		a.notification, err = strconv.ParseInt(found[1], 10, 64)
		return err
	}
	return a.readCount(headline)
}

// readCount reads the headline of a digest.
func (a *arrival) readCount(headline string) error {
	found := tells.FindStringSubmatch(headline)
	if found == nil {
		return errors.New("it leads to no notification, and is no digest")
	}
	var err error
	a.count, err = strconv.Atoi(found[1])
	return err
}
