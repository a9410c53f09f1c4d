package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// BenchmarkDeletion measures how long accepts for one product take while another one with 1.3 million notifications is removed,
// beside how long they take without that. The notifications have a delivery each, of which a tenth waits.
func BenchmarkDeletion(b *testing.B) {
	for b.Loop() {
		url := testenv.PostgresURL(b, testenv.MigrateSchema)
		d := newRoles(b, url, testenv.Redis(b).URL())
		setUpProducts(d, 2)
		db := open(b, url)
		const stored = 1_300_000
		for _, statement := range []string{
			fmt.Sprintf("INSERT INTO notifications (type, event, name, product_id, observation_id) SELECT 'observation', 'new', 'CVE-' || i, 2, i + 1000000 FROM generate_series(1, %d) i", stored),
			"INSERT INTO targets (id, channel, key, address, next_at) VALUES (1000, 'slack', 'x', 'x', now() + interval '1 day')",
			"INSERT INTO deliveries (notification_id, target_id, product_id, type, state) SELECT id, 1000, product_id, type, CASE id % 10 WHEN 0 THEN 'pending' ELSE 'sent' END FROM notifications",
			"INSERT INTO observations (id, product_id, title, title_hash, severity, status, parser_type) SELECT i + 1000000, 2, 'CVE', 1, 'High', 'Open', 'SCA' FROM generate_series(1, 300000) i",
			"ANALYZE",
		} {
			if _, err := db.ExecContext(b.Context(), statement); err != nil {
				b.Fatal(err)
			}
		}
		id := 0
		accept := func() time.Duration {
			id++
			began := time.Now()
			d.call(http.MethodPost, "/api/v1/observations", object{"observations": []object{{
				"id": id, "product_id": 1, "title": fmt.Sprint("CVE-", id), "severity": "Critical", "status": "Open", "priority": nil, "parser_type": "SCA",
			}}}, nil)
			return time.Since(began)
		}
		left := func() (n int) {
			if err := db.QueryRowContext(b.Context(), "SELECT count(*) FROM notifications WHERE product_id = 2").Scan(&n); err != nil {
				b.Fatal(err)
			}
			return n
		}
		during := func(d time.Duration) (list []time.Duration) {
			for began := time.Now(); time.Since(began) < d; <-time.After(10 * time.Millisecond) {
				list = append(list, accept())
			}
			slices.Sort(list)
			return list
		}
		quiet := during(15 * time.Second)
		began := time.Now()
		d.call(http.MethodDelete, "/api/v1/products/2", nil, nil)
		b.ReportMetric(milliseconds(time.Since(began)), "delete-ms")
		busy := during(25 * time.Second)
		removed := float64(stored-left()) / time.Since(began).Seconds()
		for name, list := range map[string][]time.Duration{"quiet": quiet, "busy": busy} {
			b.ReportMetric(milliseconds(list[len(list)/2]), name+"-p50-ms")
			b.ReportMetric(milliseconds(list[len(list)*99/100]), name+"-p99-ms")
			b.ReportMetric(milliseconds(list[len(list)-1]), name+"-max-ms")
		}
		b.ReportMetric(removed, "removed/s")
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
