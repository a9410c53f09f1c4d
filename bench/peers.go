package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// peerRows is how many jobs or tasks a queue handles: as many as an import has, or enough to know its rate.
func (b *bench) peerRows() int { return min(b.rows, 100_000) }

// runAsynq has asynq handle tasks that do nothing. They are enqueued before.
func runAsynq(b *bench) (metrics, error) {
	server, address, err := startRedis(b.dir)
	if err != nil {
		return nil, err
	}
	defer server.stop(syscall.SIGKILL)
	options, err := redis.ParseURL(address)
	if err != nil {
		return nil, err
	}
	connection := redis.NewClient(options)
	defer func() { _ = connection.Close() }()
	client := asynq.NewClientFromRedisClient(connection)
	const enqueuers = 32
	each := b.peerRows() / enqueuers
	began := time.Now()
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for range enqueuers {
		all.Go(func() {
			for range each {
				if _, err := client.Enqueue(asynq.NewTask("no:op", nil)); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	inserted := time.Since(began)
	worker := asynq.NewServerFromRedisClient(connection, asynq.Config{Concurrency: 10, LogLevel: asynq.FatalLevel})
	done := newCountdown(each * enqueuers)
	began = time.Now()
	if err := worker.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		done.one()
		return nil
	})); err != nil {
		return nil, err
	}
	defer worker.Shutdown()
	if err := done.wait(); err != nil {
		return nil, err
	}
	return rates(each*enqueuers, time.Since(began), inserted), nil
}

// rates is the rate of a queue, and the one with the time in which its jobs were inserted.
func rates(n int, worked, inserted time.Duration) metrics {
	return metrics{"rate": float64(n) / worked.Seconds(), "with_insertion": float64(n) / (worked + inserted).Seconds()}
}

// countdown waits for a number of things.
type countdown struct {
	left atomic.Int64
	done chan struct{}
}

func newCountdown(n int) *countdown {
	c := &countdown{done: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *countdown) one() {
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
}

func (c *countdown) wait() error {
	select {
	case <-c.done:
		return nil
	case <-time.After(5 * time.Minute):
		return fmt.Errorf("%d are left after five minutes", c.left.Load())
	}
}

// noOp is a job of River that does nothing.
type noOp struct{}

func (noOp) Kind() string { return "no_op" }

type noOpWorker struct {
	river.WorkerDefaults[noOp]
	done *countdown
}

func (w *noOpWorker) Work(context.Context, *river.Job[noOp]) error { w.done.one(); return nil }

// runRiver has River handle jobs that do nothing. They are inserted before, with InsertManyFast; the settings are
// those of River's own benchmark.
func runRiver(b *bench) (metrics, error) {
	ctx := context.Background()
	address, name, err := b.pg.newDatabase()
	if err != nil {
		return nil, err
	}
	defer b.pg.drop(name)
	pool, err := pgxpool.New(ctx, address)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	n := b.peerRows()
	done := newCountdown(n)
	workers := river.NewWorkers()
	river.AddWorker(workers, &noOpWorker{done: done})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		FetchCooldown: 2 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2_000}},
		Workers: workers, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for left := n; left > 0; {
		some := make([]river.InsertManyParams, min(left, 1_000))
		for i := range some {
			some[i].Args = noOp{}
		}
		if _, err := client.InsertManyFast(ctx, some); err != nil {
			return nil, err
		}
		left -= len(some)
	}
	inserted := time.Since(began)
	began = time.Now()
	if err := client.Start(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = client.Stop(ctx) }()
	if err := done.wait(); err != nil {
		return nil, err
	}
	return rates(n, time.Since(began), inserted), nil
}

// runCopy copies the rows of an import into a table like Tocsin's, 1,000 a commit.
func runCopy(b *bench) (metrics, error) {
	ctx := context.Background()
	address, name, err := b.pg.newDatabase()
	if err != nil {
		return nil, err
	}
	defer b.pg.drop(name)
	migrate, err := startProgram(b.dir, []string{
		"DATABASE_URL=" + address, "TOCSIN_SECRET_KEY=" + secretKey,
	}, nil, b.binary, "migrate", "up")
	if err != nil {
		return nil, err
	}
	<-migrate.done
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE TABLE copied (LIKE observations INCLUDING ALL)"); err != nil {
		return nil, err
	}
	columns := []string{
		"id", "product_id", "title", "title_hash", "severity", "status", "parser_type", "vulnerability_id", "cvss_score",
		"origin",
	}
	used, began := b.pg.cpu(), time.Now()
	for first := 1; first <= b.rows; first += 1_000 {
		rows := pgx.CopyFromSlice(min(1_000, b.rows-first+1), func(i int) ([]any, error) {
			id := first + i
			return []any{
				id, id/10%products + 1, fmt.Sprintf("CVE-2026-%d in package-%d", id, id%977),
				int64(uint64(id) * 0x9e3779b97f4a7c15), "Low", "Open", "SCA",
				fmt.Sprintf("CVE-2026-%d", id), 7.5, fmt.Sprintf(`{"component":"package-%d:1.2.3"}`, id%977),
			}, nil
		})
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{"copied"}, columns, rows); err != nil {
			return nil, err
		}
	}
	took := time.Since(began)
	return metrics{
		"rate": float64(b.rows) / took.Seconds(), "rows_per_database_cpu": float64(b.rows) / (b.pg.cpu() - used),
	}, nil
}

// runAlertmanager posts alerts to Alertmanager, which sends each by itself to one webhook.
func runAlertmanager(b *bench) (metrics, error) {
	r, err := newReceiver()
	if err != nil {
		return nil, err
	}
	defer r.close()
	dir, err := os.MkdirTemp(b.dir, "alertmanager-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "config.yml")
	config := "route:\n  receiver: one\n  group_by: ['...']\n  group_wait: 0s\n  group_interval: 5m\n  repeat_interval: " +
		"4h\n" +
		"receivers:\n- name: one\n  webhook_configs:\n  - url: " + r.URL + "/alerts\n    send_resolved: false\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + freePort()
	p, err := startProgram(dir, nil, nil, "prometheus-alertmanager", "--config.file="+file, "--storage.path="+dir,
		"--web.listen-address="+address, "--cluster.listen-address=", "--log.level=error")
	if err != nil {
		return nil, err
	}
	defer p.stop(syscall.SIGTERM)
	if err := p.until(func() error { return get("http://" + address + "/-/ready") }); err != nil {
		return nil, err
	}
	began := time.Now()
	for first := 0; first < b.messages; first += 1_000 {
		alerts := make([]object, min(1_000, b.messages-first))
		for i := range alerts {
			alerts[i] = object{"labels": object{"alertname": fmt.Sprintf("CVE-2026-%d", first+i), "severity": "critical"}}
		}
		text, err := json.Marshal(alerts)
		if err != nil {
			return nil, err
		}
		answer, err := http.Post("http://"+address+"/api/v2/alerts", "application/json", bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("alertmanager: %s", answer.Status)
		}
	}
	if err := r.waitFor(b.messages); err != nil {
		return nil, err
	}
	return metrics{"rate": float64(b.messages) / time.Since(began).Seconds()}, nil
}
