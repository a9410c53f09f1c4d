package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// imported is the size of the import that is measured.
const imported = 100_000

// BenchmarkImport measures an import of 100,000 observations into 50 products with mail and Slack, of which a tenth
// matches: until all of it is delivered, and once more unchanged. x-asynq is how many times faster that is than asynq alone
// handles as many tasks that do nothing, in the same run.
func BenchmarkImport(b *testing.B) {
	for b.Loop() {
		raw := rawAsynq(b)
		d := newRoles(b, testenv.PostgresURL(b, testenv.MigrateSchema), testenv.Redis(b).URL())
		setUpProducts(d, 50)
		lines := importLines(1)
		began := time.Now()
		d.call(http.MethodPost, "/api/v1/observations", bytes.NewReader(lines), nil)
		accepted := time.Since(began)
		s := d.idle(5 * time.Minute)
		delivered := time.Since(began)
		if s.FailedDeliveries+s.FailedEvents > 0 {
			b.Fatalf("failed: %+v", s)
		}
		began = time.Now()
		d.call(http.MethodPost, "/api/v1/observations", bytes.NewReader(lines), nil)
		unchanged := time.Since(began)
		b.ReportMetric(raw, "asynq-tasks/s")
		b.ReportMetric(imported/accepted.Seconds(), "accepted/s")
		b.ReportMetric(imported/delivered.Seconds(), "delivered/s")
		b.ReportMetric(imported/unchanged.Seconds(), "unchanged/s")
		b.ReportMetric(imported/delivered.Seconds()/raw, "delivered-x-asynq")
		b.ReportMetric(imported/unchanged.Seconds()/raw, "unchanged-x-asynq")
		b.ReportMetric(peakMemory(b, d.web), "web-MiB")
		b.ReportMetric(peakMemory(b, d.worker), "worker-MiB")
		b.ReportMetric(float64(len(d.network.all())), "messages")
	}
}

// BenchmarkLatency measures how long one event on an idle system takes from its 202 to the receiver.
func BenchmarkLatency(b *testing.B) {
	d := newRoles(b, testenv.PostgresURL(b, testenv.MigrateSchema), testenv.Redis(b).URL())
	setUpProducts(d, 50)
	arrived := make(chan time.Time, 1)
	d.network.answer = func(string, int) int {
		select {
		case arrived <- time.Now():
		default:
		}
		return 200
	}
	var took []time.Duration
	id := 0
	for b.Loop() {
		for range 300 {
			id++
			d.call(http.MethodPost, "/api/v1/observations", object{"observations": []object{{
				"id": id, "product_id": id%50 + 1, "title": fmt.Sprint("CVE-", id), "severity": "Critical", "status": "Open", "priority": nil, "parser_type": "SCA",
			}}}, nil)
			answered := time.Now()
			took = append(took, max(0, (<-arrived).Sub(answered)))
			d.idle(time.Minute)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func setUpProducts(d *deployment, n int) {
	d.t.Helper()
	d.call(http.MethodPatch, "/api/v1/settings", object{"email_from": "tocsin@example.com"}, nil)
	for i := 1; i <= n; i++ {
		d.call(http.MethodPut, fmt.Sprintf("/api/v1/products/%d", i), object{
			"name": fmt.Sprint("Product ", i), "observation_notification_min_severity": "Critical",
			"notification_email_to": fmt.Sprintf("team%d@example.com", i), "notification_slack_webhook": fmt.Sprintf("%s/slack/%d", d.network.URL, i),
		}, nil)
	}
}

// importLines are observations of 50 products as NDJSON, every tenth of them critical.
func importLines(firstID int) []byte {
	var b bytes.Buffer
	for i := range imported {
		severity := "Low"
		if i%10 == 0 {
			severity = "Critical"
		}
		fmt.Fprintf(&b, `{"id":%d,"product_id":%d,"title":"CVE-2026-%d in package-%d","severity":%q,"status":"Open","priority":null,"parser_type":"SCA","vulnerability_id":"CVE-2026-%d","cvss_score":7.5,"origin":{"component":"package-%d:1.2.3"}}`+"\n",
			firstID+i, i/10%50+1, i, i%977, severity, i, i%977)
	}
	return b.Bytes()
}

// rawAsynq returns how many tasks that do nothing asynq handles in a second.
func rawAsynq(b *testing.B) float64 {
	b.Helper()
	connection := testenv.RedisClient(b, testenv.Redis(b).URL())
	client := asynq.NewClientFromRedisClient(connection)
	const n = 30_000
	var enqueuers sync.WaitGroup
	for range 32 {
		enqueuers.Go(func() {
			for range n / 32 {
				if _, err := client.Enqueue(asynq.NewTask("no:op", nil)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	enqueuers.Wait()
	var done atomic.Int64
	finished := make(chan struct{})
	server := asynq.NewServerFromRedisClient(connection, asynq.Config{Concurrency: 10, LogLevel: asynq.FatalLevel})
	began := time.Now()
	if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if done.Add(1) == n/32*32 {
			close(finished)
		}
		return nil
	})); err != nil {
		b.Fatal(err)
	}
	<-finished
	took := time.Since(began)
	server.Shutdown()
	return n / took.Seconds()
}

// peakMemory is the most memory that a process had, in MiB.
func peakMemory(b testing.TB, p *process) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024
		}
	}
	b.Fatal("no VmHWM")
	return 0
}
