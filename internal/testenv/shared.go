package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Servers is what the tests of many processes run against.
type Servers struct {
	Env  []string // for those processes
	Text string   // which servers these are, on one line, without a password
	stop func() error
}

// Stop stops what was started.
func (s *Servers) Stop() error { return s.stop() }

// StartServers starts one PostgreSQL for all, unless TEST_DATABASE_URL names one, and sees to it that every test can
// start a Redis of its own.
func StartServers() (*Servers, error) {
	s := &Servers{stop: func() error { return nil }}
	postgres := "the PostgreSQL of TEST_DATABASE_URL"
	if os.Getenv("TEST_DATABASE_URL") == "" {
		server, address, err := startPostgres()
		if err != nil {
			return nil, err
		}
		s.stop = server.close
		s.Env = append(s.Env, "TEST_DATABASE_URL="+address)
		postgres = "a PostgreSQL in Docker"
		if server.container == "" {
			postgres = fmt.Sprintf("%s started in %s (Unix socket)", version(server.argv[0]), server.dir)
		}
	}
	redis, err := describeRedis()
	if err != nil {
		_ = s.stop()
		return nil, err
	}
	s.Text = postgres + ", " + redis
	return s, nil
}

func describeRedis() (string, error) {
	if _, ok := lookRedis(); !ok && os.Getenv("TEST_REDIS_URL") != "" {
		return "databases of the Redis of TEST_REDIS_URL", nil
	}
	// One is started and stopped, so that a fault is reported once and not by every test.
	server, _, err := startRedis(redisOptions{})
	if err != nil {
		return "", err
	}
	what := "a Redis in Docker for each test"
	if server.container == "" {
		what = version(server.argv[0]) + " started per test"
	}
	return what, server.close()
}

// version is a name and a version from what a program says about itself: "postgres (PostgreSQL) 15.18 (Debian …)" or
// "Redis server v=7.0.15 sha=…".
func version(program string) string {
	out, err := exec.CommandContext(context.Background(), program, "--version").Output()
	name := filepath.Base(program)
	if err != nil {
		return name
	}
	for field := range strings.FieldsSeq(string(out)) {
		if v := strings.TrimPrefix(field, "v="); v[0] >= '0' && v[0] <= '9' {
			return name + " " + v
		}
	}
	return name
}
