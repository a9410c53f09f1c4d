package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// deleteProduct deletes product 1.
func (e *env) deleteProduct() {
	e.t.Helper()
	err := e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteProduct(ctx, tx, 1) })
	if err != nil {
		e.t.Fatal(err)
	}
}

// rows counts the rows of a table.
func (e *env) rows(table string) (n int) {
	e.t.Helper()
	if err := e.db.NewRaw("SELECT count(*) FROM "+table).Scan(e.t.Context(), &n); err != nil {
		e.t.Fatal(err)
	}
	return n
}

// removed waits until nothing is left of what was deleted.
func (e *env) removed() {
	e.t.Helper()
	testenv.Eventually(e.t, 20*time.Second, func() error {
		work, err := dbmodel.FindSweepWork(e.t.Context(), e.db)
		if work.Deletions {
			err = errors.New("something is left")
		}
		return err
	}, "not removed")
}

// holdRemoval has nobody remove what is deleted, as where workers are busy.
func (e *env) holdRemoval() {
	e.t.Helper()
	if err := e.queue.Ping(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	_, inspector := e.byHand()
	if err := inspector.PauseQueue("periodic"); err != nil {
		e.t.Fatal(err)
	}
}

// TestRemoveDeletedProduct: more than a batch of everything is removed, and what belongs to others stays.
func TestRemoveDeletedProduct(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/a")
		e.product(2, "/b")
		e.settings(func(s *dbmodel.Settings) { s.DigestThreshold = 1 })
		list := make([]dbmodel.Observation, 1_200)
		for i := range list {
			list[i] = observation(int64(i+1), 1, rule.High)
		}
		list[7].ProductID = 2
		e.accept(list...)
		e.idle(20 * time.Second)
		if n := e.rows("notifications"); n != len(list) {
			t.Fatalf("%d notifications", n)
		}
		e.deleteProduct()
		e.removed()
		for table, want := range map[string]int{"observations": 1, "notifications": 1, "deliveries": 1, "outbox": 0} {
			if n := e.rows(table); n != want {
				t.Errorf("%d rows are left in %s, want %d", n, table, want)
			}
		}
		if n := e.tellAgain(list[7]); n != 1 {
			t.Errorf("%d notifications about what stays", n)
		}
	})
}

// tellAgain accepts an observation with another priority and returns how many notifications there are then.
func (e *env) tellAgain(o dbmodel.Observation) int {
	e.t.Helper()
	o.Priority = new(1)
	e.accept(o)
	e.idle(20 * time.Second)
	return e.rows("notifications") - 1
}

// TestHiddenDeliveries: what waits when its product is deleted is not sent, though nothing has removed it yet; events that wait
// are not evaluated.
func TestHiddenDeliveries(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.holdRemoval()
		e.product(1, "/shared")
		e.product(2, "/shared")
		e.accept(observation(1, 1, rule.High))
		e.idle(20 * time.Second)
		e.exec("UPDATE targets SET next_at = ?", time.Now().Add(time.Hour))
		e.accept(observation(2, 1, rule.High), observation(3, 2, rule.High))
		testenv.Eventually(t, 20*time.Second, func() error {
			if n := e.rows("deliveries"); n != 3 {
				return fmt.Errorf("%d deliveries", n)
			}
			return nil
		}, "not evaluated")
		if _, err := dbmodel.InsertEvent(t.Context(), db, dbmodel.NewEvent{Kind: dbmodel.KindSecurityGate, ProductID: 1, Payload: dbmodel.EventPayload{}}); err != nil {
			t.Fatal(err)
		}
		e.deleteProduct()
		if c, err := dbmodel.Count(t.Context(), db); err != nil || c.PendingDeliveries != 1 || c.Outbox != 0 {
			t.Errorf("the status shows what is hidden: %+v %v", c, err)
		}
		e.exec("UPDATE targets SET next_at = ?", time.Now().Add(-time.Second))
		e.idle(20 * time.Second)
		e.accept(observation(4, 2, rule.High)) // a second look into what waits
		e.idle(20 * time.Second)
		if got := e.receiver.headlines("/shared"); len(got) != 3 || e.rows("notifications") != 4 {
			t.Errorf("sent: %q; %d notifications", got, e.rows("notifications"))
		}
		if n := e.rows("deliveries WHERE state = 'pending'"); n != 1 {
			t.Errorf("%d deliveries wait, want the hidden one", n)
		}
	})
}

// TestProductIsDeletedDuringDrain: a message that is under way when its product is deleted, and its deliveries are removed, ends
// as it does; the target goes on with the others, and nothing of it is reported.
func TestProductIsDeletedDuringDrain(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"taken": 200, "refused": 404, "failed": 503} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
				e := newEnv(t, db, nil)
				under, goOn := make(chan struct{}), make(chan struct{})
				e.receiver.answer = func(_ string, try int) (int, map[string]string) {
					if try > 1 {
						return 200, nil
					}
					close(under)
					<-goOn
					return status, nil
				}
				e.product(1, "/shared")
				e.product(2, "/shared")
				e.accept(observation(1, 1, rule.High))
				<-under
				e.accept(observation(2, 1, rule.High), observation(3, 2, rule.High))
				testenv.Eventually(t, 20*time.Second, func() error {
					if n := e.rows("deliveries"); n != 3 {
						return fmt.Errorf("%d deliveries", n)
					}
					return nil
				}, "not evaluated")
				e.deleteProduct()
				e.removed()
				close(goOn)
				e.idle(20 * time.Second)
				if sent := e.deliveries(dbmodel.Sent); len(sent) != 1 || e.receiver.tried("/shared") != 2 {
					t.Errorf("%d sent in %d tries", len(sent), e.receiver.tried("/shared"))
				}
				if list := e.notifications(); len(list) != 1 || list[0].Type != rule.TypeObservation {
					t.Errorf("notifications: %+v", list)
				}
			})
		})
	}
}

// TestDeletedWhileItComesIn: events of a product that is deleted and created again all the time neither fail nor bring back what
// was deleted.
func TestDeletedWhileItComesIn(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		create := func() {
			err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				p := &dbmodel.Product{ID: 1, Name: "Again"}
				p.MinSeverity = rule.High
				return errors.Join(dbmodel.AddProduct(ctx, tx, 1), dbmodel.SaveProduct(ctx, tx, p))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		create()
		for round := range int64(15) {
			task, err := accept.NewObservations([]dbmodel.Observation{observation(round+1, 1, rule.High), observation(1000, 1, rule.High)})
			e.report(task, err)
			gate, err := accept.NewSecurityGate(1, new(round%2 == 0))
			e.report(gate, err)
			e.deleteProduct()
			create()
		}
		e.idle(30 * time.Second)
		e.removed()
		for _, table := range []string{"observations", "notifications", "outbox"} {
			if n := e.rows(table); n != 0 {
				t.Errorf("%d rows in %s", n, table)
			}
		}
	})
}
