package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// BenchmarkBackPressure has a million observations come in, and more single events than Redis holds tasks, while no worker
// runs, and then starts one. Of web it measures how long a single event takes before and with all that waiting, and memory
// after a tenth of it and at the end; of Redis the memory and the tasks; how soon the newest single event is delivered once the
// worker runs, as a share of the time in which all of it is; and what the database is larger than one that was written anew.
func BenchmarkBackPressure(b *testing.B) {
	for b.Loop() {
		const imports, singles, probes = 10, queue.Window + 2_000, 500
		url, rd := testenv.PostgresURL(b, testenv.MigrateSchema), testenv.Redis(b)
		d := newRoles(b, url, rd.URL())
		d.worker.Kill()
		db := open(b, url)
		setUpProducts(d, 51)
		newest := make(chan time.Time, 1)
		d.network.answer = func(path string, _ int) int {
			if path == "/slack/51" {
				select {
				case newest <- time.Now():
				default:
				}
			}
			return 200
		}
		var id atomic.Int64
		single := func(product int64) time.Duration {
			i := id.Add(1)
			began := time.Now()
			d.call(http.MethodPost, "/api/v1/observations", object{"observations": []object{{
				"id": i, "product_id": product, "title": fmt.Sprint("CVE-", i), "severity": "Critical", "status": "Open", "priority": nil, "parser_type": "SCA",
			}}}, nil)
			return time.Since(began)
		}
		accept := func(metric string) {
			var took []time.Duration
			for range probes {
				took = append(took, single(1))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, metric+"-p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, metric+"-p99-ms")
		}
		accept("first")
		redisBefore := redisMemory(b, rd.URL())
		began := time.Now()
		for i := range imports {
			d.call(http.MethodPost, "/api/v1/observations", bytes.NewReader(importLines(1_000_001+i*imported)), nil)
			if i == 0 {
				b.ReportMetric(peakMemory(b, d.web), "web-first-MiB")
			}
		}
		b.ReportMetric(imports*imported/time.Since(began).Seconds(), "accepted/s")
		var clients sync.WaitGroup
		for c := range int64(8) {
			clients.Go(func() {
				for range singles / 8 {
					single(c + 1)
				}
			})
		}
		clients.Wait()
		accept("last")
		b.ReportMetric(peakMemory(b, d.web), "web-last-MiB")
		b.ReportMetric(redisMemory(b, rd.URL())-redisBefore, "redis-MiB")
		var s struct {
			Outbox int
			Queues map[string]int
		}
		d.call(http.MethodGet, "/api/v1/status", nil, &s)
		b.ReportMetric(float64(s.Outbox), "outbox")
		b.ReportMetric(float64(s.Queues[queue.Events]+s.Queues[queue.Bulk]), "tasks")

		began = time.Now()
		single(51)
		d.worker = start(b, d.env, "worker")
		soon := (<-newest).Sub(began)
		if left := d.idle(20 * time.Minute); left.FailedDeliveries+left.FailedEvents > 0 {
			b.Fatalf("failed: %+v", left)
		}
		total := time.Since(began)
		b.ReportMetric(soon.Seconds(), "newest-s")
		b.ReportMetric(total.Seconds(), "all-s")
		b.ReportMetric(soon.Seconds()/total.Seconds(), "newest/all")
		b.ReportMetric(databaseSize(b, db), "database-MiB")
		runSQL(b, db, "VACUUM")
		vacuumed := databaseSize(b, db)
		var outbox float64
		if err := db.QueryRowContext(b.Context(), "SELECT pg_total_relation_size('outbox') / 1048576.0").Scan(&outbox); err != nil {
			b.Fatal(err)
		}
		runSQL(b, db, "VACUUM FULL")
		b.ReportMetric(outbox, "outbox-MiB")
		b.ReportMetric(vacuumed/databaseSize(b, db), "database/anew")
	}
}

func runSQL(b *testing.B, db *dbmodel.DB, statement string) {
	b.Helper()
	if _, err := db.ExecContext(b.Context(), statement); err != nil {
		b.Fatal(err)
	}
}

// databaseSize is in MiB.
func databaseSize(b *testing.B, db *dbmodel.DB) (size float64) {
	b.Helper()
	if err := db.QueryRowContext(b.Context(), "SELECT pg_database_size(current_database()) / 1048576.0").Scan(&size); err != nil {
		b.Fatal(err)
	}
	return size
}

// redisMemory is what a Redis says that it uses, in MiB.
func redisMemory(b *testing.B, url string) float64 {
	b.Helper()
	client := testenv.RedisClient(b, url)
	text, err := client.Info(context.Background(), "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, "used_memory:")
	rest, _, _ = strings.Cut(rest, "\r\n")
	used, err := strconv.ParseFloat(rest, 64)
	if err != nil {
		b.Fatal(err)
	}
	return used / (1 << 20)
}
