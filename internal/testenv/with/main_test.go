package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain lets the test binary be the command.
func TestMain(m *testing.M) {
	if os.Getenv("TOCSIN_TESTENV_WITH") != "" {
		main()
	}
	os.Exit(m.Run())
}

func with(t *testing.T, env []string, args ...string) (stdout string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), "TOCSIN_TESTENV_WITH=1", "TEST_DATABASE_URL="), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	code, err := exitCode(cmd.Run())
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), code
}

func TestWith(t *testing.T) {
	t.Parallel()
	out, code := with(t, nil, "--", "sh", "-c", "echo got $TEST_DATABASE_URL; exit 7")
	line, rest, _ := strings.Cut(out, "\n")
	if !strings.HasPrefix(line, "tests run against: ") || !strings.Contains(line, "redis") || !strings.HasPrefix(rest, "got postgres://") || code != 7 {
		t.Errorf("code %d:\n%s", code, out)
	}
	_, folder, ok := strings.Cut(line, " started in ")
	folder, _, _ = strings.Cut(folder, " ")
	if _, err := os.Stat(folder); ok && !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", folder, err)
	}
}

func TestWithGivenURL(t *testing.T) {
	t.Parallel()
	out, code := with(t, []string{"TEST_DATABASE_URL=postgres://u:hidden@nowhere/db"}, "sh", "-c", "kill -TERM $$")
	if code != 128+15 || !strings.Contains(out, "the PostgreSQL of TEST_DATABASE_URL") || strings.Contains(out, "hidden") {
		t.Errorf("code %d:\n%s", code, out)
	}
}

// TestWithSignal sends the signal to the command alone; it reaches the child, which decides.
func TestWithSignal(t *testing.T) {
	t.Parallel()
	out, code := with(t, nil, "--", "sh", "-c", `trap 'echo caught; exit 3' TERM; kill -TERM $PPID; while :; do sleep 0.01; done`)
	if code != 3 || !strings.Contains(out, "caught") {
		t.Errorf("code %d:\n%s", code, out)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	if _, code := with(t, nil); code != 2 {
		t.Errorf("code %d", code)
	}
}
