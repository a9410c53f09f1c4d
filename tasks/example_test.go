package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/tasks"
)

// A faulty event is refused where it is made, with all that is wrong with it.
func ExampleNewObservations() {
	_, err := tasks.NewObservations([]tasks.Observation{{
		ID: 1, ProductID: 7, Title: "CVE-2026-1234", Severity: "Severe", Status: "Open", ParserType: "SCA",
		Details: tasks.Details{Origin: tasks.Origin{Component: "openssl:3.0.1"}, FixedVersion: "3.0.15"},
	}})
	if invalid, ok := errors.AsType[tasks.InvalidError](err); ok {
		for _, fault := range invalid {
			fmt.Println(fault.Field, fault.Message)
		}
	}
	// Output: observations[0].severity must be one of Critical, High, Medium, Low, None, Unknown
}

// An event is kept exactly where the transaction of the web tier commits.
func ExampleOutbox() {
	report := func(ctx context.Context, db *sql.DB, client redis.UniversalClient, productID int64, passed bool) error {
		outbox, err := tasks.NewOutbox(ctx, db, client) // once, when the program starts
		if err != nil {
			return err
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
		if _, err := tx.ExecContext(ctx, "UPDATE my_products SET gate = $1 WHERE id = $2", passed, productID); err != nil {
			return err
		}
		task, err := tasks.NewSecurityGate(productID, &passed)
		if err != nil {
			return err
		}
		if err := outbox.EnqueueTx(ctx, tx, task); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		outbox.Wake(ctx)
		return nil
	}
	_ = report
}

// Where Tocsin has a database of its own, events can go through Redis alone.
func ExampleClient() {
	client := tasks.NewClient(redis.NewClient(&redis.Options{Addr: "localhost:6379"}))
	task, err := tasks.NewTaskException(tasks.TaskExceptionInfo{
		ExceptionInfo: tasks.ExceptionInfo{Class: "ValueError", Message: "unknown format", Function: "import"},
		Arguments:     map[string]any{"file": "scan.json"},
		ProductID:     7,
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Enqueue(context.Background(), task); err != nil {
		log.Print(err) // Redis does not answer: the event was not taken
	}
}

// A panic in a handler becomes an exception before the 500 goes out.
func ExampleRecoverer() {
	report := func(_ context.Context, _ *tasks.Task) error { // (*tasks.Client).Enqueue in a real program
		fmt.Println("an exception is reported")
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) { panic("broken") })
	w := httptest.NewRecorder()
	tasks.Recoverer(report)(mux).ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil))
	fmt.Println(w.Code)
	// Output:
	// an exception is reported
	// 500
}
