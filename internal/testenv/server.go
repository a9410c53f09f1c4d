package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const startTimeout = 60 * time.Second

// server is a server program with a folder of its own, which can be stopped and started again.
type server struct {
	dir       string
	argv      []string            // runs it in the foreground
	cred      *syscall.Credential // nil: as we are
	container string              // its name, where Docker runs it; argv is then `docker start`
	deathKill syscall.Signal      // how it is ended when the tests are killed
	ready     func(context.Context) error

	guard *guard
	pid   int
	done  chan struct{} // closed when the process has ended
}

// newServer makes the folder.
func newServer(name string) (*server, error) {
	dir, err := os.MkdirTemp(tempRoot(), "tocsin-"+name+"-")
	if err != nil {
		return nil, err
	}
	g, err := newGuard(dir)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &server{dir: dir, guard: g, deathKill: syscall.SIGKILL}, nil
}

// tempRoot is where folders of servers go: what TMPDIR says, else into memory where there is plenty. A database of
// three hundred small files is copied there in 12 ms, on a disk in up to 250.
func tempRoot() string {
	const memory, plenty = "/dev/shm", 4 << 30
	root := os.TempDir()
	var free syscall.Statfs_t
	// #nosec G115 -- the size of a block
	if os.Getenv("TMPDIR") == "" && syscall.Statfs(memory, &free) == nil && free.Bavail*uint64(free.Bsize) > plenty {
		root = memory
	}
	if len(root) > 40 {
		root = "/tmp" // the path of a Unix socket must fit into 107 bytes
	}
	return root
}

// start runs the program and waits until it answers.
func (s *server) start() error {
	if s.running() {
		return errors.New("already running")
	}
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()

	// Not bound to a context: the server outlives whatever call starts it.
	// #nosec G204 -- a program of this package
	cmd := exec.Command(s.argv[0], s.argv[1:]...) //nolint:noctx // see above
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	// Its own process group, so that ^C ends the tests and they end it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.cred}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.pid = cmd.Process.Pid
	if s.container == "" {
		s.guard.onDeath(fmt.Sprintf("kill -%d %[2]d; "+
			"for i in 1 2 3 4 5; do kill -0 %[2]d && sleep 0.2; done; kill -9 %[2]d", s.deathKill, s.pid))
	}
	done := make(chan struct{})
	s.done = done
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(done)
	}()

	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err = poll(ctx, func() error {
		select {
		case <-done:
			cancel()
			return errors.New("it ended")
		default:
			return s.ready(ctx)
		}
	})
	if err != nil {
		s.kill()
		return fmt.Errorf("%s did not start: %w\n%s", s.argv[0], err, s.lastLog())
	}
	return nil
}

func (s *server) running() bool {
	if s.done == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

func (s *server) signal(sig syscall.Signal) error {
	switch {
	case !s.running():
		return errors.New("it does not run")
	case s.container != "":
		return run("docker", "kill", "--signal", fmt.Sprint(int(sig)), s.container)
	default:
		return syscall.Kill(s.pid, sig)
	}
}

// stop sends sig and waits for the end.
func (s *server) stop(sig syscall.Signal) error {
	if err := s.signal(sig); err != nil {
		return err
	}
	select {
	case <-s.done:
		s.guard.onDeath(s.cleanUp())
		return nil
	case <-time.After(startTimeout):
		s.kill()
		return fmt.Errorf("it did not end within %v of %v, and was killed\n%s", startTimeout, sig, s.lastLog())
	}
}

func (s *server) kill() {
	if s.signal(syscall.SIGKILL) == nil {
		<-s.done
	}
	s.guard.onDeath(s.cleanUp())
}

// cleanUp is what remains to be done when no process runs.
func (s *server) cleanUp() string {
	if s.container != "" {
		return "docker rm --force --volumes " + s.container
	}
	return ":"
}

// close ends the process, if it runs, and removes all that is left of it.
func (s *server) close() error {
	if s.running() {
		if err := s.stop(s.deathKill); err != nil {
			s.kill()
		}
	}
	return s.guard.release()
}

func (s *server) logPath() string { return filepath.Join(s.dir, "log") }

// lastLog is the end of what the server said.
func (s *server) lastLog() string {
	const most = 4 << 10
	text, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}

// guard is a shell that cleans up once our process is gone, whatever ended it: it waits for the end of its standard
// input, of which we hold the other side. (PR_SET_PDEATHSIG follows a thread, not a process, and removes no files.)
type guard struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

func newGuard(dir string) (*guard, error) {
	const script = `last=:; while read -r line; do last=$line; done
		eval "$last"; rm -rf "$1" || { sleep 1; rm -rf "$1"; }`
	// #nosec G204 -- a constant
	cmd := exec.Command("/bin/sh", "-c", script, "sh", dir) //nolint:noctx // it outlives every context
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &guard{cmd, stdin}, nil
}

// onDeath replaces what is run, before the folder is removed, when our process ends.
func (g *guard) onDeath(command string) {
	_, _ = io.WriteString(g.stdin, command+"\n") // a guard that is gone guards nothing; the tests go on
}

// release does now what would be done at the end, and waits for it.
func (g *guard) release() error {
	return errors.Join(g.stdin.Close(), g.cmd.Wait())
}

// run runs a command to its end; its output is in the error.
func run(name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return runCmd(exec.CommandContext(ctx, name, args...)) // #nosec G204 -- a program of this package
}

func runCmd(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
