package testenv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var migrations atomic.Int32

func countedMigrate(ctx context.Context, address string) error {
	migrations.Add(1)
	return migrate(ctx, address)
}

func migrate(ctx context.Context, address string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE TABLE thing (id int)")
	return errors.Join(err, conn.Close(ctx))
}

func brokenMigrate(context.Context, string) error { return errors.New("no such column") }

func count(t *testing.T, address, query string) int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var n int
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgresURL(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := make(map[string]bool)
	t.Run("clones", func(t *testing.T) {
		for i := range 10 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				address := testenv.PostgresURL(t, countedMigrate)
				// One row in each: nobody sees another's.
				if n := count(t, address, "WITH x AS (INSERT INTO thing VALUES (1) RETURNING 1) SELECT count(*) FROM x"); n != 1 {
					t.Errorf("inserted %d", n)
				}
				if n := count(t, address, "SELECT count(*) FROM thing"); n != 1 {
					t.Errorf("%d rows, want the own one", n)
				}
				mu.Lock()
				defer mu.Unlock()
				seen[address] = true
			})
		}
	})
	if n := migrations.Load(); n != 1 {
		t.Errorf("migrated %d times", n)
	}
	if len(seen) != 10 {
		t.Errorf("%d databases for 10 tests", len(seen))
	}
	for address := range seen {
		if conn, err := pgx.Connect(t.Context(), address); err == nil {
			_ = conn.Close(t.Context())
			t.Error("a database outlived its test")
		}
	}
}

func TestPostgresURLEmpty(t *testing.T) {
	t.Parallel()
	const tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
	address := testenv.PostgresURL(t, nil)
	if n := count(t, address, tables); n != 0 {
		t.Errorf("%d tables", n)
	}
	if n := count(t, address, "SELECT count(*) FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'on'"); n != 1 {
		t.Error("synchronous_commit is not what it is in production")
	}
	if n := count(t, address, "SELECT count(*) WHERE lower('ÄÖ') = 'äö'"); n != 1 {
		t.Error("the locale knows no letters beyond ASCII")
	}
}

func TestPostgresURLBrokenMigration(t *testing.T) {
	t.Parallel()
	rec := &recorder{TB: t}
	rec.run(func() { testenv.PostgresURL(rec, brokenMigrate) })
	if !strings.Contains(rec.fatal, "no such column") {
		t.Errorf("a migration that fails: %q", rec.fatal)
	}
}

func TestPostgresServer(t *testing.T) {
	t.Parallel()
	p := testenv.Postgres(t)
	if err := migrate(t.Context(), p.URL()); err != nil {
		t.Fatal(err)
	}
	const rows = "SELECT count(*) FROM thing"
	const insert = "WITH x AS (INSERT INTO thing VALUES (1) RETURNING 1) SELECT count(*) FROM x"
	for i, again := range []func(){
		func() { p.Restart(testenv.Fast) },
		func() { p.Restart(testenv.Immediate) },
		func() {
			p.Kill()
			if _, err := pgx.Connect(t.Context(), p.URL()); err == nil {
				t.Error("a killed server answers")
			}
			p.Start()
		},
	} {
		count(t, p.URL(), insert)
		again()
		if n := count(t, p.URL(), rows); n != i+1 {
			t.Errorf("after restart %d: %d rows", i, n)
		}
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		opts []testenv.RedisOption
		want string
	}{
		"volatile": {nil, ""},
		"AOF":      {[]testenv.RedisOption{testenv.WithAOF()}, "v"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testenv.Redis(t, tt.opts...)
			options, err := redis.ParseURL(r.URL())
			if err != nil {
				t.Fatal(err)
			}
			options.MaxRetries = -1
			options.DialerRetries = 1
			options.ContextTimeoutEnabled = true
			client := redis.NewClient(options)
			t.Cleanup(func() { _ = client.Close() })
			if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}

			r.Pause()
			short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := client.Get(short, "k").Err(); !errors.Is(err, context.DeadlineExceeded) && !os.IsTimeout(err) {
				t.Errorf("a frozen Redis: %v", err)
			}
			r.Resume()
			if got, err := client.Get(t.Context(), "k").Result(); got != "v" {
				t.Errorf("after the thaw: %q, %v", got, err)
			}

			r.Kill()
			if err := client.Ping(t.Context()).Err(); err == nil {
				t.Error("a killed Redis answers")
			}
			r.Start()
			got, err := client.Get(t.Context(), "k").Result()
			if err != nil && !errors.Is(err, redis.Nil) || got != tt.want {
				t.Errorf("after Kill and Start: %q, %v; want %q", got, err, tt.want)
			}
			r.Pause() // and the end of the test is not kept waiting
		})
	}
}

