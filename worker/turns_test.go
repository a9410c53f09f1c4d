package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// exhaust takes all connections of the pool that changes are made through, until release is called.
func exhaust(t *testing.T, db *dbmodel.DB) (release func()) {
	t.Helper()
	var held []bun.Conn
	for range db.DB.Stats().MaxOpenConnections {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	release = sync.OnceFunc(func() {
		for _, conn := range held {
			_ = conn.Close()
		}
	})
	t.Cleanup(release)
	return release
}

// waitingFor has targets wait for a delivery each, which nobody has tried, and returns their ids.
func (e *env) waitingFor(targets int) (ids []int64) {
	e.t.Helper()
	later := time.Now().Add(time.Hour)
	var list []dbmodel.Observation
	for i := range int64(targets) {
		e.product(1+i, fmt.Sprint("/a", i))
		list = append(list, observation(1+i, 1+i, rule.High))
	}
	update := func(at time.Time) {
		if _, err := e.db.NewUpdate().Model((*dbmodel.Target)(nil)).Set("next_at = ?", at).Where("true").Exec(e.t.Context()); err != nil {
			e.t.Fatal(err)
		}
	}
	update(later)
	e.accept(list...)
	e.waitFor("all is evaluated", func() bool { return len(e.deliveries(dbmodel.Pending)) == targets })
	e.scheduler.Shutdown() // the test alone says when a target is looked at
	e.waitFor("no task is left", func() bool { return e.tasks(queue.All, "pending", "active") == 0 })
	update(time.Now().Add(-time.Minute))
	if err := e.db.NewSelect().Model((*dbmodel.Target)(nil)).Column("id").Scan(e.t.Context(), &ids); err != nil {
		e.t.Fatal(err)
	}
	return ids
}

// tasks is how many tasks of some queues there are in some of asynq's states.
func (e *env) tasks(queues []string, states ...string) (n int64) {
	e.t.Helper()
	client := e.newRedis()
	defer client.Close()
	for _, q := range queues {
		for _, state := range states {
			some, err := client.LLen(e.t.Context(), "asynq:{"+q+"}:"+state).Result()
			if err != nil {
				e.t.Fatal(err)
			}
			n += some
		}
	}
	return n
}

// wantUntouched checks that no target rests or fails, and that nothing is reported of one.
func (e *env) wantUntouched() {
	e.t.Helper()
	var targets []dbmodel.Target
	if err := e.db.NewSelect().Model(&targets).Scan(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	for _, t := range targets {
		if t.Failures > 0 || t.FailingSince != nil || t.NextAt.After(time.Now()) {
			e.t.Errorf("target %d has %d failures and rests until %s", t.ID, t.Failures, t.NextAt)
		}
	}
	for _, n := range e.notifications() {
		if n.Own {
			e.t.Errorf("reported: %s: %s", n.Name, n.Message)
		}
	}
}

// TestDrainsWaitForTheirTurns: with more drains than the pool has connections, few wait for one of these, and the receivers
// are not blamed.
func TestDrainsWaitForTheirTurns(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		const targets = 60
		e := newEnv(t, db, nil)
		ids := e.waitingFor(targets)
		release := exhaust(t, db)
		before := db.DB.Stats().WaitCount
		e.queue.Poke(t.Context(), ids)
		e.waitFor("drains wait", func() bool {
			return db.DB.Stats().WaitCount > before && e.tasks([]string{queue.Drains}, "active") == targets
		})
		if most := int64(cap(e.worker.turns.all) + otherConnections); db.DB.Stats().WaitCount-before > most {
			t.Errorf("%d wait for a connection, want %d at the most", db.DB.Stats().WaitCount-before, most)
		}
		release()
		e.idle(30 * time.Second)
		e.wantUntouched()
		if n := len(e.deliveries(dbmodel.Sent)); n != targets {
			t.Errorf("%d are sent", n)
		}
	})
}

