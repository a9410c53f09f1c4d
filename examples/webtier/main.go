// Command webtier is a small web tier beside Tocsin: it stores in the same PostgreSQL database, and what it reports is
// kept exactly where its own transaction commits.
//
//	POST /products/{id}/gate?passed=false   changes a product, and reports its security gate
//	POST /products/{id}/import              starts a background task, whose failure is reported
//	GET  /broken                            panics, which is reported before the 500 goes out
//
// DATABASE_URL and REDIS_URL are those of Tocsin; LISTEN is the address to listen on.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/seed91453169/tocsin/tasks"
)

// gate is a row of this web tier: how often a product changed its gate.
type gate struct {
	bun.BaseModel `bun:"table:webtier_gates"`

	ProductID int64 `bun:",pk"`
	Passed    bool
	Changes   int
}

// webtier is the application.
type webtier struct {
	db     *bun.DB
	outbox *tasks.Outbox
	work   sync.WaitGroup // background tasks
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	connector, err := stdlib.GetDefaultDriver().(*stdlib.Driver).OpenConnector(os.Getenv("DATABASE_URL"))
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	db := bun.NewDB(sql.OpenDB(connector), pgdialect.New())
	defer db.Close()
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		return fmt.Errorf("REDIS_URL: %w", err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	outbox, err := tasks.NewOutbox(ctx, db, client) // says when Tocsin's tables are missing
	if err != nil {
		return err
	}
	if _, err := db.NewCreateTable().Model((*gate)(nil)).IfNotExists().Exec(ctx); err != nil {
		return err
	}
	w := &webtier{db: db, outbox: outbox}
	server := &http.Server{Addr: os.Getenv("LISTEN"), Handler: w.handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = server.Shutdown(end)
	w.work.Wait()
	return err
}

func (w *webtier) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /products/{id}/gate", w.saveGate)
	mux.HandleFunc("POST /products/{id}/import", w.startImport)
	mux.HandleFunc("GET /broken", func(http.ResponseWriter, *http.Request) { panic("no such branch") })
	return tasks.Recoverer(w.report)(mux)
}

// inTx runs change and accepts the event t in one transaction: both are kept, or neither.
func (w *webtier) inTx(ctx context.Context, t *tasks.Task, change func(context.Context, bun.Tx) error) error {
	err := w.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := change(ctx, tx); err != nil {
			return err
		}
		return w.outbox.EnqueueTx(ctx, tx, t)
	})
	if err == nil {
		w.outbox.Wake(ctx) // workers notice at once
	}
	return err
}

// report accepts an event alone.
func (w *webtier) report(ctx context.Context, t *tasks.Task) error {
	err := w.inTx(ctx, t, func(context.Context, bun.Tx) error { return nil })
	if err != nil {
		log.Print("report an event: ", err)
	}
	return err
}

func (w *webtier) saveGate(out http.ResponseWriter, r *http.Request) {
	id, err1 := strconv.ParseInt(r.PathValue("id"), 10, 64)
	passed, err2 := strconv.ParseBool(r.FormValue("passed"))
	task, err3 := tasks.NewSecurityGate(id, &passed)
	if err := errors.Join(err1, err2, err3); err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	err := w.inTx(r.Context(), task, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&gate{ProductID: id, Passed: passed, Changes: 1}).
			On("CONFLICT (product_id) DO UPDATE").Set("passed = EXCLUDED.passed, changes = gate.changes + 1").Exec(ctx)
		return err
	})
	switch {
	case errors.Is(err, tasks.ErrNotFound): // Tocsin does not know the product: nothing is stored here either
		http.Error(out, err.Error(), http.StatusNotFound)
	case err != nil:
		log.Print(err)
		http.Error(out, "the gate is not stored", http.StatusInternalServerError)
	}
}

// startImport answers at once, and reports what goes wrong afterwards.
func (w *webtier) startImport(out http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	w.work.Go(func() {
		ctx := context.WithoutCancel(r.Context())
		failure := importReport("report.json")
		if failure == nil {
			return
		}
		task, err := tasks.NewTaskException(tasks.TaskExceptionInfo{
			ExceptionInfo: tasks.ExceptionInfo{Class: "ImportError", Message: failure.Error(), Function: "import_report"},
			Arguments:     map[string]any{"file": "report.json"},
			ProductID:     id,
		})
		if err == nil {
			err = w.report(ctx, task)
		}
		if err != nil {
			log.Print("the import failed: ", failure)
		}
	})
	out.WriteHeader(http.StatusAccepted)
}

// importReport is the work of the background task.
func importReport(name string) error { return fmt.Errorf("%s has no findings", name) }
