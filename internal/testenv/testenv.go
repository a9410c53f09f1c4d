// Package testenv gives tests a real PostgreSQL and a real Redis, and stops them again, also when the tests are killed.
//
// PostgreSQL is the one of TEST_DATABASE_URL (a role that may create databases), Redis a process of its own for each
// test. Servers that are not there are started from their programs; programs that are not there are installed where
// we are root on Debian, else run in Docker. A test that gets no server fails; it is never skipped.
package testenv

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main is the body of a TestMain: it runs the tests, stops the PostgreSQL that they shared, and fails when goroutines
// are left. It does not return.
func Main(m *testing.M, opts ...goleak.Option) {
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if code == 0 {
		// A pool of Redis connections whose server was away looks once a second whether it was closed meanwhile.
		opts = append(opts, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
		if err := goleak.Find(opts...); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left after the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Eventually waits until cond returns nil, and fails the test with msg and cond's last error after timeout, or Slowdown
// times as long.
func Eventually(t testing.TB, timeout time.Duration, cond func() error, msg string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Slowdown*timeout)
	defer cancel()
	if err := poll(ctx, cond); err != nil {
		t.Fatalf("%s: not within %v: %v", msg, Slowdown*timeout, err)
	}
}

// poll calls cond until it returns nil, and returns its last error when ctx ends. It starts with short pauses: most
// conditions are met in a moment.
func poll(ctx context.Context, cond func() error) error {
	const shortest, longest = 4 * time.Millisecond, 50 * time.Millisecond
	for pause := shortest; ; pause = min(2*pause, longest) {
		err := cond()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}
