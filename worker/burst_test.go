package worker

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestCrashInTheMiddleOfABurst ends a worker, without a trace, while messages of a burst are under way: what was recorded by then
// is not sent again, and nothing is lost.
func TestCrashInTheMiddleOfABurst(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		const all, recorded = 60, 20
		e := newEnv(t, db, func(w *Worker) { w.ShutdownTimeout = time.Second })
		e.product(1, "/burst")
		e.settings(func(s *dbmodel.Settings) { s.DigestThreshold = 0 })
		crashing, goOn := e.worker, make(chan struct{})
		resume := sync.OnceFunc(func() { close(goOn) })
		t.Cleanup(resume)
		e.receiver.answer = func(_ string, try int) (int, map[string]string) {
			if try > recorded && !isClosed(crashing.ended.Done()) {
				<-goOn
				crashing.end()
			}
			return 200, nil
		}
		var list []dbmodel.Observation
		for i := range int64(all) {
			list = append(list, observation(i+1, 1, rule.High))
		}
		e.accept(list...)
		e.waitFor("all results are recorded but those of messages under way", func() bool { return len(e.deliveries(dbmodel.Sent)) == recorded })
		resume()
		<-crashing.ended.Done()
		crashing.Shutdown()
		before := e.receiver.tried("/burst")

		e.worker = New(crashing.Config)
		if err := e.worker.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), "UPDATE targets SET lease_until = next_at"); err != nil {
			t.Fatal(err)
		}
		e.idle(20 * time.Second)
		copies := map[string]int{}
		for _, headline := range e.receiver.headlines("/burst") {
			copies[headline]++
		}
		for i, headline := range slices.Compact(e.receiver.headlines("/burst"))[:recorded] {
			if copies[headline] != 1 {
				t.Errorf("message %d was recorded, and sent %d times: %s", i+1, copies[headline], headline)
			}
		}
		if n := e.receiver.tried("/burst"); before <= recorded || before > recorded+sideBySide || len(copies) != all || n > all+before-recorded {
			t.Errorf("%d messages in %d tries, %d of these before the crash", len(copies), n, before)
		}
	})
}

// TestPokeDuringADrain has a delivery stored, and its task come and go, while the drain sends what it read before. Nothing
// sweeps.
func TestPokeDuringADrain(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.scheduler.Shutdown()
		answered := make(chan struct{})
		answer := sync.OnceFunc(func() { close(answered) })
		t.Cleanup(answer)
		e.receiver.answer = func(string, int) (int, map[string]string) {
			<-answered
			return 200, nil
		}
		e.product(1, "/slow")
		e.accept(observation(1, 1, rule.High))
		e.waitFor("the first message is under way", func() bool { return e.receiver.tried("/slow") == 1 })
		e.accept(observation(2, 1, rule.High))
		e.waitFor("the second task has found the lease taken", func() bool {
			var again bool
			err := db.QueryRowContext(t.Context(), "SELECT again FROM targets").Scan(&again)
			return err == nil && again
		})
		answer()
		e.idle(10 * time.Second)
		if got := e.receiver.headlines("/slow"); len(got) != 2 {
			t.Errorf("delivered: %v", got)
		}
	})
}

// TestObservationChangesDuringItsEvaluation has an observation become Low between the read without a lock and the one that locks:
// it is decided on what is true then. SQLite has one writer, so nothing changes there in between.
func TestObservationChangesDuringItsEvaluation(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	var e *env
	var reads atomic.Int64
	e = newEnv(t, db, func(w *Worker) {
		w.fault = func(*dbmodel.StoredObservation) {
			if reads.Add(1) == 1 {
				e.accept(observation(1, 1, rule.Low))
			}
		}
	})
	e.product(1, "/a")
	e.accept(observation(1, 1, rule.High), observation(2, 1, rule.High))
	e.idle(10 * time.Second)
	if got := e.receiver.headlines("/a"); !slices.Equal(got, []string{"High: CVE-2 in Product 1"}) {
		t.Errorf("delivered: %v", got)
	}
	if list := e.notifications(); len(list) != 1 {
		t.Error(fmt.Sprint(len(list), " notifications, want 1"))
	}
}
