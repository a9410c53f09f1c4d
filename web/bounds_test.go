package web_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/web"
)

// withPools starts a web process with a pool for people and one for what is reported, as the program does.
func withPools(t *testing.T, url string) (e *env, people *dbmodel.DB) {
	t.Helper()
	db := testenv.OpenDB(t, url)
	share := func(conns int) *dbmodel.DB {
		shared, closePool, err := database.OpenAnother(db, url, conns)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := closePool(); err != nil {
				t.Error(err)
			}
		})
		return shared
	}
	people = share(web.PeopleConnections)
	intake := share(4)
	return newEnv(t, db, func(c *web.Config) {
		c.DB, c.Intake, c.Acceptor = people, intake, accept.New(intake, c.Queue)
	}), people
}

// Readers who hold all connections for people delay nothing that is reported.
func TestReadersDoNotStallTheIntake(t *testing.T) {
	t.Parallel()
	urls := map[string]func(*testing.T) string{
		"postgres": func(t *testing.T) string { return testenv.PostgresURL(t, testenv.MigrateSchema) },
		"sqlite":   func(t *testing.T) string { return testenv.SQLiteURL(t) },
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, people := withPools(t, url(t))
			e.product(1)
			e.user("ingester", true)
			token := e.token("ingester", dbmodel.ScopeIngest)
			for range web.PeopleConnections {
				conn, err := people.Reader.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
			}
			ctx, cancel := context.WithTimeout(t.Context(), testTime)
			defer cancel()
			for _, call := range [][3]string{
				{"POST", postPath, `{"observations":[` + observation(1, 1, nil) + `]}`},
				{"PUT", "/api/v1/products/1/security-gate", `{"passed":false}`},
				{"POST", "/api/v1/exceptions", `{"class":"ValueError"}`},
				{"GET", "/readyz", ""},
			} {
				if got := e.send(call[0], call[1], call[2], "Authorization", "Bearer "+token); got.status >= 300 || ctx.Err() != nil {
					t.Errorf("%s %s: %d %s", call[0], call[1], got.status, got.text)
				}
			}
		})
	}
}

// 32 searches that hang, two of each user, delay neither what is reported nor what the others read; a third one of a user is
// refused.
func TestSearchesAtOnce(t *testing.T) {
	t.Parallel()
	e, _ := withPools(t, testenv.PostgresURL(t, testenv.MigrateSchema))
	e.product(1)
	const users = 16
	tokens := make([]string, users)
	for i := range tokens {
		name := fmt.Sprintf("user%d", i)
		e.user(name, true)
		tokens[i] = "Bearer " + e.token(name, dbmodel.ScopeUser)
	}
	lock, err := e.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback() //nolint:errcheck // it was ended below
	if _, err := lock.ExecContext(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE notifications IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 2 * users {
		all.Go(func() {
			e.send(http.MethodGet, inboxPath+"?q=cve", nil, "Authorization", tokens[i%users])
		})
	}
	third := func(token string) int {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // one that is not refused hangs, too
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.server.URL+inboxPath+"?q=cve", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", token)
		res, err := e.client.Do(req)
		if err != nil {
			return 0
		}
		defer res.Body.Close()
		if res.StatusCode == http.StatusTooManyRequests && res.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return res.StatusCode
	}
	refused := false
	for i := 0; !refused && i < 5*users; i++ {
		refused = third(tokens[i%users]) == http.StatusTooManyRequests
	}
	if !refused {
		t.Error("no third search was refused")
	}
	began := time.Now()
	e.want(202, "POST", postPath, `{"observations":[`+observation(1, 1, nil)+`]}`)
	e.want(200, "GET", "/api/v1/products", nil)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s beside 32 searches", took)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	e.want(200, "GET", inboxPath+"?q=cve", nil, "Authorization", tokens[0])
}

// TestFiltersWithoutAnIndexAreSearches has three lists of one user hang: the third one is refused.
func TestFiltersWithoutAnIndexAreSearches(t *testing.T) {
	t.Parallel()
	e, _ := withPools(t, testenv.PostgresURL(t, testenv.MigrateSchema))
	e.product(1)
	lock, err := e.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback() //nolint:errcheck // nothing is stored
	_, err = lock.ExecContext(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = 0; "+
		"LOCK TABLE notifications, observations IN ACCESS EXCLUSIVE MODE")
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{
		"/api/v1/observations?severity=High", "/api/v1/observations?status=Open", "/api/v1/observations?notified=true",
		inboxPath + "?severity=High",
	} {
		name := fmt.Sprint("user", i)
		e.user(name, false)
		authorization := e.as(name)
		answers := make(chan int, 3)
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			go func() {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.server.URL+path, nil)
				if err != nil {
					panic(err)
				}
				req.Header.Set(authorization[0], authorization[1])
				res, err := e.client.Do(req)
				if err != nil {
					answers <- 0
					return
				}
				answers <- res.StatusCode
				res.Body.Close()
			}()
		}
		if status := <-answers; status != http.StatusTooManyRequests {
			t.Errorf("%s: the first answer is %d", path, status)
		}
		cancel()
		if a, b := <-answers, <-answers; a+b != 0 {
			t.Errorf("%s: the other answers are %d and %d", path, a, b)
		}
	}
}

func TestStreamsOfOneUser(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	e.user("alex", false)
	e.user("kim", false)
	const path = inboxPath + "/stream"
	alex := e.as("alex")
	for range 9 {
		e.stream(alex...)
	}
	ctx, end := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(alex[0], alex[1])
	res, err := e.client.Do(req)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("the tenth: %v", err)
	}
	defer res.Body.Close()
	if got := e.want(429, "GET", path, nil, alex...); got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	e.stream(e.as("kim")...)
	end()
	for deadline := time.Now().Add(testTime); e.send("GET", path, nil, alex...).status != 200; {
		if time.Now().After(deadline) {
			t.Fatal("a stream that ended still counts")
		}
	}
}
