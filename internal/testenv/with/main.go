// Command with runs a command, usually go test, against one PostgreSQL that all its processes share:
//
//	go run ./internal/testenv/with -- go test ./...
//
// Without it every package with database tests starts its own, which works as well and takes longer.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/seed91453169/tocsin/internal/testenv"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: with [--] command [argument …]")
		os.Exit(2)
	}
	code, err := run(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "with:", err)
	}
	os.Exit(code)
}

// run runs the command and returns its exit code.
func run(args []string) (code int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	servers, err := testenv.StartServers()
	if err != nil {
		return 1, err
	}
	defer func() {
		if errStop := servers.Stop(); errStop != nil && err == nil {
			err = errStop
		}
	}()
	fmt.Println("tests run against:", servers.Text)

	// #nosec G204 G702 -- to run its arguments is its purpose
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // signals end it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), servers.Env...)
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			_ = cmd.Process.Signal(sig) // it may just have ended
		case err := <-ended:
			return exitCode(err)
		}
	}
}

// exitCode is what a shell would say: the code itself, or 128 and the signal.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 1, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}
