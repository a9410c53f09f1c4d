package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/testenv/freeport"
)

// RedisServer is a Redis for one test, which may kill and freeze it.
type RedisServer struct {
	t      testing.TB
	server *server // nil: a database of the Redis of TEST_REDIS_URL
	url    string
}

// RedisOption changes how a Redis is started.
type RedisOption func(*redisOptions)

type redisOptions struct{ aof bool }

// WithAOF makes Redis write everything down, so that it is there again after Kill and Start. Without it Redis is then
// empty.
func WithAOF() RedisOption { return func(o *redisOptions) { o.aof = true } }

// Redis starts a Redis of the test's own, gone at its end. Only where there is no redis-server but a TEST_REDIS_URL,
// the test gets an empty database of that server, and must not call Kill, Start, Pause or Resume.
func Redis(t testing.TB, opts ...RedisOption) *RedisServer {
	t.Helper()
	if address := os.Getenv("TEST_REDIS_URL"); address != "" {
		if _, ok := lookRedis(); !ok {
			return &RedisServer{t: t, url: claimRedisDatabase(t, address)}
		}
	}
	var o redisOptions
	for _, opt := range opts {
		opt(&o)
	}
	s, url, err := startRedis(o)
	if err != nil {
		t.Fatal(err)
	}
	return ownRedis(t, s, url)
}

// ownRedis is a server that ends with the test.
func ownRedis(t testing.TB, s *server, url string) *RedisServer {
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Logf("stop Redis: %v", err)
		}
	})
	return &RedisServer{t, s, url}
}

// URL addresses its database 0, and stays the same over restarts.
func (r *RedisServer) URL() string { return r.url }

// RedisClient connects to the Redis at a URL until the test ends, with the defaults of its client.
func RedisClient(t testing.TB, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Kill ends the server with SIGKILL.
func (r *RedisServer) Kill() {
	r.t.Helper()
	r.own().kill()
}

// Start starts it again on the same port, and returns when it answers.
func (r *RedisServer) Start() {
	r.t.Helper()
	if err := r.own().start(); err != nil {
		r.t.Fatalf("start Redis: %v", err)
	}
}

// Pause freezes the server: connections stay open and nobody answers.
func (r *RedisServer) Pause() { r.t.Helper(); r.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (r *RedisServer) Resume() { r.t.Helper(); r.signal(syscall.SIGCONT) }

func (r *RedisServer) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.own().signal(sig); err != nil {
		r.t.Fatalf("%v to Redis: %v", sig, err)
	}
}

func (r *RedisServer) own() *server {
	r.t.Helper()
	if r.server == nil {
		r.t.Fatal("this test stops Redis, and so needs one of its own: install redis-server")
	}
	return r.server
}

// redisSettings are those of every server: nothing is written down, and nothing thrown away.
var redisSettings = []string{"--save", "", "--maxmemory-policy", "noeviction"}

// startRedis starts a server and returns its URL.
func startRedis(o redisOptions) (*server, string, error) {
	settings := redisSettings
	if o.aof {
		settings = append(slices.Clip(settings), "--appendonly", "yes", "--appendfsync", "always")
	}
	program, errFind := findRedis()
	if errFind != nil && !dockerAnswers() {
		return nil, "", fmt.Errorf("the tests need Redis: install it (apt-get install redis-server), "+
			"or set TEST_REDIS_URL, or start Docker (%w)", errFind)
	}
	s, port, err := startOnPort("redis", func(s *server) (int, error) {
		if errFind != nil {
			return s.inContainer("redis:7-alpine", "6379", nil, append([]string{"redis-server"}, settings...))
		}
		port, err := freeport.Take()
		s.argv = localRedis(program, s, port, settings)
		return port, err
	})
	if err != nil {
		return nil, "", fmt.Errorf("start Redis for the tests: %w", err)
	}
	return s, redisURL(port), nil
}

// localRedis is the command of a server on this machine.
func localRedis(program string, s *server, port int, settings []string) []string {
	return append([]string{program, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", s.dir}, settings...)
}

func redisURL(port int) string { return fmt.Sprintf("redis://127.0.0.1:%d/0", port) }

// startOnPort starts a server that speaks like Redis; prepare gives it its command, and says its port.
func startOnPort(name string, prepare func(*server) (port int, err error)) (*server, int, error) {
	s, err := newServer(name)
	if err != nil {
		return nil, 0, err
	}
	for try := 1; ; try++ {
		port, err := prepare(s)
		s.ready = func(ctx context.Context) error { return s.answersOn(ctx, port) }
		if err == nil {
			err = s.start()
		}
		if err == nil {
			return s, port, nil
		}
		// Somebody may have taken the free port first.
		if try == 3 || s.container != "" {
			return nil, 0, errors.Join(err, s.close())
		}
	}
}

// answersOn checks that the server answers on a port, and that it is this one: two of them may have been given one
// port, and the second ends a moment later. It asks as bare as can be: a client would keep a pool and try again.
func (s *server) answersOn(ctx context.Context, port int) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\nINFO server\r\n")); err != nil {
		return err
	}
	answer := bufio.NewReader(conn)
	if got, err := answer.ReadString('\n'); err != nil || got != "+PONG\r\n" {
		return errors.Join(fmt.Errorf("it answered %q", got), err) // "-LOADING …" while it reads its file
	}
	for s.container == "" {
		line, err := answer.ReadString('\n')
		if err != nil {
			return err
		}
		if pid, ok := strings.CutPrefix(line, "process_id:"); ok {
			if strings.TrimSpace(pid) != strconv.Itoa(s.pid) {
				return errors.New("another server has the port")
			}
			break
		}
	}
	return nil
}

// claimRedisDatabase returns the URL of a database that no other test uses, and flushes it. Claims are keys in
// database 0, which is given to nobody; they run out, so a killed test holds none for ever.
func claimRedisDatabase(t testing.TB, address string) string {
	t.Helper()
	const lifetime = 30 * time.Minute
	options, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal("TEST_REDIS_URL is not the URL of a single Redis, like redis://host:6379")
	}
	options.DB = 0
	claims := redis.NewClient(options)
	t.Cleanup(func() { _ = claims.Close() })

	var db int
	Eventually(t, time.Minute, func() error {
		for db = 1; db <= 15; db++ { // of the 16 that a Redis has by default
			key := fmt.Sprintf("tocsin-testenv:db:%d", db)
			free, err := claims.SetNX(t.Context(), key, os.Getpid(), lifetime).Result()
			if err != nil {
				return err
			}
			if free {
				t.Cleanup(func() { claims.Del(context.Background(), key) })
				return nil
			}
		}
		return errors.New("all are taken")
	}, "a database of the Redis of TEST_REDIS_URL")

	own := *options
	own.DB = db
	client := redis.NewClient(&own)
	defer func() { _ = client.Close() }()
	if err := client.FlushDB(t.Context()).Err(); err != nil {
		t.Fatalf("flush database %d of the Redis of TEST_REDIS_URL: %v", db, err)
	}
	return withDatabase(address, strconv.Itoa(db))
}
