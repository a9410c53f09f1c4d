package torture

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

// manners are the ways in which a receiver misbehaves.
var manners = []string{"fails", "throttles", "hangs", "drops", "cuts", "lies", "refuses", "redirects", "dawdles"}

// outcome is the answer of a receiver to a message.
type outcome string

const (
	taken   outcome = "taken"
	failed  outcome = "failed"    // a temporary failure
	refused outcome = "refused"   // a permanent failure
	unheard outcome = "not heard" // read, and not answered
)

// arrival is one message that a receiver has read.
type arrival struct {
	receiver     string
	at, answered time.Time
	notification int64   // 0: a digest, or a mail
	delivery     int64   // of a mail; 0: a digest
	data         []int64 // notifications of a signed webhook
	net          int64   // the number of a digest of net changes; 0: it is none, or a mail
	last         int64   // of a mail that is a digest: its last delivery
	count        int     // notifications in another digest
	outcome      outcome
	wait         time.Duration // asked for by Retry-After
}

// isDigest reports whether a is a digest of what waited for its receiver, not one of net changes.
func (a *arrival) isDigest() bool {
	return a.notification == 0 && a.delivery == 0 && len(a.data) == 0 && a.net == 0
}

// network is the receivers: webhooks and a mail server that behave as the plan says.
type network struct {
	*httptest.Server
	smtp string
	t    *testing.T

	mu     sync.Mutex
	got    []arrival
	spells map[string]spell
	noise  map[string]*rand.Rand // of each receiver; nil: none
	closed chan struct{}
}

type spell struct {
	manner string
	ended  chan struct{}
	takes  time.Duration // the time until a message is answered
}

func newNetwork(t *testing.T, p *plan) *network {
	t.Helper()
	f := &network{t: t, spells: map[string]spell{}, noise: map[string]*rand.Rand{}, closed: make(chan struct{})}
	for _, name := range receivers {
		f.noise[name] = p.random("noise of " + name)
	}
	f.Server = httptest.NewServer(http.HandlerFunc(f.webhook))
	t.Cleanup(f.Close)
	f.serveMail()
	t.Cleanup(func() { close(f.closed) }) // runs before the others and ends hanging answers
	return f
}

// behave begins a spell of a receiver, and returns what ends it.
func (f *network) behave(name, manner string) (end func()) {
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
func (f *network) calm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noise = nil
}

// manner returns the behavior of a receiver towards its next message.
func (f *network) manner(name string) spell {
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

// hang waits until the spell or the run ends, or the sender closes its connection.
func (f *network) hang(s spell, gone <-chan struct{}) {
	select {
	case <-s.ended:
	case <-f.closed:
	case <-gone:
	}
}

func (f *network) note(a arrival) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.answered = time.Now()
	f.got = append(f.got, a)
}

// all returns all arrivals in the order of their answers.
func (f *network) all() []arrival {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]arrival(nil), f.got...)
}

// liesOfTeams is an error text that only the retired webhook.office.com connectors send with status 200. From any other
// host the status decides.
const liesOfTeams = "Webhook message delivery failed with error: " +
	"Microsoft Teams endpoint returned HTTP error 429 with ContextId tcid=0"

func (f *network) webhook(w http.ResponseWriter, r *http.Request) {
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
		f.t.Errorf("%s got an unreadable message: %v: %s", name, err, body)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	status, answer := f.answer(w, r, s, &a, len(body))
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

// answer sets the outcome of an arrival by the manner of its receiver, and returns the status and body of the answer.
func (f *network) answer(
	w http.ResponseWriter, r *http.Request, s spell, a *arrival, size int,
) (status int, answer string) {
	teams := strings.HasPrefix(a.receiver, "/teams/")
	status, answer = http.StatusOK, "ok"
	if teams {
		status, answer = http.StatusAccepted, ""
	}
	switch s.manner {
	case "fails":
		a.outcome, status = failed, []int{500, 502, 503, 408}[size%4]
	case "throttles":
		a.outcome, a.wait, status = failed, 4*time.Second, http.StatusTooManyRequests
		w.Header().Set("Retry-After", "4")
	case "hangs":
		f.hang(s, r.Context().Done())
		a.outcome = unheard
	case "drops":
		a.outcome = unheard
	case "lies":
		status, answer = http.StatusOK, "<html>Log in first</html>" // delivered, whatever the body says
		if teams {
			answer = liesOfTeams
		}
	case "refuses": // a signed webhook that is gone would be disabled
		a.outcome, status, answer = refused, []int{400, 403, 404, 410}[size%4], ""
		if len(a.data) > 0 {
			status = http.StatusNotFound
		}
	case "redirects":
		a.outcome, status = refused, http.StatusFound
		w.Header().Set("Location", f.URL+"/elsewhere")
	}
	return status, answer
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

// The link of a message, and the counts in the headline of a digest: that of all notifications, or those of its parts,
// as in "2 new Critical, 3 security gates in Product 4"; the subject of a mail begins with [Tocsin].
var (
	toNotification = regexp.MustCompile(`/notifications/(\d+)$`)
	toNetDigest    = regexp.MustCompile(`[?&]digest=(\d+)$`)
	digestCount    = regexp.MustCompile(`(\d+) notifications?\b`)
	digestPart     = regexp.MustCompile(`(?:^|^\[Tocsin\] |, )(\d+) `)
)

// read reads the notification or the count of a message for Slack or Teams, or the notifications of a signed webhook.
func (a *arrival) read(body []byte) error {
	var m struct {
		Data   struct{ Notifications []struct{ ID int64 } }
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
	for _, n := range m.Data.Notifications {
		a.data = append(a.data, n.ID)
	}
	if len(a.data) > 0 {
		return nil
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
	var err error
	if found := toNotification.FindStringSubmatch(link); found != nil {
		a.notification, err = strconv.ParseInt(found[1], 10, 64)
		return err
	}
	if found := toNetDigest.FindStringSubmatch(link); found != nil {
		a.net, err = strconv.ParseInt(found[1], 10, 64)
		return err
	}
	return a.readCount(headline)
}

// readCount reads the headline of a digest.
func (a *arrival) readCount(headline string) error {
	counts := digestPart.FindAllStringSubmatch(headline, -1)
	if total := digestCount.FindStringSubmatch(headline); total != nil {
		counts = [][]string{total}
	}
	if len(counts) == 0 {
		return errors.New("it has no link to a notification, and is no digest")
	}
	for _, c := range counts {
		n, err := strconv.Atoi(c[1])
		if err != nil {
			return err
		}
		a.count += n
	}
	return nil
}
