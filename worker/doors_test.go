package worker

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	_ "github.com/lib/pq" // another driver than ours

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/tasks"
)

func TestOutboxDoor(t *testing.T) {
	t.Parallel()
	url := testenv.PostgresURL(t, testenv.MigrateSchema)
	e := newEnv(t, testenv.OpenDB(t, url), nil)
	e.product(1, "/a")
	foreign, err := sql.Open("postgres", url) // lib/pq
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	client := e.newRedis()
	defer client.Close()
	for name, db := range map[string]*sql.DB{"pgx": e.db.DB.DB, "lib/pq": foreign} {
		outbox, err := tasks.NewOutbox(t.Context(), db, client)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := len(e.notifications())
		enqueue := func(commit bool, id int64) {
			t.Helper()
			passed := name == "pgx"
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			o := reported(id, 1, rule.High)
			o.Title, o.Priority, o.CVSSScore, o.Origin = `quoted "x" \ {a,b} NULL ü`, new(3), new(9.5), tasks.Origin{File: `a\b"c`}
			observations, err := tasks.NewObservations([]tasks.Observation{o, reported(id+1, 1, rule.Low)})
			if err == nil {
				err = outbox.EnqueueTx(t.Context(), tx, observations)
			}
			gate, _ := tasks.NewSecurityGate(1, &passed)
			if err == nil {
				err = outbox.EnqueueTx(t.Context(), tx, gate)
			}
			x, _ := tasks.NewException(tasks.ExceptionInfo{Class: fmt.Sprintf("Error%d", id)})
			if err == nil {
				err = outbox.EnqueueTx(t.Context(), tx, x)
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if commit {
				err = tx.Commit() // and the process dies before it calls Wake
			} else {
				err = tx.Rollback()
				outbox.Wake(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		base := int64(100 * (before + 1))
		enqueue(false, base)
		enqueue(true, base+1)
		e.idle(20 * time.Second)
		// The observation, the gate and the exception of the one that was committed.
		if n := len(e.notifications()) - before; n != 3 {
			t.Errorf("%s: %d notifications, want 3", name, n)
		}
		stored, err := dbmodel.ObservationByID(t.Context(), e.db, base+1)
		if err != nil || stored.Title != `quoted "x" \ {a,b} NULL ü` || stored.Origin.File != `a\b"c` || *stored.CVSSScore != 9.5 {
			t.Errorf("%s: stored %+v %v", name, stored, err)
		}
		unknown, _ := tasks.NewObservations([]tasks.Observation{reported(1, 77, rule.High)})
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var invalid tasks.InvalidError
		if err := outbox.EnqueueTx(t.Context(), tx, unknown); !asInvalid(err, &invalid) || invalid[0].Field != "observations[0].product_id" {
			t.Errorf("%s: unknown product: %v", name, err)
		}
		if err := tx.Commit(); err != nil {
			t.Errorf("%s: a refused event breaks the transaction: %v", name, err)
		}
	}
	// bun.Tx, and Wake that makes workers notice at once.
	outbox, err := tasks.NewOutbox(t.Context(), e.db.DB, client)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := e.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	evaluation, err := tasks.NewObservations([]tasks.Observation{reported(5000, 1, rule.Critical)})
	if err != nil {
		t.Fatal(err)
	}
	if err := outbox.EnqueueTx(t.Context(), tx, evaluation); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	outbox.Wake(t.Context())
	e.idle(10 * time.Second)
	if _, err := dbmodel.ObservationByID(t.Context(), e.db, 5000); err != nil {
		t.Error(err)
	}
	empty, err := sql.Open("postgres", testenv.PostgresURL(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if _, err := tasks.NewOutbox(t.Context(), empty, client); err == nil {
		t.Error("a database without tables passes")
	}
}

// TestWakeOfAnotherTransaction: what one caller has stored and not yet committed is not lost to the Wake of another.
func TestWakeOfAnotherTransaction(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.PostgresDB(t), nil)
	e.product(1, "")
	e.scheduler.Shutdown() // no sweep finds what no Wake has enqueued
	outbox, err := tasks.NewOutbox(t.Context(), e.db.DB, e.newRedis())
	if err != nil {
		t.Fatal(err)
	}
	var pending []bun.Tx
	for id := range int64(2) {
		tx, err := e.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		task, err := tasks.NewObservations([]tasks.Observation{reported(id+1, 1, rule.Critical)})
		if err != nil {
			t.Fatal(err)
		}
		if err := outbox.EnqueueTx(t.Context(), tx, task); err != nil {
			t.Fatal(err)
		}
		pending = append(pending, tx)
	}
	for i, tx := range pending {
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		outbox.Wake(t.Context())
		testenv.Eventually(t, 10*time.Second, func() error {
			if n := len(e.notifications()); n != i+1 {
				return fmt.Errorf("%d notifications", n)
			}
			return nil
		}, "evaluated")
	}
}

// reported is observation as a web tier in Go reports it.
func reported(id, product int64, severity rule.Severity) tasks.Observation {
	o := observation(id, product, severity)
	return tasks.Observation{
		ID: o.ID, ProductID: o.ProductID, Title: o.Title, Severity: o.Severity, Status: o.Status, ParserType: o.ParserType,
	}
}

func asInvalid(err error, to *tasks.InvalidError) bool {
	invalid, ok := err.(tasks.InvalidError) //nolint:errorlint // it is returned as it is
	*to = invalid
	return ok
}

func TestClientDoor(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/a")
		connection := e.newRedis()
		defer connection.Close()
		client := tasks.NewClient(connection)
		enqueue := func(task *tasks.Task, err error) {
			t.Helper()
			if err == nil {
				err = client.Enqueue(t.Context(), task)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		stored := func(severity rule.Severity) func() error {
			return func() error {
				o, err := dbmodel.ObservationByID(t.Context(), db, 1)
				if err == nil && o.Severity != severity {
					err = fmt.Errorf("severity %s", o.Severity)
				}
				return err
			}
		}
		enqueue(tasks.NewObservations([]tasks.Observation{reported(1, 1, rule.High)}))
		testenv.Eventually(t, 10*time.Second, stored(rule.High), "not accepted")
		e.idle(10 * time.Second)
		enqueue(tasks.NewObservations([]tasks.Observation{reported(1, 1, rule.Critical)}))
		testenv.Eventually(t, 10*time.Second, stored(rule.Critical), "not accepted")
		e.idle(10 * time.Second)
		// A state that is older than the stored one is passed over.
		old := fmt.Sprintf(`{"kind":"observation","observations":[{"id":1,"product_id":1,"title":"CVE-1","severity":"Low","status":"Open","priority":null,"parser_type":"SCA"}],"reported_at":%q}`,
			time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano))
		if _, err := e.acceptor.AcceptPayload(t.Context(), []byte(old)); err != nil {
			t.Fatal(err)
		}
		if err := stored(rule.Critical)(); err != nil {
			t.Errorf("an older state overwrote: %v", err)
		}
		passed := false
		enqueue(tasks.NewSecurityGate(1, &passed))
		enqueue(tasks.NewException(tasks.ExceptionInfo{Class: "KeyError"}))
		enqueue(tasks.NewEvaluation(1))
		enqueue(tasks.NewObservations([]tasks.Observation{reported(2, 99, rule.High)})) // refused: a failed event
		testenv.Eventually(t, 20*time.Second, func() error {
			c, err := dbmodel.Count(t.Context(), db)
			if err == nil && (c.FailedEvents != 1 || c.Outbox+c.PendingDeliveries > 0 || len(e.notifications()) != 5) {
				err = fmt.Errorf("%+v, %d notifications", c, len(e.notifications()))
			}
			return err
		}, "not evaluated")
	})
}

func TestRecovererWithRedisAway(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.PostgresDB(t), nil)
	connection := e.newRedis()
	defer connection.Close()
	client := tasks.NewClient(connection)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", func(http.ResponseWriter, *http.Request) { panic("broken") })
	handler := tasks.Recoverer(client.Enqueue)(mux)
	ask := func() (int, time.Duration) {
		began := time.Now()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/products/7?token=secret", nil))
		return w.Code, time.Since(began)
	}
	if code, _ := ask(); code != 500 {
		t.Errorf("status %d", code)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		n := e.notifications()
		if len(n) != 1 || n[0].Name != "panic" || n[0].Message != "broken" || n[0].Function != "GET /products/{id}" || n[0].Trace == "" {
			return fmt.Errorf("%+v", n)
		}
		return nil
	}, "the panic is not reported")
	for _, c := range []struct {
		name string
		away func()
	}{{"killed", e.redis.Kill}, {"frozen", func() { e.redis.Start(); e.redis.Pause() }}} {
		c.away()
		if code, took := ask(); code != 500 || took > 10*time.Second {
			t.Errorf("Redis %s: status %d after %s", c.name, code, took)
		}
	}
	e.redis.Resume()
}
