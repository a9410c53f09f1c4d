package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// BenchmarkHealthyAmongHanging measures, in a database in which 5,000 Slack webhooks hang and 20,000 fail, how long single events
// take until a healthy webhook of the same channel, and one of another channel, is served.
func BenchmarkHealthyAmongHanging(b *testing.B) {
	const hanging, failing = 5_000, 20_000
	e := newEnv(b, testenv.PostgresDB(b), func(w *Worker) { w.ShutdownTimeout = 2 * time.Second })
	e.receiver.answer = func(path string, _ int) (int, map[string]string) {
		switch {
		case strings.HasPrefix(path, "/hangs"):
			return 0, nil
		case strings.HasPrefix(path, "/fails"):
			return 500, nil
		}
		return 200, nil
	}
	e.waiting("/hangs", hanging)
	e.waiting("/fails", failing)
	e.product(1, "/same")
	e.product(2, "")
	e.contact(rule.Holder{Kind: rule.HolderProduct, ID: 2}, rule.MSTeams, e.receiver.URL+"/other")
	e.waitFor("the first ones hang", func() bool { return e.receiver.triedBelow("/hangs") > 100 })
	e.measureHealthy(b)
}

// BenchmarkHealthyBehindAnImport measures the same behind an import to 60,000 targets.
func BenchmarkHealthyBehindAnImport(b *testing.B) {
	e := newEnv(b, testenv.PostgresDB(b), nil)
	e.waiting("/import", 60_000)
	e.product(1, "/same")
	e.product(2, "")
	e.contact(rule.Holder{Kind: rule.HolderProduct, ID: 2}, rule.MSTeams, e.receiver.URL+"/other")
	e.measureHealthy(b)
}

// waiting stores one delivery for each of n Slack webhooks.
func (e *env) waiting(prefix string, n int) {
	e.t.Helper()
	addresses := make([]string, n)
	for i := range addresses {
		addresses[i] = fmt.Sprint(e.receiver.URL, prefix, i)
	}
	for part := range slices.Chunk(addresses, 5_000) {
		err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
			targets, err := dbmodel.EnsureTargets(ctx, tx, e.vault, rule.Slack, part)
			if err != nil {
				return err
			}
			return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{
				{Notification: dbmodel.Notification{Type: rule.TypeSecurityGate, Name: "P"}, Targets: targets},
			})
		})
		if err != nil {
			e.t.Fatal(err)
		}
	}
}

// triedBelow counts the tries to all paths that begin so.
func (r *receiver) triedBelow(prefix string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for path, tries := range r.tries {
		if strings.HasPrefix(path, prefix) {
			n += tries
		}
	}
	return n
}

// measureHealthy has an event of product 1 and one of product 2 delivered, again and again for 20 seconds.
func (e *env) measureHealthy(b *testing.B) {
	b.Helper()
	paths := []string{"/same", "/other"}
	taken := make([][]time.Duration, len(paths))
	b.ResetTimer()
	for began, id := time.Now(), int64(1); time.Since(began) < 20*time.Second; id++ {
		for i, path := range paths {
			before, sent := len(e.receiver.headlines(path)), time.Now()
			e.accept(observation(10*id+int64(i), int64(i+1), rule.High))
			testenv.Eventually(b, time.Minute, func() error {
				if len(e.receiver.headlines(path)) == before {
					return errors.New("not yet")
				}
				return nil
			}, path)
			taken[i] = append(taken[i], time.Since(sent))
		}
	}
	for i, path := range paths {
		slices.Sort(taken[i])
		n := len(taken[i])
		b.ReportMetric(float64(taken[i][n/2].Milliseconds()), "ms-p50-"+path[1:])
		b.ReportMetric(float64(taken[i][n*95/100].Milliseconds()), "ms-p95-"+path[1:])
	}
}
