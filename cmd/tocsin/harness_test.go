package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/program"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// process is a process of the program whose log the test reads.
type process struct {
	*program.Process
	t   testing.TB
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const (
	adminToken = "test-token-of-the-administrator"
	secretKey  = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
)

// start starts the program; the end of the test kills it.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	path, err := program.Binary()
	if err != nil {
		t.Fatal(err)
	}
	log := new(lockedBuffer)
	started, err := program.Launch(path, log, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{started, t, log}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			text := p.log.String()
			t.Logf("--- %v\n%s", args, text[max(0, len(text)-6000):])
		}
	})
	return p
}

// terminate sends SIGTERM and returns the exit code and how long it took.
func (p *process) terminate() (code int, took time.Duration) {
	p.t.Helper()
	began := time.Now()
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	select {
	case <-p.Done:
	case <-time.After(time.Minute):
		p.t.Fatal("the process does not end")
	}
	return p.ExitCode(), time.Since(began)
}

// receivedMessage is what the far network got.
type receivedMessage struct{ Channel, Target, Headline string }

// network is all receivers: webhooks, and a mail server.
type network struct {
	*httptest.Server
	smtp   string
	mu     sync.Mutex
	got    []receivedMessage
	tries  map[string]int
	answer func(path string, try int) int // nil: 200; 0 hangs
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	n := &network{tries: map[string]int{}}
	n.Server = httptest.NewServer(http.HandlerFunc(n.webhook))
	t.Cleanup(n.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // on this machine
	if err != nil {
		t.Fatal(err)
	}
	n.smtp = l.Addr().String()
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{n: n}, nil }))
	go server.Serve(l) //nolint:errcheck // ends with Close
	t.Cleanup(func() { server.Close() })
	return n
}

func (n *network) webhook(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost { // "check" asks whether the server answers
		return
	}
	body, _ := io.ReadAll(r.Body)
	n.mu.Lock()
	n.tries[r.URL.Path]++
	answer, try := n.answer, n.tries[r.URL.Path]
	n.mu.Unlock()
	status := 200
	if answer != nil {
		status = answer(r.URL.Path, try)
	}
	if status == 0 {
		<-r.Context().Done()
		return
	}
	if status != 200 {
		w.WriteHeader(status)
		return
	}
	m := receivedMessage{Channel: "slack", Target: n.URL + r.URL.Path}
	var slack struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(body, &slack)
	m.Headline = slack.Text
	if strings.HasPrefix(r.URL.Path, "/teams") {
		m.Channel = "ms_teams"
	}
	n.note(m)
	if m.Channel == "slack" {
		_, _ = io.WriteString(w, "ok")
	} else {
		w.WriteHeader(http.StatusAccepted)
	}
}

func (n *network) note(m receivedMessage) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, m)
}

// take returns what came since the last call.
func (n *network) take() []receivedMessage {
	n.mu.Lock()
	defer n.mu.Unlock()
	got := n.got
	n.got = nil
	return got
}

func (n *network) all() []receivedMessage {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]receivedMessage(nil), n.got...)
}

type session struct {
	n  *network
	to []string
}

func (s *session) Mail(string, *smtp.MailOptions) error { return nil }
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, m.Body); err != nil {
		return err
	}
	subject, _ := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	for _, to := range s.to {
		s.n.note(receivedMessage{"email", to, subject})
	}
	return nil
}
func (s *session) Reset()        { s.to = nil }
func (s *session) Logout() error { return nil }

// deployment is a running product.
type deployment struct {
	t                      testing.TB
	url                    string
	env                    []string
	web, worker, scheduler *process
	network                *network
	client                 *http.Client
	token                  string // of the administrator
}

func newDeployment(t testing.TB, env ...string) *deployment {
	t.Helper()
	d := &deployment{t: t, token: adminToken, network: newNetwork(t), client: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(d.client.CloseIdleConnections)
	port := program.FreePort(t)
	d.url = "http://127.0.0.1:" + port
	d.env = append([]string{
		"TOCSIN_LISTEN=127.0.0.1:" + port, "TOCSIN_ADMIN_TOKEN=" + adminToken, "TOCSIN_SECRET_KEY=" + secretKey,
		"TOCSIN_WEBHOOK_ALLOWED_NETWORKS=127.0.0.0/8", "SMTP_URL=smtp://" + d.network.smtp + "?tls=none",
		"TOCSIN_SLACK_RATE=0", "TOCSIN_MS_TEAMS_RATE=0", "TOCSIN_LOG_LEVEL=warn",
	}, env...)
	return d
}

// newServe runs everything in one process with nothing installed.
func newServe(t testing.TB) *deployment {
	t.Helper()
	return serveFrom(t, t.TempDir())
}

// serveFrom is newServe with the data in a folder.
func serveFrom(t testing.TB, folder string) *deployment {
	t.Helper()
	d := newDeployment(t, "TOCSIN_DATA_DIR="+folder)
	d.web = start(t, d.env, "serve")
	d.ready()
	return d
}

// newRoles runs the three roles over PostgreSQL and Redis.
func newRoles(t testing.TB, databaseURL, redisURL string, env ...string) *deployment {
	t.Helper()
	d := newDeployment(t, append(env, "DATABASE_URL="+databaseURL, "REDIS_URL="+redisURL)...)
	if code, _ := wait(start(t, d.env, "migrate", "up")); code != 0 {
		t.Fatalf("migrate: exit %d", code)
	}
	d.web, d.worker, d.scheduler = start(t, d.env, "web"), start(t, d.env, "worker"), start(t, d.env, "scheduler")
	d.ready()
	return d
}

func wait(p *process) (code int, output string) {
	return p.ExitCode(), p.log.String()
}

func (d *deployment) ready() {
	d.t.Helper()
	testenv.Eventually(d.t, 30*time.Second, func() error {
		status, _, err := d.try(http.MethodGet, "/readyz", nil)
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		return err
	}, "not ready")
}

// try calls the HTTP interface.
func (d *deployment) try(method, path string, body any) (status int, answer []byte, err error) {
	return program.Client{URL: d.url, Token: d.token, HTTP: d.client}.Try(method, path, body)
}

// call is try that must succeed with 2xx; the answer is read into out, if given.
func (d *deployment) call(method, path string, body, out any) {
	d.t.Helper()
	status, answer, err := d.try(method, path, body)
	if err != nil || status/100 != 2 {
		d.t.Fatalf("%s %s: %d %s %v", method, path, status, answer, err)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			d.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
		}
	}
}

// idle waits until nothing is left to do.
func (d *deployment) idle(timeout time.Duration) program.Status {
	d.t.Helper()
	var s program.Status
	testenv.Eventually(d.t, timeout, func() error {
		code, answer, err := d.try(http.MethodGet, "/api/v1/status", nil)
		if err != nil {
			return err
		}
		if code != 200 {
			return fmt.Errorf("%d %s", code, answer)
		}
		if err := json.Unmarshal(answer, &s); err != nil {
			return err
		}
		if s.Outbox+s.PendingDeliveries > 0 {
			return fmt.Errorf("left: %+v", s)
		}
		return nil
	}, "not idle")
	return s
}

type object = map[string]any
