package worker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// notifyExceptions has exceptions notified to the Slack webhook /x.
func (e *env) notifyExceptions() {
	e.t.Helper()
	e.contact(rule.Holder{Kind: rule.HolderExceptions}, rule.Slack, e.receiver.URL+"/x")
}

func keyError() accept.TaskExceptionInfo {
	return accept.TaskExceptionInfo{
		ExceptionInfo: accept.ExceptionInfo{Class: "KeyError", Message: "no such key", Function: "import", Trace: "line 1\nline 2"},
		Arguments:     map[string]any{"a": 1, "nested": []any{map[string]any{"api_key": "hidden"}}},
	}
}

func TestEqualExceptionsAreNotifiedOnce(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		second := New(e.worker.Config)
		if err := second.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(second.Shutdown)
		e.notifyExceptions()
		const window = 4 * testenv.Slowdown // seconds
		e.settings(func(s *dbmodel.Settings) { s.ExceptionRateLimit = window })
		began := time.Now()
		var clients sync.WaitGroup
		for range 25 {
			clients.Go(func() { e.report(accept.NewTaskException(keyError())) })
		}
		clients.Wait()
		e.idle(30 * time.Second)
		if n := e.notifications(); len(n) != 1 || n[0].Suppressed != 0 || n[0].Type != rule.TypeTask {
			t.Fatalf("%d notifications: %+v", len(n), n)
		}
		testenv.Eventually(t, 20*time.Second, func() error {
			if time.Since(began) < (window+1)*time.Second {
				return fmt.Errorf("the window is open")
			}
			return nil
		}, "time stands still")
		e.report(accept.NewTaskException(keyError()))
		e.idle(20 * time.Second)
		n := e.notifications()
		if len(n) != 2 || n[1].Suppressed != 24 {
			t.Fatalf("after the window: %+v", n)
		}
		if got := string(n[1].Arguments); !strings.Contains(got, "***") || strings.Contains(got, "hidden") {
			t.Errorf("arguments: %s", got)
		}
		if got := e.receiver.headlines("/x"); len(got) != 2 || !strings.Contains(got[1], "24 times more") {
			t.Errorf("notified: %q", got)
		}
	})
}

func TestWhatTheSameExceptionIs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.SQLiteDB(t), nil)
	report := func(change func(*accept.TaskExceptionInfo)) {
		t.Helper()
		x := keyError()
		change(&x)
		e.report(accept.NewTaskException(x))
	}
	report(func(*accept.TaskExceptionInfo) {})
	same := 1
	for _, different := range []func(*accept.TaskExceptionInfo){
		func(x *accept.TaskExceptionInfo) { x.Class = "ValueError" },
		func(x *accept.TaskExceptionInfo) { x.Message = "another" },
		func(x *accept.TaskExceptionInfo) { x.Function = "export" },
		func(x *accept.TaskExceptionInfo) { x.Arguments = map[string]any{"a": 2} },
		func(x *accept.TaskExceptionInfo) { // what is masked differs
			x.Arguments = map[string]any{"a": 1, "nested": []any{map[string]any{"api_key": "other"}}}
		},
		func(x *accept.TaskExceptionInfo) { x.Fingerprint = "mine" },
	} {
		report(different)
		same++
	}
	for _, equal := range []func(*accept.TaskExceptionInfo){
		func(x *accept.TaskExceptionInfo) { x.Trace = "elsewhere" },
		func(x *accept.TaskExceptionInfo) { x.User = "somebody" },
		func(x *accept.TaskExceptionInfo) { x.Fingerprint, x.Message, x.Arguments = "mine", "another", nil },
	} {
		report(equal)
	}
	e.report(accept.NewException(keyError().ExceptionInfo)) // of another type
	same++
	e.idle(20 * time.Second)
	if n := e.notifications(); len(n) != same {
		t.Errorf("%d notifications, want %d", len(n), same)
	}
}

func TestExceptionWhoseFirstHandlingFailed(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.notifyExceptions()
		task, err := accept.NewTaskException(keyError())
		e.report(task, err)
		e.idle(10 * time.Second)
		// The claim of one that is set aside, as if its handling had failed for good.
		first := e.eventOf(keyError())
		if _, err := db.ExecContext(t.Context(), "DELETE FROM notifications"); err != nil {
			t.Fatal(err)
		}
		key := e.vault.ExceptionKey(first.Fingerprint)
		aside, err := dbmodel.InsertEvent(t.Context(), db, dbmodel.NewEvent{Kind: dbmodel.KindException, Payload: dbmodel.EventPayload{Exception: first}, Refused: "failed for good"})
		if err != nil {
			t.Fatal(err)
		}
		holder, err := e.queue.Claim(t.Context(), key, aside, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if taken, err := e.queue.TakeOver(t.Context(), key, holder, aside, time.Hour); err != nil || !taken {
			t.Fatalf("set up the claim: %v %v", taken, err)
		}
		e.report(accept.NewTaskException(keyError()))
		e.idle(20 * time.Second)
		if n := e.notifications(); len(n) != 1 {
			t.Errorf("%d notifications, want the one that waited", len(n))
		}
	})
}

