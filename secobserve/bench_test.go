package secobserve

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// BenchmarkPasses measures the first pass over 25,000 and over 100,000 observations of about 5 kB in 500 products, and
// the passes of an hour in which one observation changes each minute.
func BenchmarkPasses(b *testing.B) {
	for name, open := range map[string]func(testing.TB) *dbmodel.DB{"postgres": testenv.PostgresDB, "sqlite": testenv.SQLiteDB} {
		for _, observations := range []int{25_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", name, observations), func(b *testing.B) {
				for b.Loop() {
					measurePasses(b, open(b), observations)
				}
			})
		}
	}
}

func measurePasses(b *testing.B, db *dbmodel.DB, observations int) {
	e := newEnv(b, db)
	const products = 500
	var ids []int64
	for i := range products {
		ids = append(ids, e.model.AddProduct(fakesecobserve.Product{
			Name: fmt.Sprint("Product ", i), Notification: fakesecobserve.Notification{MinSeverity: "Critical"},
		}))
	}
	var last int64
	for i := range observations {
		o := finding(ids[i%products], fmt.Sprint("CVE-2026-", i%20_000))
		o.Description = strings.Repeat("x", 3_000)
		last = e.model.AddObservation(o)
	}
	e.model.Advance(time.Minute)
	began, cpu := time.Now(), testenv.CPUTime(b)
	most := &peak{}
	counts, err := e.sync.Sync(b.Context(), nil, Options{Progress: most.look})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(began).Seconds(), "s/first")
	b.ReportMetric((testenv.CPUTime(b) - cpu).Seconds(), "cpu-s/first")
	b.ReportMetric(float64(counts.Requests), "requests/first")
	b.ReportMetric(float64(most.bytes)/(1<<20), "MB-live")
	e.evaluated()
	const minutes = 60
	requests := e.sync.Client.Requests()
	began = time.Now()
	for range minutes {
		e.model.Advance(time.Minute)
		e.model.Assess(last, func(o *fakesecobserve.Observation) { o.Priority = new(1) })
		e.pass()
	}
	b.ReportMetric(float64(e.sync.Client.Requests()-requests)/minutes, "requests/pass")
	b.ReportMetric(time.Since(began).Seconds()*1000/minutes, "ms/pass")
}

// peak is by how much the live heap grew at the most: the connector's, and what the fake and the client hold.
type peak struct {
	bytes, before uint64
	calls         int
}

func (p *peak) look(Counts) {
	if p.calls++; p.calls%20 != 1 {
		return
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if p.before == 0 {
		p.before = m.HeapAlloc
	}
	p.bytes = max(p.bytes, m.HeapAlloc-min(m.HeapAlloc, p.before))
}
