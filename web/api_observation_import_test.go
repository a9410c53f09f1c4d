package web_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestImport(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		body := lines(1, 5500, 1)
		if got := e.want(202, "POST", postPath, body, "Content-Type", ndjson).counts(); got != [3]any{5500.0, 5500.0, 0.0} {
			t.Errorf("new: %v", got)
		}
		if got := e.want(202, "POST", postPath, "\ufeff\r\n"+strings.ReplaceAll(strings.TrimSpace(body), "\n", "\r\n\n"), "Content-Type", ndjson+"; charset=utf-8").counts(); got != [3]any{5500.0, 0.0, 5500.0} {
			t.Errorf("as stored: %v", got)
		}
		if got := e.want(202, "POST", postPath, "", "Content-Type", ndjson).counts(); got != [3]any{0.0, 0.0, 0.0} {
			t.Errorf("no line: %v", got)
		}
	})
}

// TestImportFault: whatever is wrong wherever, exactly the lines before are kept.
func TestImportFault(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		for i, c := range []struct {
			name string
			line string
			at   int
		}{
			{"first line", `{}`, 1},
			{"last of a chunk", `{}`, accept.FirstChunkSize},
			{"first of a chunk", `{}`, accept.FirstChunkSize + 1},
			{"in the third chunk", `nonsense`, 3*accept.FirstChunkSize + 345},
			{"unknown product first", observation(7_000_000, 99, nil), 1},
			{"unknown product in the first chunk", observation(7_000_000, 99, nil), 500},
			{"unknown product behind chunks", observation(7_000_000, 99, nil), 2*accept.ChunkSize + 500},
			{"unknown product at a border", observation(7_000_000, 99, nil), 3 * accept.FirstChunkSize},
			{"half a line", `{"id":1`, 3},
			{"two in a line", observation(1, 1, nil) + observation(2, 1, nil), 3},
			{"broken text", "{\"id\":1,\"title\":\"\xff\"}", 3},
			{"no object", `[1]`, 3},
			{"too long", `{"title":"` + strings.Repeat("x", 1<<20) + `"}`, 1700},
		} {
			first := 50_000 * (i + 1)
			body := lines(first, c.at-1, 1) + c.line + "\n" + lines(first+3*accept.ChunkSize, 3000, 1)
			r := e.want(422, "POST", postPath, body, "Content-Type", ndjson)
			if r.json["line"] != float64(c.at) || r.json["stored"] != float64(c.at-1) {
				t.Errorf("%s: %s", c.name, r.text)
			}
			if got := e.count("observations", fmt.Sprintf("id >= %d AND id < %d", first, first+50_000)); got != c.at-1 {
				t.Errorf("%s: %d lines are stored instead of %d", c.name, got, c.at-1)
			}
		}
	})
}

// TestImportTwoFaults: the answer names the fault of the earlier line, also when the later one was seen first.
func TestImportTwoFaults(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		body := lines(1, 700, 1) + observation(5000, 99, nil) + "\n" + lines(1001, 500, 1) + "nonsense\n" + lines(2001, 2000, 1)
		r := e.want(422, "POST", postPath, body, "Content-Type", ndjson)
		if r.json["line"] != 701.0 || r.json["stored"] != 700.0 || e.count("observations", "true") != 700 {
			t.Errorf("%s; stored are %d", r.text, e.count("observations", "true"))
		}
	})
}

// TestImportAnswersEarly: a client that is in no hurry to send the rest hears of a fault at once.
func TestImportAnswersEarly(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.product(1)
	body, rest := io.Pipe()
	go func() { _, _ = rest.Write([]byte(lines(1, 10, 1) + "nonsense\n")) }()
	r := e.want(422, "POST", postPath, io.Reader(body), "Content-Type", ndjson)
	if r.json["line"] != 11.0 || r.json["stored"] != 10.0 {
		t.Error(r.text)
	}
	_ = rest.Close()
}

