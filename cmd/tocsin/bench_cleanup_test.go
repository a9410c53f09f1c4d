package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// BenchmarkCleanup measures how long events take while a million old notifications are deleted, beside how long they take
// without that. The notifications have a delivery each.
func BenchmarkCleanup(b *testing.B) {
	for b.Loop() {
		url := testenv.PostgresURL(b, testenv.MigrateSchema)
		d := newRoles(b, url, testenv.Redis(b).URL())
		setUpProducts(d, 50)
		db := open(b, url)
		const old = 1_000_000
		for _, statement := range []string{
			fmt.Sprintf("INSERT INTO notifications (type, event, name, product_id, created_at) SELECT 'observation', 'new', 'CVE-' || i, i %% 50 + 1, now() - interval '200 days' + i * interval '1 second' FROM generate_series(1, %d) i", old),
			"INSERT INTO deliveries (notification_id, target_id, product_id, type, state) SELECT id, 1, product_id, type, 'sent' FROM notifications",
			"ANALYZE",
		} {
			if _, err := db.ExecContext(b.Context(), statement); err != nil {
				b.Fatal(err)
			}
		}
		arrived := make(chan time.Time, 1)
		d.network.answer = func(string, int) int {
			select {
			case arrived <- time.Now():
			default:
			}
			return 200
		}
		id := 0
		one := func() time.Duration {
			id++
			d.call(http.MethodPost, "/api/v1/observations", object{"observations": []object{{
				"id": id, "product_id": id%50 + 1, "title": fmt.Sprint("CVE-", id), "severity": "Critical", "status": "Open", "priority": nil, "parser_type": "SCA",
			}}}, nil)
			answered := time.Now()
			took := max(0, (<-arrived).Sub(answered))
			d.idle(time.Minute)
			return took
		}
		left := func() (n int) {
			if err := db.QueryRowContext(b.Context(), "SELECT count(*) FROM notifications WHERE created_at < now() - interval '90 days'").Scan(&n); err != nil {
				b.Fatal(err)
			}
			return n
		}
		var quiet, busy []time.Duration
		for range 300 {
			quiet = append(quiet, one())
		}
		d.call(http.MethodPatch, "/api/v1/settings", object{"cleanup_cron": "* * * * *"}, nil)
		testenv.Eventually(b, 2*time.Minute, func() error {
			if left() == old {
				return fmt.Errorf("no clean-up yet")
			}
			return nil
		}, "the clean-up does not begin")
		began, before := time.Now(), left()
		for time.Since(began) < 20*time.Second && left() > 0 {
			for range 20 {
				busy = append(busy, one())
			}
		}
		rate := float64(before-left()) / time.Since(began).Seconds()
		median := func(list []time.Duration) float64 {
			slices.Sort(list)
			return float64(list[len(list)/2].Microseconds()) / 1000
		}
		b.ReportMetric(median(quiet), "quiet-p50-ms")
		b.ReportMetric(median(busy), "busy-p50-ms")
		b.ReportMetric(median(busy)/median(quiet), "busy-x-quiet")
		b.ReportMetric(rate, "deleted/s")
		b.ReportMetric(peakMemory(b, d.worker), "worker-MiB")
	}
}
