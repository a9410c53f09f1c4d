package worker

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestImportsTakeNoSlotOfSingleEvents: what an import has to wait for stays in its queue, and single events are
// evaluated beside it.
func TestImportsTakeNoSlotOfSingleEvents(t *testing.T) {
	t.Parallel()
	var running atomic.Int64
	goOn := make(chan struct{})
	const single = 100
	e := newEnv(t, testenv.PostgresDB(t), func(w *Worker) {
		w.Concurrency = 2
		w.fault = func(o *dbmodel.StoredObservation) {
			if o.ID < single {
				running.Add(1)
				<-goOn
				running.Add(-1)
			}
		}
	})
	proceed := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(proceed)
	const parts = 4
	for i := range int64(parts) {
		e.product(i+1, "")
		e.accept(observation(2*i+1, i+1, rule.High), observation(2*i+2, i+1, rule.High))
	}
	e.product(single, "/single")
	e.waitFor("an import is evaluated", func() bool { return running.Load() == 1 })
	for i := range int64(3) {
		e.accept(observation(single+i, single, rule.High))
		e.waitFor("a single event", func() bool { return len(e.receiver.headlines("/single")) == int(i)+1 })
	}
	active, waiting := e.tasks([]string{queue.Bulk}, "active"), e.tasks([]string{queue.Bulk}, "pending")
	if n := running.Load(); n != 1 || active != 1 || waiting != parts-1 {
		t.Errorf("%d imports are evaluated, %d tasks of imports are active, and %d wait", n, active, waiting)
	}
	proceed()
	e.waitFor("all is evaluated", func() bool { return len(e.notifications()) == 2*parts+3 })
}

// TestOnlyWhatLostItsProcessIsEvaluatedAlone: the gates of a product that came after one whose process was lost follow
// it at once, without a sweep.
func TestOnlyWhatLostItsProcessIsEvaluatedAlone(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.scheduler.Shutdown()
		e.product(1, "/gate")
		const gates = 3
		err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			for i := range gates {
				gate, err := accept.NewSecurityGate(1, new(i%2 == 0))
				if err != nil {
					return err
				}
				if _, err := accept.InTx(ctx, tx, gate); err != nil {
					return err
				}
			}
			_, err := tx.ExecContext(ctx, "UPDATE outbox SET claim = ? WHERE id = (SELECT min(id) FROM outbox)", dbmodel.Claimed)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var oldest int64
		if err := db.NewRaw("SELECT min(id) FROM outbox").Scan(t.Context(), &oldest); err != nil {
			t.Fatal(err)
		}
		e.queue.Enqueue(t.Context(), []dbmodel.QueueableEvent{
			{ID: oldest, Kind: dbmodel.KindSecurityGate, ProductID: 1, Alone: true},
		})
		e.waitFor("all gates", func() bool { return len(e.receiver.headlines("/gate")) == gates })
	})
}

// TestWhatWaitsIsNotLost: the task of an event that waits while another one is evaluated alone counts as enqueued.
func TestWhatWaitsIsNotLost(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.scheduler.Shutdown()
		e.product(1, "/gate")
		gate, err := accept.NewSecurityGate(1, new(true))
		if err != nil {
			t.Fatal(err)
		}
		done, err := accept.InTx(t.Context(), db, gate)
		if err != nil {
			t.Fatal(err)
		}
		e.exec("UPDATE outbox SET queued_at = ?", time.Now().Add(-time.Hour))
		e.worker.evaluating.Lock()
		proceed := sync.OnceFunc(e.worker.evaluating.Unlock)
		t.Cleanup(proceed)
		e.queue.Enqueue(t.Context(), done.Rows)
		e.waitFor("it counts as enqueued now", func() bool {
			var n int
			err := db.NewRaw("SELECT count(*) FROM outbox WHERE queued_at > ?", time.Now().Add(-time.Minute)).Scan(t.Context(), &n)
			return err == nil && n == 1
		})
		proceed()
		e.waitFor("the gate", func() bool { return len(e.receiver.headlines("/gate")) == 1 })
	})
}

// mute is a database that never answers.
type mute struct{}

func (mute) Connect(ctx context.Context) (driver.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (mute) Driver() driver.Driver { return nil }

// TestMuteDatabaseIsNotWaitedFor: an evaluation that ran out of time asks whether the database answers, and takes no
// answer for none; one that came after the database was back would blame the event.
func TestMuteDatabaseIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := bun.NewDB(sql.OpenDB(mute{}), pgdialect.New())
		defer db.Close()
		w := New(Config{DB: &dbmodel.DB{DB: db, Reader: db}, Log: zerolog.Nop()})
		if w.databaseAnswers() {
			t.Error("it does not answer")
		}
	})
}

// TestEventThatTakesTooLong: an event whose preparation and transaction are too slow together is to blame for that; one
// that waits for a connection meanwhile is not.
func TestEventThatTakesTooLong(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.scheduler.Shutdown()
		for i, test := range []struct {
			connected time.Duration
			blamed    bool
		}{{evaluationTime, true}, {0, false}} {
			_, err := db.ExecContext(t.Context(), "INSERT INTO outbox (kind, bulk, payload) VALUES ('observation', false, '{}')")
			if err != nil {
				t.Fatal(err)
			}
			event, err := dbmodel.ClaimEvent(t.Context(), db, dbmodel.KindObservation, int64(i+1), false)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err = e.worker.attempt(ctx, event, handler{
				prepare: func(context.Context, *dbmodel.Event) (prepared, error) {
					return prepared{connected: test.connected}, nil
				},
				evaluate: func(ctx context.Context, _ bun.Tx, _ *dbmodel.Event, _ prepared) (decision, error) {
					<-ctx.Done()
					return decision{}, dbmodel.Translate(ctx.Err())
				},
			})
			if blamed := !errors.Is(err, dbmodel.ErrUnavailable); err == nil || blamed != test.blamed {
				t.Errorf("with a connection for %s before the transaction: %v", test.connected, err)
			}
		}
	})
}
