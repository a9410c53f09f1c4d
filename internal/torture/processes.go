package torture

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv/program"
)

// shutdownTimeout is TOCSIN_SHUTDOWN_TIMEOUT of all processes.
const shutdownTimeout = 10 * time.Second

// process is a process with a log file.
type process struct {
	*program.Process
	log    string
	ending atomic.Bool // its end is expected
}

// slot holds one process of a role. Faults end, restart and replace the process in it.
type slot struct {
	run  *run
	role string
	n    int

	mu      sync.Mutex // held by the fault that uses the slot
	binary  string
	current *process
	old     *process               // ends when its successor is ready
	url     atomic.Pointer[string] // of a web process
	count   int                    // processes so far
}

func (s *slot) String() string { return fmt.Sprint(s.role, " ", s.n) }

// launch starts a process in the slot. Its end is an error unless the run ends it.
func (s *slot) launch(binary string, env ...string) {
	t := s.run.t
	s.count++
	path := filepath.Join(s.run.logs, fmt.Sprintf("%s-%d-%d.log", s.role, s.n, s.count))
	log, err := os.Create(path) // #nosec G304 -- in the folder of the test
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = log.Close() }()
	all := append([]string{}, s.run.env...)
	if s.role == "web" {
		port := program.FreePort(t)
		all = append(all, "TOCSIN_LISTEN=127.0.0.1:"+port)
		defer s.url.Store(new("http://127.0.0.1:" + port))
	}
	started, err := program.Launch(binary, log, append(all, env...), s.role)
	if err != nil {
		t.Errorf("start %v: %v", s, err)
		return
	}
	p := &process{Process: started, log: path}
	s.current, s.binary = p, binary
	go func() {
		<-p.Done
		if !p.ending.Load() {
			t.Errorf("%v ended unexpectedly: %v; see %s\n%s", s, p.Err, path, tail(p))
		}
	}()
}

// tail returns the end of the log of a process.
func tail(p *process) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// kill ends the process with SIGKILL.
func (s *slot) kill() {
	s.current.ending.Store(true)
	s.current.Kill()
}

// terminate ends a process with SIGTERM and checks that it ends in time and without an error. It reports whether the
// process may have left work behind.
func (s *slot) terminate(p *process) (late bool) {
	t := s.run.t
	p.ending.Store(true)
	began := time.Now()
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-p.Done:
	case <-time.After(shutdownTimeout + 10*time.Second):
		t.Errorf("%v does not end: SIGTERM was %s ago", s, time.Since(began).Round(time.Millisecond))
		p.Kill()
		return true
	}
	took := time.Since(began)
	if log := tail(p); p.Err != nil && log != "" { // a process without a log has not installed its signal handler yet
		t.Errorf("%v ends like this after SIGTERM: %v\n%s", s, p.Err, log)
	}
	s.run.slowestEnd.Store(max(s.run.slowestEnd.Load(), int64(took)))
	return took > shutdownTimeout-2*time.Second
}

func (s *slot) signal(sig syscall.Signal) {
	if err := s.current.Signal(sig); err != nil {
		s.run.t.Errorf("%v to %v: %v", sig, s, err)
	}
}

// startRoles starts all processes and waits until the web processes answer.
func (r *run) startRoles() {
	r.t.Helper()
	migrate, err := program.Launch(r.binary, io.Discard, r.env, "migrate", "up")
	if err != nil {
		r.t.Fatal(err)
	}
	if <-migrate.Done; migrate.Err != nil {
		r.t.Fatalf("migrate: %v", migrate.Err)
	}
	for _, role := range roles {
		for n := range 2 {
			s := &slot{run: r, role: role, n: n}
			r.slots[role] = append(r.slots[role], s)
			s.launch(r.binary)
		}
	}
	r.t.Cleanup(func() {
		for _, role := range roles {
			for _, s := range r.slots[role] {
				s.mu.Lock()
				s.kill()
				s.mu.Unlock()
			}
		}
	})
	for _, s := range r.slots["web"] {
		r.ready(s)
	}
}

var roles = []string{"web", "worker", "scheduler"}

// ready waits until a web process is ready.
func (r *run) ready(s *slot) {
	r.t.Helper()
	c := r.client(s)
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // poll
		if status, _, err := c.Try(http.MethodGet, "/readyz", nil); err == nil && status == http.StatusOK {
			return
		}
		if time.Since(began) > time.Minute {
			r.t.Errorf("%v is not ready after a minute", s)
			return
		}
	}
}

// client returns a client of a web process.
func (r *run) client(s *slot) program.Client {
	return program.Client{URL: *s.url.Load(), Token: adminToken, HTTP: r.http}
}
