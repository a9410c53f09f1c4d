package worker

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestKillerIsSetAsideAlone has one observation of a chunk end whatever evaluates it, without a trace, as if its process had
// died. Claims run out sooner than in life.
func TestKillerIsSetAsideAlone(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, func(w *Worker) {
			w.Concurrency = 64 // each of these deaths keeps its slot
			w.ShutdownTimeout = time.Second
			w.fault = func(o *dbmodel.StoredObservation) {
				if o.ID == 7 {
					runtime.Goexit()
				}
			}
		})
		e.product(1, "/a")
		var list []dbmodel.Observation
		for i := range int64(50) {
			list = append(list, observation(i+1, 1, rule.High))
		}
		e.accept(list...)
		testenv.Eventually(t, 90*time.Second, func() error {
			if err := e.due("claim > 0"); err != nil {
				return err
			}
			c, err := dbmodel.Count(t.Context(), db)
			if err == nil && (c.Outbox+c.PendingDeliveries > 0 || c.FailedEvents != 1) {
				err = fmt.Errorf("%+v", c)
			}
			return err
		}, "not evaluated")
		notified := map[string]int{}
		for _, n := range e.notifications() {
			if n.Type == rule.TypeObservation {
				notified["observations"]++
			} else {
				notified[n.Name]++
			}
		}
		if notified["observations"] != 49 || notified["WorkerLost"] != 1 || len(notified) != 2 {
			t.Errorf("notified: %v", notified)
		}
	})
}

// TestClaimedExceptionWhoseWorkerDied is notified by the next try, and once.
func TestClaimedExceptionWhoseWorkerDied(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		task, err := accept.NewTaskException(keyError())
		if err != nil {
			t.Fatal(err)
		}
		fingerprint := e.eventOf(keyError()).Fingerprint
		err = db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if _, err := accept.InTx(ctx, tx, task); err != nil {
				return err
			}
			var id int64
			if err := tx.QueryRowContext(ctx, "SELECT max(id) FROM outbox").Scan(&id); err != nil {
				return err
			}
			_, err := e.queue.Claim(ctx, e.vault.ExceptionKey(fingerprint), id, time.Hour)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		e.idle(20 * time.Second)
		e.report(accept.NewTaskException(keyError()))
		e.idle(20 * time.Second)
		if n := e.notifications(); len(n) != 1 {
			t.Errorf("%d notifications", len(n))
		}
	})
}
