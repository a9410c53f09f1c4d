// Package program builds the tocsin program and runs processes of it for tests.
package program

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// source is the import path of the program; go build finds it from any folder of the module.
const source = "github.com/seed91453169/tocsin/cmd/tocsin"

// Binary returns the path of the program. The tests of one package share one build.
var Binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tocsin-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tocsin")
	return path, build(path)
})

// Build builds a variant of the program with further arguments for go build, and returns its path.
func Build(t testing.TB, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tocsin")
	if err := build(path, args...); err != nil {
		t.Fatal(err)
	}
	return path
}

func build(path string, args ...string) error {
	all := append([]string{"build", "-o", path}, args...)
	// #nosec G204 -- the arguments are those of a test
	out, err := exec.Command("go", append(all, source)...).CombinedOutput() //nolint:noctx // it ends by itself
	if err != nil {
		return fmt.Errorf("go build %v: %w\n%s", args, err, out)
	}
	return nil
}

// Process is a process of the program.
type Process struct {
	Args []string      // without the name of the program
	Done chan struct{} // closed when the process has ended
	Err  error         // from exec.Cmd.Wait, once Done is closed

	cmd *exec.Cmd
}

// Launch starts a process that writes standard output and standard error to log. The caller ends it.
func Launch(path string, log io.Writer, env []string, args ...string) (*Process, error) {
	p := &Process{Args: args, Done: make(chan struct{})}
	// #nosec G204 -- the program and the arguments are those of a test
	p.cmd = exec.Command(path, args...) //nolint:noctx // the caller ends it
	p.cmd.Env = append([]string{"TMPDIR=" + os.TempDir(), "GOGC=400"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.Err = p.cmd.Wait(); close(p.Done) }()
	return p, nil
}

// Pid returns the id of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.Done
}

// ExitCode waits for the end of the process and returns its exit code; -1 means that a signal ended it.
func (p *Process) ExitCode() int {
	<-p.Done
	return p.cmd.ProcessState.ExitCode()
}

// lastPort is the port that FreePort returned last. The range lies below the ports that the system chooses, so that
// no other program receives one before the process that listens on it starts, or while that process is restarted.
// Each test program begins at another port.
var lastPort = func() *atomic.Int64 {
	n := new(atomic.Int64)
	n.Store(20_000 + int64(os.Getpid()%400)*25)
	return n
}()

// FreePort returns a port of 127.0.0.1 on which no program listens.
func FreePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := fmt.Sprint(lastPort.Add(1))
		l, err := net.Listen("tcp", "127.0.0.1:"+port) //nolint:noctx // on this machine
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}