// TestTaskThatEndsInTheQueueOfThePool: neither a drain nor an evaluation that waits for a connection until its task ends is a
// failure of its target, or event.
func TestTaskThatEndsInTheQueueOfThePool(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		const targets = 3 * 10
		e := newEnv(t, db, nil)
		ids := e.waitingFor(targets)
		release := exhaust(t, db)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		for _, id := range ids {
			payload, err := json.Marshal(queue.DrainTask{TargetID: id})
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				err := e.worker.targetDrain(ctx, asynq.NewTask(queue.TypeTargetDrain, payload))
				if err != nil && !errors.Is(err, dbmodel.ErrUnavailable) {
					t.Error(err)
				}
			})
		}
		for observations := range 3 {
			event := &dbmodel.Event{ID: 1_000_000, Kind: dbmodel.KindObservation}
			event.Payload.IDs = make([]int64, observations)
			all.Go(func() {
				_, err := e.worker.attempt(ctx, event, e.worker.eventHandlers()[dbmodel.KindObservation])
				if !errors.Is(err, dbmodel.ErrUnavailable) {
					t.Errorf("an evaluation of %d observations without a connection: %v", observations, err)
				}
			})
		}
		<-ctx.Done()
		release()
		all.Wait()
		e.wantUntouched()
		e.queue.Poke(t.Context(), ids)
		e.idle(30 * time.Second)
	})
}

// TestImportsLeaveTurnsToSingleEvents: drains of an import that all want the database do not take the last turn.
func TestImportsLeaveTurnsToSingleEvents(t *testing.T) {
	t.Parallel()
	for connections := range 20 {
		singlesCome := true
		all := newTurns(connections, 4, usualLanes, func() bool { return singlesCome })
		var drains []*turn
		begin := func(within time.Duration) bool {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			one, err := all.begin(ctx, true)
			if err != nil {
				return false
			}
			drains = append(drains, one)
			return true
		}
		few := 0
		for few < cap(all.giveWay) && begin(10*time.Second) {
			few++
		}
		if few != max(cap(all.all)/8, 1) || begin(5*time.Millisecond) {
			t.Fatalf("%d connections: %d drains of an import get a turn while single events come", connections, few)
		}
		singlesCome = false
		if cap(all.bulk) > cap(all.giveWay) && !begin(10*time.Second) {
			t.Fatalf("%d connections: no more drains of an import get a turn", connections)
		}
		for begin(5 * time.Millisecond) {
		}
		if cap(all.all) > 1 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			single, err := all.begin(ctx, false)
			cancel()
			if err != nil {
				t.Fatalf("%d connections: a single event gets no turn beside %d drains of an import", connections, len(drains))
			}
			single.give()
		}
		for _, one := range drains {
			one.give()
			one.give()
		}
		if left := []int{len(all.all), len(all.bulk), len(all.giveWay)}; slices.Max(left) > 0 {
			t.Errorf("%d connections: turns are not given back: %v", connections, left)
		}
	}
}

// TestImportRestsWhileSingleEventsCome: after the evaluation of one of its parts, without a lock that keeps evaluations
// waiting.
func TestImportRestsWhileSingleEventsCome(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		const slow = 500 * time.Millisecond // for an observation, which is read twice
		e := newEnv(t, db, func(w *Worker) { w.fault = func(*dbmodel.StoredObservation) { <-time.After(slow) } })
		e.product(1, "/a")
		e.accept(observation(1, 1, rule.Critical))
		e.idle(20 * time.Second)
		e.accept(observation(2, 1, rule.Critical), observation(3, 1, rule.Critical))
		e.waitFor("all is evaluated", func() bool { return len(e.notifications()) == 3 })
		rests := 0
		e.waitFor("the import rests without a lock", func() bool {
			if e.tasks([]string{queue.Bulk}, "active") == 1 && e.worker.evaluating.TryLock() {
				e.worker.evaluating.Unlock()
				rests++
			}
			return rests == 5 // once could be the moment between the evaluation and the end of its task
		})
		e.idle(20 * time.Second)
	})
}