// TestRedisOfURL is about a machine that has no redis-server but a TEST_REDIS_URL.
func TestRedisOfURL(t *testing.T) {
	r := testenv.Redis(t)
	t.Setenv("TEST_REDIS_URL", r.URL())
	t.Setenv("PATH", t.TempDir())
	a, b := testenv.Redis(t), testenv.Redis(t)
	if a.URL() == b.URL() || a.URL() == r.URL() || !strings.HasSuffix(a.URL(), "/1") {
		t.Errorf("databases %s and %s", a.URL(), b.URL())
	}
	rec := &recorder{TB: t}
	rec.run(func() { testenv.Redis(rec).Kill() })
	if !strings.Contains(rec.fatal, "install redis-server") {
		t.Errorf("Kill of a server that belongs to all: %q", rec.fatal)
	}
}

func TestEventually(t *testing.T) {
	t.Parallel()
	calls := 0
	testenv.Eventually(t, time.Minute, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	}, "three calls")

	rec := &recorder{TB: t}
	rec.run(func() {
		testenv.Eventually(rec, 20*time.Millisecond, func() error { return errors.New("2 are left") }, "empty queue")
	})
	if want := fmt.Sprintf("empty queue: not within %v: 2 are left", testenv.Slowdown*20*time.Millisecond); rec.fatal != want {
		t.Errorf("after the time-out: %q", rec.fatal)
	}
}

// TestKilled kills a process that uses servers, and looks for what it leaves behind.
func TestKilled(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestUntilKilled$", "-test.v")
	cmd.Env = append(os.Environ(), "TOCSIN_TESTENV_UNTIL_KILLED=1", "TEST_DATABASE_URL=")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for scanner := bufio.NewScanner(out); len(addresses) < 3 && scanner.Scan(); {
		if _, address, ok := strings.Cut(scanner.Text(), "server "); ok {
			addresses = append(addresses, address)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if len(addresses) != 3 {
		t.Fatalf("the process printed %d servers", len(addresses))
	}
	for _, address := range addresses {
		testenv.Eventually(t, 30*time.Second, func() error {
			if folder := socketFolder(address); folder != "" {
				if _, err := os.Stat(folder); !os.IsNotExist(err) {
					return fmt.Errorf("%s is there", folder)
				}
			}
			return answers(t, address)
		}, "the end of "+address)
	}
	left, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range left {
		text, _ := os.ReadFile(path)
		for _, address := range addresses {
			if folder := socketFolder(address); folder != "" && strings.Contains(string(text), folder) {
				t.Errorf("a process is left: %q", text)
			}
		}
	}
}

func socketFolder(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get("host")
}

// answers returns an error as long as somebody answers at address.
func answers(t *testing.T, address string) error {
	var err error
	if strings.HasPrefix(address, "redis") {
		options, errParse := redis.ParseURL(address)
		if errParse != nil {
			return errParse
		}
		options.MaxRetries, options.DialerRetries = -1, 1
		client := redis.NewClient(options)
		defer func() { _ = client.Close() }()
		err = client.Ping(t.Context()).Err()
	} else {
		var conn *pgx.Conn
		if conn, err = pgx.Connect(t.Context(), address); err == nil {
			_ = conn.Close(t.Context())
		}
	}
	if err == nil {
		return errors.New("it answers")
	}
	return nil
}

// TestMissing runs where there is neither redis-server nor a way to get one.
func TestMissing(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestRedis$/^volatile$")
	cmd.Env = []string{"PATH=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "install it (apt-get install redis-server)") {
		t.Errorf("without Redis: %v\n%s", err, out)
	}
}

// TestUntilKilled is the process of TestKilled.
func TestUntilKilled(t *testing.T) {
	if os.Getenv("TOCSIN_TESTENV_UNTIL_KILLED") == "" {
		return
	}
	fmt.Println("server", testenv.PostgresURL(t, nil))
	fmt.Println("server", testenv.Postgres(t).URL())
	r := testenv.Redis(t)
	r.Pause()
	fmt.Println("server", r.URL())
	select {}
}

// recorder is a test that fails without failing ours.
type recorder struct {
	testing.TB
	fatal string
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

func (r *recorder) Fatal(args ...any) {
	r.fatal = fmt.Sprint(args...)
	panic(r)
}

func (r *recorder) run(f func()) {
	defer func() {
		if v := recover(); v != nil && v != any(r) {
			panic(v)
		}
	}()
	f()
}
