package main

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
)

// shutdownTimeout is TOCSIN_SHUTDOWN_TIMEOUT of all processes.
const shutdownTimeout = 10 * time.Second

// slot is the place of one process of a role. The process in it may be ended and started, or replaced by one of another
// binary.
type slot struct {
	tt   *torture
	role string
	n    int

	mu     sync.Mutex // held by the fault that works on it
	binary string
	p      *process
	old    *process               // that ends when its successor is there
	url    atomic.Pointer[string] // of a web process
	count  int                    // processes so far
}

func (s *slot) String() string { return fmt.Sprint(s.role, " ", s.n) }

// launch starts a process for the slot. Its end is a fault, unless it is told to end.
func (s *slot) launch(binary string, env ...string) {
	t := s.tt.t
	s.count++
	name := filepath.Join(s.tt.logs, fmt.Sprintf("%s-%d-%d.log", s.role, s.n, s.count))
	log, err := os.Create(name)
	if err != nil {
		t.Error(err)
		return
	}
	defer log.Close()
	all := append([]string{}, s.tt.env...)
	if s.role == "web" {
		port := freePort(t)
		all = append(all, "TOCSIN_LISTEN=127.0.0.1:"+port)
		defer s.url.Store(new("http://127.0.0.1:" + port))
	}
	p, err := launch(t, binary, log, append(all, env...), s.role)
	if err != nil {
		t.Errorf("start %v: %v", s, err)
		return
	}
	p.file, s.p, s.binary = name, p, binary
	go func() {
		<-p.done
		if !p.ending.Load() {
			t.Errorf("%v ended by itself: %v; see %s\n%s", s, p.err, name, tail(p))
		}
	}()
}

// tail is the end of the log of a process.
func tail(p *process) string {
	text, err := os.ReadFile(p.file)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// kill ends the process without a warning.
func (s *slot) kill() {
	s.p.ending.Store(true)
	s.p.kill()
}

// terminate ends a process as a platform does, and checks that it goes in time and in peace. It returns whether the process
// may have had to leave something behind.
func (s *slot) terminate(p *process) (late bool) {
	t := s.tt.t
	p.ending.Store(true)
	began := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(shutdownTimeout + 10*time.Second):
		t.Errorf("%v does not end: SIGTERM was %s ago", s, time.Since(began).Round(time.Millisecond))
		p.kill()
		return true
	}
	took := time.Since(began)
	if log := tail(p); p.err != nil && log != "" { // before it says anything it cannot know of signals
		t.Errorf("%v ends like this after SIGTERM: %v\n%s", s, p.err, log)
	}
	s.tt.slowestEnd.Store(max(s.tt.slowestEnd.Load(), int64(took)))
	return took > shutdownTimeout-2*time.Second
}

func (s *slot) signal(sig syscall.Signal) {
	if err := s.p.cmd.Process.Signal(sig); err != nil {
		s.tt.t.Errorf("%v to %v: %v", sig, s, err)
	}
}

// startRoles starts all processes, and waits until they answer.
func (tt *torture) startRoles() {
	tt.t.Helper()
	migrate, err := launch(tt.t, tt.binary, io.Discard, tt.env, "migrate", "up")
	if err != nil {
		tt.t.Fatal(err)
	}
	if <-migrate.done; migrate.err != nil {
		tt.t.Fatalf("migrate: %v", migrate.err)
	}
	for _, role := range roles {
		for n := range 2 {
			s := &slot{tt: tt, role: role, n: n}
			tt.slots[role] = append(tt.slots[role], s)
			s.launch(tt.binary)
		}
	}
	tt.t.Cleanup(func() {
		for _, role := range roles {
			for _, s := range tt.slots[role] {
				s.mu.Lock()
				s.kill()
				s.mu.Unlock()
			}
		}
	})
	for _, s := range tt.slots["web"] {
		tt.ready(s)
	}
}

var roles = []string{"web", "worker", "scheduler"}

// ready waits until a web process serves.
func (tt *torture) ready(s *slot) {
	tt.t.Helper()
	d := tt.door(s)
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // between two looks
		if status, _, err := d.try(http.MethodGet, "/readyz", nil); err == nil && status == http.StatusOK {
			return
		}
		if time.Since(began) > time.Minute {
			tt.t.Errorf("%v does not get ready", s)
			return
		}
	}
}

// door is the way to a web process.
func (tt *torture) door(s *slot) *deployment {
	return &deployment{t: tt.t, token: adminToken, url: *s.url.Load(), client: tt.client}
}
