package web

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// pipeListener hands out the server's end of one connection.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestBodyStandsStill: a body may be slow, but not for ever, and one that stands still ends the waiting.
func TestBodyStandsStill(t *testing.T) {
	t.Parallel()
	const token = "the-token-of-the-tests-0123456789"
	for _, c := range []struct {
		name, media string
		every       time.Duration // a byte comes
		after       time.Duration // the answer comes, about
		status      int
	}{
		{"stands still", "application/json", time.Hour, bodyPause, http.StatusRequestTimeout},
		{"trickles", "application/json", 20 * time.Second, jsonTime, http.StatusRequestTimeout},
		{"lines stand still", mediaNDJSON, time.Hour, bodyPause, http.StatusRequestTimeout},
		{"lines trickle", mediaNDJSON, 20 * time.Second, 50 * 20 * time.Second, http.StatusUnprocessableEntity},
	} {
		synctest.Test(t, func(t *testing.T) {
			// An administrator may do it: nothing is asked of the database before the body.
			server := NewServer(New(Config{DB: new(dbmodel.DB), AdminToken: token, Log: zerolog.Nop()}), zerolog.Nop())
			listener := make(pipeListener)
			go func() { _ = server.Serve(listener) }()
			client, end := net.Pipe()
			listener <- end
			path := "PUT /api/v1/products/1"
			if c.media == mediaNDJSON {
				path = "POST /api/v1/observations"
			}
			started, done := time.Now(), make(chan struct{})
			defer close(done)
			go func() {
				_, _ = io.WriteString(client, path+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\nContent-Type: "+c.media+"\r\nContent-Length: 51\r\n\r\n{")
				for _, b := range strings.Repeat(" ", 49) + "!" {
					select {
					case <-time.After(c.every):
					case <-done:
						return
					}
					if _, err := client.Write([]byte{byte(b)}); err != nil {
						return
					}
				}
			}()
			res, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if res.StatusCode != c.status || time.Since(started).Round(time.Second) != c.after {
				t.Errorf("%s: %d after %v", c.name, res.StatusCode, time.Since(started))
			}
			_ = res.Body.Close()
			_ = client.Close()
			_ = server.Close()
		})
	}
}

// TestSlowHeader: neither a header that trickles nor a connection that says nothing holds on for ever.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, begin string
		every       time.Duration // a byte comes
		after       time.Duration // the server closes, about
	}{
		{"says nothing", "", time.Hour, 10 * time.Second},
		{"half a header", "GET /healthz HTTP/1.1\r\nX: ", time.Hour, 10 * time.Second},
		{"trickles", "GET /healthz HTTP/1.1\r\nX: ", time.Second, 10 * time.Second},
		{"idle", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", time.Hour, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := NewServer(New(Config{Log: zerolog.Nop()}), zerolog.Nop())
			listener := make(pipeListener)
			go func() { _ = server.Serve(listener) }()
			client, end := net.Pipe()
			listener <- end
			started, done := time.Now(), make(chan struct{})
			defer close(done)
			go func() {
				_, _ = io.WriteString(client, c.begin)
				for {
					select {
					case <-time.After(c.every):
					case <-done:
						return
					}
					if _, err := io.WriteString(client, "x"); err != nil {
						return
					}
				}
			}()
			_, _ = io.Copy(io.Discard, client) // until the server closes
			if took := time.Since(started).Round(time.Second); took != c.after {
				t.Errorf("%s: closed after %v", c.name, took)
			}
			_ = client.Close()
			_ = server.Close()
		})
	}
}