// TestImportFaultThenMuch: a client that reads the answer only when it has sent all gets it, too.
func TestImportFaultThenMuch(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	body := "nonsense\n" + strings.Repeat(observation(1, 1, nil)+"\n", 100_000)
	answer := e.rawly(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		postPath, adminToken, ndjson, len(body))+body)
	if !strings.HasPrefix(answer, "HTTP/1.1 422 ") {
		t.Errorf("%.200s", answer)
	}
}

// rawly sends bytes, all of them before it reads the answer.
func (e *env) rawly(t *testing.T, request string) string {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", e.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.Copy(conn, strings.NewReader(request)); err != nil {
		t.Fatalf("the server did not take the request: %v", err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("the server did not end its answer: %v", err)
	}
	return string(answer)
}

// TestImportDatabaseGone: what is stored stays, and the answer says how far that is, so that the rest can follow.
func TestImportDatabaseGone(t *testing.T) {
	t.Parallel()
	server := testenv.Postgres(t)
	if err := testenv.MigrateSchema(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	db, err := database.Open(server.URL(), 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	e := newEnv(t, db)
	e.product(1)
	chunk, kept := accept.ChunkSize, (1+2+4+8)*accept.FirstChunkSize // in four chunks
	all := lines(1, 5*chunk, 1)
	body, sender := io.Pipe()
	go func() {
		_, _ = io.WriteString(sender, lines(1, kept+1, 1))
		testenv.Eventually(t, testTime, func() error { return e.countIs("observations", kept) }, "four chunks stored")
		server.Kill()
		_, _ = io.WriteString(sender, lines(kept+2, 3*chunk-1, 1))
		_ = sender.Close()
	}()
	r := e.want(503, "POST", postPath, io.Reader(body), "Content-Type", ndjson)
	if r.json["stored"] != float64(kept) || r.header.Get("Retry-After") == "" {
		t.Errorf("%s %v", r.text, r.header)
	}
	for _, path := range []string{"/api/v1/products", "/api/v1/notifications", "/api/v1/status", "/api/v1/settings"} {
		if r := e.want(503, "GET", path, nil); r.header.Get("Retry-After") == "" {
			t.Errorf("%s: %v", path, r.header)
		}
	}
	if r := e.send("GET", "/readyz", nil); r.status != 503 || r.json["database"] != "unavailable" {
		t.Error(r.text)
	}
	e.want(200, "GET", "/healthz", nil)
	server.Start()
	if got := e.want(202, "POST", postPath, all, "Content-Type", ndjson).counts(); got != [3]any{float64(5 * chunk), float64(5*chunk - kept), float64(kept)} {
		t.Errorf("the same again: %v", got)
	}
}

// TestImportRedisGone: events are accepted without Redis. The last event of an import says that it is the last.
func TestImportRedisGone(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		e.redis.Close()
		const n = 3 * accept.ChunkSize
		if got := e.want(202, "POST", postPath, lines(1, n, 1), "Content-Type", ndjson).counts(); got != [3]any{float64(n), float64(n), 0.0} {
			t.Error(got)
		}
		last := `CAST(payload AS text) LIKE '%"last"%'`
		if all, one := e.count("outbox", last), e.count("outbox", last+" AND id = (SELECT max(id) FROM outbox)"); all != 1 || one != 1 {
			t.Errorf("%d events say that they are the last, %d of them is", all, one)
		}
		e.want(202, "POST", postPath, wrapped(observation(1, 1, map[string]any{"severity": "Low"})))
		e.want(202, "PUT", "/api/v1/products/1/security-gate", `{"passed":false}`)
		r := e.want(200, "GET", "/api/v1/status", nil)
		if r.json["outbox"] != 8.0 || r.json["queues"].(map[string]any)["events"] != nil {
			t.Error(r.text)
		}
		if r := e.want(200, "GET", "/readyz", nil); r.json["status"] != "degraded" || r.json["redis"] != "unavailable" {
			t.Error(r.text)
		}
	})
}

// TestImportGrowsItsParts: the first one is small, and each one may be twice as large as the one before.
func TestImportGrowsItsParts(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		e.want(202, "POST", postPath, lines(1, 7*accept.FirstChunkSize, 1), "Content-Type", ndjson)
		if parts := e.count("outbox", "bulk"); parts != 3 {
			t.Errorf("%d parts, want 3", parts)
		}
	})
}

