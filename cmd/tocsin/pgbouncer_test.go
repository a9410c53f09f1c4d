package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestThroughPgBouncer runs the three roles through a PgBouncer with its default settings, which has fewer connections than the
// roles together may open.
func TestThroughPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range []testenv.PoolMode{testenv.SessionPool, testenv.TransactionPool} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			direct := testenv.PostgresURL(t, nil)
			d := newRoles(t, testenv.PgBouncer(t, direct, mode), testenv.Redis(t).URL())
			if code, output := wait(start(t, d.env, "check")); code != 0 {
				t.Errorf("check: exit %d\n%s", code, output)
			}
			d.watch(10)
			d.feed(func(int) {})
			d.idle(time.Minute)
			d.complete(open(t, direct))
			for _, p := range []*process{d.web, d.worker, d.scheduler} {
				if code, _ := p.terminate(); code != 0 || strings.Contains(p.log.String(), `"error"`) {
					t.Errorf("exit %d\n%s", code, p.log)
				}
			}
		})
	}
}