// TestStrangersBody: a call that is refused before its caller is known is answered while its body still comes, and nobody
// waits for the rest.
func TestStrangersBody(t *testing.T) {
	t.Parallel()
	for database, url := range map[string]string{
		"PostgreSQL": testenv.PostgresURL(t, testenv.MigrateSchema), "SQLite": testenv.SQLiteURL(t),
	} {
		for name, c := range map[string]struct {
			header  string
			prepare func(*testing.T, *dbmodel.DB)
			status  int
		}{
			"no token":            {"", nil, http.StatusUnauthorized},
			"an unknown token":    {"Authorization: Bearer nobody-has-it\r\n", nil, http.StatusUnauthorized},
			"the database away":   {"Authorization: Bearer nobody-has-it\r\n", closeDatabase, http.StatusServiceUnavailable},
			"another site's page": {"Cookie: tocsin_session=" + strangersSession + "\r\nSec-Fetch-Site: cross-site\r\n", addSession, http.StatusForbidden},
		} {
			synctest.Test(t, func(t *testing.T) {
				db := testenv.OpenDB(t, url)
				if c.prepare != nil {
					c.prepare(t, db)
				}
				status, answered, ended := trickle(t, db, c.header)
				if status != c.status || answered > time.Second {
					t.Errorf("%s, %s: %d after %s, want %d at once", database, name, status, answered, c.status)
				}
				if ended > 2*leftTime {
					t.Errorf("%s, %s: the connection stays for %s", database, name, ended)
				}
			})
		}
	}
}

// trickle reports observations in a body of which a byte comes each 100 ms, for ever, and returns the status of the
// answer, when it came, and when the server closed the connection.
func trickle(t *testing.T, db *dbmodel.DB, header string) (status int, answered, ended time.Duration) {
	t.Helper()
	server := NewServer(New(Config{DB: db, Log: zerolog.Nop()}), zerolog.Nop())
	listener := make(pipeListener)
	go func() { _ = server.Serve(listener) }()
	client, end := net.Pipe()
	listener <- end
	started := time.Now()
	var sender sync.WaitGroup
	sender.Go(func() {
		_, _ = io.WriteString(client, "POST /api/v1/observations HTTP/1.1\r\nHost: x\r\n"+header+"Content-Type: "+mediaNDJSON+"\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			if _, err := io.WriteString(client, "1\r\n \r\n"); err != nil {
				return
			}
			<-time.After(100 * time.Millisecond)
		}
	})
	in := bufio.NewReader(client)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	answered = time.Since(started)
	_, _ = io.Copy(io.Discard, in)
	ended = time.Since(started)
	_ = client.Close()
	_ = server.Close()
	sender.Wait()
	return res.StatusCode, answered, ended
}

const strangersSession = "session-of-a-user"

