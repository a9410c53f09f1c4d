package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PostgresServer is a PostgreSQL for one test, which may stop and kill it. Data that was committed outlasts both.
type PostgresServer struct {
	t      testing.TB
	server *server
	url    string
}

// StopMode says how PostgreSQL is stopped.
type StopMode string

// Modes, as pg_ctl names them.
const (
	Fast      StopMode = "fast"      // connections are ended, transactions rolled back
	Immediate StopMode = "immediate" // as if it had crashed: it recovers at the next start
)

func (m StopMode) signal() syscall.Signal {
	if m == Immediate {
		return syscall.SIGQUIT
	}
	return syscall.SIGINT
}

// Postgres starts a PostgreSQL of the test's own, which takes about a second; PostgresURL is enough for a test that
// only needs a database.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	s, url, err := startPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Logf("stop PostgreSQL: %v", err)
		}
	})
	return &PostgresServer{t, s, url}
}

// URL addresses the database postgres, which is empty, as a superuser. It stays the same over restarts.
func (p *PostgresServer) URL() string { return p.url }

// Stop stops the server and returns when it has ended.
func (p *PostgresServer) Stop(mode StopMode) {
	p.t.Helper()
	if err := p.server.stop(mode.signal()); err != nil {
		p.t.Fatalf("stop PostgreSQL: %v", err)
	}
}

// Kill ends the server with SIGKILL, its backends too.
func (p *PostgresServer) Kill() {
	p.t.Helper()
	if !p.server.running() {
		p.t.Fatal("kill PostgreSQL: it does not run")
	}
	backends := children(p.server.pid)
	p.server.kill()
	for _, pid := range backends {
		_ = syscall.Kill(pid, syscall.SIGKILL) // most have followed the postmaster already
	}
}

// Start starts the server again, and returns when it answers.
func (p *PostgresServer) Start() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var err error
	_ = poll(ctx, func() error {
		// The processes of a server that was killed may be about to go: it refuses to start beside them.
		if err = p.server.start(); err != nil && strings.Contains(err.Error(), "pre-existing shared memory block") {
			return err
		}
		return nil
	})
	if err != nil {
		p.t.Fatalf("start PostgreSQL: %v", err)
	}
}

// Restart is Stop and Start.
func (p *PostgresServer) Restart(mode StopMode) {
	p.t.Helper()
	p.Stop(mode)
	p.Start()
}

// children lists the processes whose parent is pid; where there is no /proc of Linux, none.
func children(pid int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		if n, err := strconv.Atoi(field); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// startPostgres starts a server and returns it with the URL of its database postgres.
func startPostgres() (*server, string, error) {
	bin, errFind := findPostgres()
	if errFind != nil && !dockerAnswers() {
		return nil, "", fmt.Errorf("the tests need PostgreSQL: install it (apt-get install postgresql), "+
			"or set TEST_DATABASE_URL to a role that may create databases, or start Docker (%w)", errFind)
	}
	s, err := newServer("pg")
	if err != nil {
		return nil, "", err
	}
	s.deathKill = syscall.SIGQUIT // SIGKILL would leave the backends behind
	var address string
	if errFind == nil {
		address, err = s.localPostgres(bin)
	} else {
		address, err = s.dockerPostgres()
	}
	if err == nil {
		s.ready = func(ctx context.Context) error { return connect(ctx, address, func(*pgx.Conn) error { return nil }) }
		err = s.start()
	}
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("start PostgreSQL for the tests: %w", err), s.close())
	}
	return s, address, nil
}

// Settings of every PostgreSQL here. It may lose commits when the machine loses power, not when it is killed;
// and killed, it leaves nothing outside its folder.
var postgresSettings = []string{
	"-c", "fsync=off", "-c", "max_connections=300", "-c", "max_wal_size=256MB", "-c", "dynamic_shared_memory_type=mmap",
}

func (s *server) localPostgres(bin string) (string, error) {
	if err := s.dropRoot(); err != nil {
		return "", err
	}
	data := filepath.Join(s.dir, "data")
	initdb := func(locale string) error {
		// #nosec G204 -- found by this package
		cmd := exec.Command(filepath.Join(bin, "initdb"), //nolint:noctx // it ends by itself
			"--pgdata="+data, "--username=postgres", "--auth=trust",
			"--encoding=UTF8", "--locale="+locale, "--no-sync", "--no-instructions")
		cmd.Dir = s.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
		return runCmd(cmd)
	}
	err := initdb("C.UTF-8")
	if err != nil && strings.Contains(err.Error(), "invalid locale") {
		err = initdb("C") // not every system has the other
	}
	if err != nil {
		return "", err
	}
	program := []string{filepath.Join(bin, "postgres"), "-D", data, "-k", s.dir, "-c", "listen_addresses="}
	s.argv = append(program, postgresSettings...)
	return "postgres://postgres@/postgres?host=" + url.QueryEscape(s.dir) + "&port=5432&sslmode=disable", nil
}

// dropRoot makes the server run as another user where we are root: PostgreSQL refuses to be that.
func (s *server) dropRoot() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return err
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		return err
	}
	s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid))
}

func (s *server) dockerPostgres() (string, error) {
	port, err := s.inContainer("postgres:16-alpine", "5432", []string{"POSTGRES_HOST_AUTH_METHOD=trust"}, postgresSettings)
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port), err
}

// connect runs f on a connection of its own.
func connect(ctx context.Context, address string, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	return errors.Join(f(conn), conn.Close(ctx))
}
