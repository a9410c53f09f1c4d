package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PoolMode says how long PgBouncer leaves a connection of the server to one client.
type PoolMode string

// Modes, as PgBouncer names them.
const (
	SessionPool     PoolMode = "session"
	TransactionPool PoolMode = "transaction"
)

var findPgBouncer = sync.OnceValues(func() (string, error) {
	return findOrInstall("pgbouncer", func() (string, bool) {
		if path, err := exec.LookPath("pgbouncer"); err == nil {
			return path, true
		}
		const debian = "/usr/sbin/pgbouncer" // not in the PATH of every user
		_, err := os.Stat(debian)
		return debian, err == nil
	})
})

// PgBouncer starts a PgBouncer with its default settings in front of the database at a PostgreSQL URL, and returns
// the URL of that database through it. It ends with the test.
func PgBouncer(t testing.TB, postgresURL string, mode PoolMode) string {
	t.Helper()
	address, s, err := startPgBouncer(postgresURL, mode)
	if err != nil {
		t.Fatalf("start PgBouncer: %v", err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Logf("stop PgBouncer: %v", err)
		}
	})
	return address
}

func startPgBouncer(postgresURL string, mode PoolMode) (string, *server, error) {
	program, err := findPgBouncer()
	if err != nil {
		return "", nil, fmt.Errorf("the tests need PgBouncer: install it (apt-get install pgbouncer): %w", err)
	}
	behind, err := pgx.ParseConfig(postgresURL)
	if err != nil {
		return "", nil, err
	}
	s, err := newServer("pgbouncer")
	if err != nil {
		return "", nil, err
	}
	s.deathKill = syscall.SIGTERM
	const port = 6432
	settings := []string{
		"[databases]",
		fmt.Sprintf("%s = host=%s port=%d dbname=%[1]s user=%[4]s", behind.Database, behind.Host, behind.Port, behind.User),
		"[pgbouncer]",
		"listen_addr =", fmt.Sprintf("listen_port = %d", port), "unix_socket_dir = " + s.dir,
		"auth_type = any", "pool_mode = " + string(mode),
	}
	file := filepath.Join(s.dir, "pgbouncer.ini")
	err = errors.Join(os.WriteFile(file, []byte(strings.Join(settings, "\n")+"\n"), 0o600), s.dropRoot())
	if err == nil && s.cred != nil {
		err = os.Chown(file, int(s.cred.Uid), int(s.cred.Gid))
	}
	address := fmt.Sprintf("postgres://%s@/%s?host=%s&port=%d&sslmode=disable",
		behind.User, behind.Database, url.QueryEscape(s.dir), port)
	if err == nil {
		s.argv = []string{program, "--quiet", file}
		s.ready = func(ctx context.Context) error {
			return connect(ctx, address, func(conn *pgx.Conn) error { return conn.Ping(ctx) })
		}
		err = s.start()
	}
	if err != nil {
		return "", nil, errors.Join(err, s.close())
	}
	return address, s, nil
}