// eventOf is how an exception is stored.
func (e *env) eventOf(x accept.TaskExceptionInfo) *dbmodel.Exception {
	e.t.Helper()
	task, err := accept.NewTaskException(x)
	if err != nil {
		e.t.Fatal(err)
	}
	var event *dbmodel.Event
	err = e.db.InTx(e.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if _, err := accept.InTx(ctx, tx, task); err != nil {
			return err
		}
		var id int64
		if err := tx.QueryRowContext(ctx, "SELECT max(id) FROM outbox").Scan(&id); err != nil {
			return err
		}
		if event, err = dbmodel.ClaimEvent(ctx, tx, dbmodel.KindException, id, false); err != nil {
			return err
		}
		_, err := dbmodel.TakeEvent(ctx, tx, event)
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return event.Payload.Exception
}

func TestOwnFailuresAreNotifiedOnceAndMakeNoLoop(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, func(w *Worker) {
			w.fault = func(o *dbmodel.StoredObservation) {
				if o.ID%10 == 7 {
					panic("the seventh")
				}
			}
		})
		e.receiver.answer = func(path string, _ int) (int, map[string]string) {
			if path != "/fine" {
				return 404, nil // also for what reports it
			}
			return 200, nil
		}
		e.notifyExceptions()
		e.product(1, "/gone")
		e.product(2, "/fine")
		var list []dbmodel.Observation
		for i := range int64(30) {
			list = append(list, observation(i+1, i%2+1, rule.High))
		}
		e.accept(list...)
		e.hurried(90 * time.Second)
		var names []string
		for _, n := range e.notifications() {
			if n.Type == rule.TypeTask {
				names = append(names, n.Name)
			}
		}
		c, err := dbmodel.Count(t.Context(), db)
		if err != nil || c.FailedEvents != 3 {
			t.Errorf("counts: %+v %v", c, err)
		}
		// One for the three that are set aside, one for the dead target; none for the dead target of these two.
		if len(names) != 2 {
			t.Errorf("notified: %q", names)
		}
	})
}

func TestDeadTargetIsReportedAgainAfterItsSuccess(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.receiver.answer = func(path string, try int) (int, map[string]string) {
			if path == "/a" && try != 3 {
				return 410, nil
			}
			return 200, nil
		}
		e.notifyExceptions()
		e.product(1, "/a")
		for i := range int64(5) { // refused, refused, taken, refused, refused
			e.accept(observation(i+1, 1, rule.High))
			e.idle(20 * time.Second)
		}
		if got := e.receiver.headlines("/x"); len(got) != 2 {
			t.Errorf("notified: %q", got)
		}
	})
}

func TestGivenUpTargetIsReported(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.receiver.answer = func(path string, _ int) (int, map[string]string) {
			if path == "/a" {
				return 503, nil
			}
			return 200, nil
		}
		e.notifyExceptions()
		e.product(1, "/a")
		e.accept(observation(1, 1, rule.High))
		testenv.Eventually(t, 10*time.Second, func() error {
			if e.receiver.tried("/a") == 0 {
				return fmt.Errorf("not tried")
			}
			return nil
		}, "the target is not tried")
		past := "now() - interval '25 hours'"
		if db.Reader != db.DB {
			past = "CAST(unixepoch('subsec') * 1000000 AS INTEGER) - 25 * 3600000000"
		}
		testenv.Eventually(t, 10*time.Second, func() error {
			res, err := db.ExecContext(t.Context(), "UPDATE targets SET failing_since = "+past+" WHERE failing_since IS NOT NULL")
			if err != nil {
				return err
			}
			if n, _ := res.RowsAffected(); n == 0 {
				return fmt.Errorf("it does not fail yet")
			}
			return nil
		}, "the target does not fail")
		e.idle(30 * time.Second)
		if failed := e.deliveries(dbmodel.Failed); len(failed) != 1 || !strings.Contains(failed[0].LastError, "Given up") {
			t.Errorf("failed: %+v", failed)
		}
		if got := e.receiver.headlines("/x"); len(got) != 1 || !strings.Contains(got[0], "Slack webhook of Product 1 fails: given up after 24 hours: 503") {
			t.Errorf("notified: %q", got)
		}
	})
}

func TestRedisAwayLosesNoException(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.PostgresDB(t), nil)
	e.notifyExceptions()
	e.redis.Kill()
	e.report(accept.NewTaskException(keyError()))
	e.redis.Start()
	e.idle(30 * time.Second)
	if n := e.notifications(); len(n) != 1 {
		t.Errorf("%d notifications", len(n))
	}
}
