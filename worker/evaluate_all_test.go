package worker

import (
	"context"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// What matches after a change of settings is notified once all observations are evaluated again, and only then.
func TestEvaluateAll(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/slack")
		e.accept(observation(1, 1, rule.High), observation(2, 1, rule.Medium), observation(3, 1, rule.Low))
		e.idle(30 * time.Second)
		err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			p, err := dbmodel.ProductForUpdate(ctx, tx, 1)
			if err != nil {
				return err
			}
			p.MinSeverity = rule.Medium
			return dbmodel.SaveProduct(ctx, tx, p)
		})
		if err != nil {
			t.Fatal(err)
		}
		counted := 0
		e.acceptor.Count = func(done accept.Accepted) { counted += done.Evaluations }
		for i := range 2 {
			if n, err := e.acceptor.EvaluateAll(t.Context(), []int64{1, 2}); n != 3 || err != nil {
				t.Fatalf("%d observations are evaluated again: %v", n, err)
			}
			if counted != 3*(i+1) {
				t.Errorf("%d observations are counted, want %d", counted, 3*(i+1))
			}
			e.idle(30 * time.Second)
			got := e.notifications()
			if len(got) != 2 || *got[0].ObservationID != 1 || *got[1].ObservationID != 2 || got[1].Event != rule.EventNew {
				t.Fatalf("notified: %+v", got)
			}
		}
	})
}