// addSession adds the session strangersSession of a user. It lasts by the clock of a synctest bubble, and by that of
// PostgreSQL.
func addSession(t *testing.T, db *dbmodel.DB) {
	t.Helper()
	ctx := t.Context()
	if _, err := dbmodel.AddUser(ctx, db, "alex"); err != nil {
		t.Fatal(err)
	}
	user, err := dbmodel.UserByName(ctx, db, "alex")
	if err == nil {
		err = dbmodel.AddSession(ctx, db, dbmodel.NewSession{UserID: user.ID}, strangersSession, []byte{}, time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func closeDatabase(t *testing.T, db *dbmodel.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNobodyReads: who asks and does not read the answers keeps no connection, and who reads slowly gets all.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	const token = "the-token-of-the-tests-0123456789"
	const page, whole = "GET /static/tocsin.css HTTP/1.1\r\nHost: x\r\n\r\n", "GET /api/openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for _, c := range []struct {
		name, request string
		every         time.Duration // so many bytes are read
		bytes         int
		broken        bool
	}{
		{"reads nothing", page, time.Hour, 1, true},
		{"reads no error", "GET /api/v1/products HTTP/1.1\r\nHost: x\r\n\r\n", time.Hour, 1, true},
		{"reads no broken request's answer", "GET\r\n\r\n", time.Hour, 1, true},
		{"begins to read", whole, time.Hour, 100, true},
		{"reads slowly", whole, 9 * time.Second, 8 << 10, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			// An administrator may do it: nothing is asked of the database before the body.
			server := NewServer(New(Config{DB: new(dbmodel.DB), AdminToken: token, Log: zerolog.Nop()}), zerolog.Nop())
			listener := make(pipeListener)
			go func() { _ = server.Serve(listener) }()
			client, end := net.Pipe()
			listener <- end
			asked := make(chan struct{})
			go func() {
				defer close(asked)
				_, _ = io.WriteString(client, c.request)
			}()
			<-asked
			started, got := time.Now(), 0
			buffer := make([]byte, c.bytes)
			var err error
			for err == nil {
				<-time.After(c.every)
				var n int
				n, err = io.ReadFull(client, buffer)
				got += n
			}
			if c.broken && got >= 4096 || !c.broken && got < 50<<10 {
				t.Errorf("%s: %d bytes after %v, then %v", c.name, got, time.Since(started), err)
			}
			_ = client.Close()
			_ = server.Close()
		})
	}
}

// TestRoomForLargeBodies: while a large body is held, another large one waits for a while, and nothing else does.
func TestRoomForLargeBodies(t *testing.T) {
	t.Parallel()
	const token = "the-token-of-the-tests-0123456789"
	const large = "Content-Length: 33554432\r\n\r\n{"
	begin := func(path, media string) string {
		return "POST /api/v1/" + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nContent-Type: " + media + "\r\n"
	}
	const list = "observations"
	for name, c := range map[string]struct {
		request string
		after   time.Duration // the answer comes
		status  int
	}{
		"large":           {begin(list, "application/json") + large, roomTime, http.StatusTooManyRequests},
		"large exception": {begin("exceptions", "application/json") + large, roomTime, http.StatusTooManyRequests},
		"chunked, large": {
			begin(list, "application/json") + "Transfer-Encoding: chunked\r\n\r\n200000\r\n[" + strings.Repeat(" ", 2<<20),
			roomTime, http.StatusTooManyRequests,
		},
		"chunked, small":  {begin(list, "application/json") + "Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n", 0, http.StatusUnprocessableEntity},
		"small":           {begin(list, "application/json") + "Content-Length: 2\r\n\r\n{]", 0, http.StatusBadRequest},
		"small exception": {begin("task-exceptions", "application/json") + "Content-Length: 2\r\n\r\n{}", 0, http.StatusUnprocessableEntity},
		"lines":           {begin(list, mediaNDJSON) + "Content-Length: 33554432\r\n\r\n{]\n", 0, http.StatusUnprocessableEntity},
	} {
		synctest.Test(t, func(t *testing.T) {
			// An administrator may do it: nothing is asked of the database before the body.
			server := NewServer(New(Config{DB: new(dbmodel.DB), AdminToken: token, Log: zerolog.Nop()}), zerolog.Nop())
			listener := make(pipeListener)
			go func() { _ = server.Serve(listener) }()
			send := func(request string) net.Conn {
				client, end := net.Pipe()
				listener <- end
				go func() { _, _ = io.WriteString(client, request) }()
				return client
			}
			held := send(begin(list, "application/json") + large)
			go func() {
				for {
					<-time.After(bodyPause / 2)
					if _, err := io.WriteString(held, " "); err != nil {
						return
					}
				}
			}()
			synctest.Wait()
			began := time.Now()
			client := send(c.request)
			res, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if res.StatusCode != c.status || time.Since(began).Round(time.Second) != c.after {
				t.Errorf("%s: %d after %v, want %d after %v", name, res.StatusCode, time.Since(began), c.status, c.after)
			}
			if res.StatusCode == http.StatusTooManyRequests && res.Header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", name)
			}
			_ = res.Body.Close()
			_ = client.Close()
			_ = held.Close()
			_ = server.Close()
			<-time.After(bodyPause) // until all that waits has ended
		})
	}
}

// TestRoomIsGivenBack: a large body that waits goes on when the one before it has ended.
func TestRoomIsGivenBack(t *testing.T) {
	t.Parallel()
	room := semaphore.NewWeighted(maxLarge)
	body := func(size int) *requestBody {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(strings.Repeat(" ", size)))
		b := limitBody(httptest.NewRecorder(), r)
		b.takeLarge(t.Context(), "application/json", room)
		return b
	}
	first, second, small := body(maxLarge), body(maxLarge), body(maxJSON)
	if _, err := io.Copy(io.Discard, first); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, small); err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, second)
		read <- err
	}()
	first.done()
	if err := <-read; err != nil {
		t.Error(err)
	}
	small.done()
	second.done()
	if !room.TryAcquire(maxLarge) {
		t.Error("some room is lost")
	}
}
