// Package program builds the tocsin program and runs processes of it for tests.
package program

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv/freeport"
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

// FreePort returns a port of freeport.Take.
func FreePort(t testing.TB) string {
	t.Helper()
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}
