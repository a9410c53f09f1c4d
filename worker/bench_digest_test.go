package worker

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// BenchmarkDigest makes the digest of a day with 100,000 notifications of 500 products for 2,000 subscribers: of everything, and
// users of whom each sees another tenth of the products. peak-MB is what the heap grew by at most.
func BenchmarkDigest(b *testing.B) {
	b.Run("same", func(b *testing.B) { benchmarkDigest(b, false) })
	b.Run("differing", func(b *testing.B) { benchmarkDigest(b, true) })
}

func benchmarkDigest(b *testing.B, differing bool) {
	b.Helper()
	const notifications, subscribers, products = 100_000, 2_000, 500
	db := testenv.OpenDB(b, testenv.PostgresURL(b, testenv.MigrateSchema))
	e := newEnv(b, db, nil)
	e.scheduler.Shutdown()
	other := &env{t: b, redis: testenv.Redis(b)} // so that nobody sends anything meanwhile
	client := other.newRedis()
	defer client.Close()
	other.worker = New(Config{DB: db, Vault: e.vault, Queue: queue.New(client, zerolog.Nop()), Log: zerolog.Nop()})
	for id := range int64(products) {
		e.product(id+1, "")
	}
	e.settings(func(s *dbmodel.Settings) { s.MemberNotificationTypes = []rule.Type{rule.TypeObservation} })
	for i := range subscribers {
		e.subscribe(fmt.Sprint("s", i), rule.Slack, func(s *dbmodel.Subscription) {
			daily(s)
			if differing {
				of(e.user(fmt.Sprint("user-", i), nil))(s)
			}
		}, fmt.Sprintf("%s/%d", e.receiver.URL, i))
	}
	if _, err := db.NewRaw(`INSERT INTO product_members (product_id, user_id, role) SELECT p.id, u.id, 'reader' FROM products p, users u
		WHERE u.username LIKE 'user-%' AND (u.id * 7919 + p.id * p.id) % 1009 < 101`).Exec(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		for part := range notifications / 5_000 {
			list := make([]dbmodel.NewNotification, 5_000)
			for i := range list {
				id := int64(part*5_000 + i)
				n := &list[i].Notification
				*n = dbmodel.Notification{
					Type: rule.TypeObservation, Event: rule.EventNew, Name: "CVE", ProductID: new(id%products + 1), ObservationID: &id,
				}
				n.SetValues(nil, &rule.Values{Severity: rule.High, Status: rule.Open})
			}
			if err := db.InTx(b.Context(), func(ctx context.Context, tx bun.Tx) error {
				return dbmodel.InsertNotifications(ctx, tx, list)
			}); err != nil {
				b.Fatal(err)
			}
		}
		due := time.Now().Add(-time.Hour)
		if _, err := db.NewRaw("UPDATE subscriptions SET next_slot_at = ?", due).Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		var peak atomic.Uint64
		ctx, end := context.WithCancel(b.Context())
		go func() {
			for ctx.Err() == nil {
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				peak.Store(max(peak.Load(), now.HeapAlloc))
				<-time.After(100 * time.Millisecond)
			}
		}()
		b.StartTimer()
		if err := other.makeDigests(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		end()
		b.ReportMetric(float64(int64(peak.Load())-int64(before.HeapAlloc))/1e6, "peak-MB")
		var made int
		if err := db.NewRaw("SELECT count(DISTINCT target_id) FROM deliveries").Scan(b.Context(), &made); err != nil || made != subscribers {
			b.Fatalf("%d targets have a digest (%v), want %d", made, err, subscribers)
		}
		b.StartTimer()
	}
}