func TestBodyTooLarge(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	large := bytes.Repeat([]byte(" "), 32<<20+1)
	fits := append([]byte(wrapped()), large[:32<<20-len(wrapped())]...)
	e.want(202, "POST", postPath, bytes.NewReader(fits))
	for _, path := range []string{postPath, "/api/v1/products/1"} {
		method := "POST"
		if path != postPath {
			method = "PUT"
		}
		e.want(413, method, path, bytes.NewReader(large))
		e.want(413, method, path, io.MultiReader(bytes.NewReader(large))) // chunked: its length is not known before
	}
	small := append([]byte(`{"class":"ValueError"}`), bytes.Repeat([]byte(" "), 1<<20)...)
	for _, path := range []string{"/api/v1/notifications/viewed", "/api/v1/subscriptions"} {
		e.want(413, "POST", path, bytes.NewReader(small))
	}
	// Of exceptions what is long is cut, whatever it is.
	long := strings.Repeat("x", 2<<20)
	e.want(202, "POST", "/api/v1/exceptions", strings.NewReader(`{"class":"Long","message":"`+long+`","trace":"`+long+`"}`))
	e.want(202, "POST", "/api/v1/task-exceptions",
		strings.NewReader(`{"class":"Long","arguments":{"token":"`+long+`","list":[`+strings.Repeat("1,", 2<<20)+`1]}}`))
	e.want(413, "POST", "/api/v1/exceptions", bytes.NewReader(large))
	request := fmt.Sprintf("PUT /api/v1/products/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", adminToken, len(large))
	if answer := e.rawly(t, request+string(large)); !strings.HasPrefix(answer, "HTTP/1.1 413 ") {
		t.Errorf("%.200s", answer)
	}
}

func (e *env) count(table, where string) int {
	e.t.Helper()
	var n int
	if err := e.db.Reader.DB.QueryRowContext(context.WithoutCancel(e.t.Context()), "SELECT count(*) FROM "+table+" WHERE "+where).Scan(&n); err != nil {
		e.t.Fatal(err)
	}
	return n
}

func (e *env) countIs(table string, want int) error {
	if got := e.count(table, "true"); got != want {
		return fmt.Errorf("%d rows in %s", got, table)
	}
	return nil
}

// BenchmarkImport stores 20,000 observations, then the same again.
func BenchmarkImport(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *dbmodel.DB{"postgres": testenv.PostgresDB, "sqlite": testenv.SQLiteDB} {
		b.Run(name, func(b *testing.B) {
			e := newEnv(b, open(b))
			e.product(1)
			const n = 20_000
			first := 1
			for b.Loop() {
				body := lines(first, n, 1)
				e.want(202, "POST", postPath, body, "Content-Type", ndjson)
				e.want(202, "POST", postPath, body, "Content-Type", ndjson)
				first += n
			}
			b.ReportMetric(2*n*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// TestImportEndsWithItsToken: an import that is kept open does not go on with a token that was revoked since.
func TestImportEndsWithItsToken(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.product(1)
		e.user("scanner", false)
		token := e.token("scanner", dbmodel.ScopeIngest)
		body, sent := io.Pipe()
		defer sent.Close()
		answered := make(chan *reply, 1)
		go func() {
			answered <- e.send("POST", postPath, io.Reader(body), "Content-Type", ndjson, "Authorization", "Bearer "+token)
		}()
		report := func() {
			// The same id again: each line is stored at once.
			_, _ = io.WriteString(sent, observation(1, 1, nil)+"\n")
		}
		report()
		report()
		testenv.Eventually(t, 10*time.Second, func() error { return e.countIs("observations", 1) }, "the first line is not stored")
		e.want(204, "DELETE", "/api/v1/users/scanner", nil)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for end := time.After(time.Minute); ; {
			select {
			case r := <-answered:
				if r.status != 401 || r.json["stored"] == nil {
					t.Errorf("%d %s", r.status, r.text)
				}
				return
			case <-end:
				t.Fatal("the import goes on")
			case <-tick.C:
				report()
			}
		}
	})
}
