package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/tasks"
)

func TestOvertakenGateIsPassedOver(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/a")
		base := time.Now().UTC().Add(-time.Hour)
		say := func(passed bool, at time.Duration) {
			t.Helper()
			p := fmt.Sprintf(`{"kind":"security_gate","id":1,"passed":%v,"reported_at":%q}`, passed, base.Add(at).Format(time.RFC3339Nano))
			if _, err := e.acceptor.AcceptPayload(t.Context(), []byte(p)); err != nil {
				t.Fatal(err)
			}
		}
		say(true, 0)
		say(true, 2*time.Second) // the youngest, which changes nothing
		say(false, time.Second)  // overtaken
		p, err := dbmodel.ProductByID(t.Context(), db, 1)
		if err != nil || p.SecurityGatePassed == nil || !*p.SecurityGatePassed {
			t.Errorf("the older state won: %v %v", p.SecurityGatePassed, err)
		}
	})
}

// TestPoisonIsKept puts into Redis what no version of Tocsin has written, and arguments that databases choke on.
func TestPoisonIsKept(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		poison := map[string]string{
			"binary": "\x00\x01", "NUL in JSON": `{"kind":"a\u0000"}`, "number": `{"kind":"x","id":1,"y":1e200000}`,
			"surrogate": `{"kind":"\ud800"}`, "no UTF-8": "\xff", "deep": strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		}
		for name, p := range poison {
			if _, err := e.acceptor.AcceptPayload(t.Context(), []byte(p)); err != nil {
				t.Errorf("%s: %.200v", name, err)
			}
		}
		for name, value := range map[string]any{"large": json.Number("1e200000"), "small": json.Number("1e-200000")} {
			e.report(accept.NewTaskException(accept.TaskExceptionInfo{
				ExceptionInfo: accept.ExceptionInfo{Class: name}, Arguments: map[string]any{"n": value},
			}))
		}
		e.idle(20 * time.Second)
		c, err := dbmodel.Count(t.Context(), db)
		if err != nil || c.FailedEvents != len(poison) {
			t.Errorf("counts: %+v %v", c, err)
		}
	})
}

// TestTaskOfAnotherEvent: a task says where to look, never what an event is. One that was made for another event, of before the
// database was restored to an earlier state, evaluates nothing.
func TestTaskOfAnotherEvent(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		w := New(Config{DB: db, Log: zerolog.Nop()})
		id, err := dbmodel.InsertEvent(t.Context(), db, dbmodel.NewEvent{
			Kind: dbmodel.KindException, Payload: dbmodel.EventPayload{Exception: &dbmodel.Exception{Type: rule.TypeException, Class: "KeyError"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := json.Marshal(queue.EventTask{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []dbmodel.EventKind{dbmodel.KindObservation, dbmodel.KindRefused} {
			if err := w.eventTasks()[queue.TypeOf(kind)](t.Context(), asynq.NewTask(queue.TypeOf(kind), payload)); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if _, err := dbmodel.ClaimEvent(t.Context(), db, dbmodel.KindException, id, false); err != nil {
			t.Errorf("the exception does not wait any more: %v", err)
		}
	})
}

func TestRefusedEventIsNotStoredInPart(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	e := newEnv(t, db, nil)
	e.product(1, "")
	client := e.newRedis()
	defer client.Close()
	outbox, err := tasks.NewOutbox(t.Context(), db.DB.DB, client)
	if err != nil {
		t.Fatal(err)
	}
	var list []tasks.Observation
	for i := range int64(1500) {
		list = append(list, reported(i+1, 1, rule.High))
	}
	list[1499].ProductID = 99 // of the second chunk
	task, err := tasks.NewObservations(list)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.DB.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := outbox.EnqueueTx(t.Context(), tx, task); err == nil {
		t.Error("an unknown product is accepted")
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := dbmodel.ObservationByID(t.Context(), db, 1); err == nil {
		t.Error("a refused event is kept in part")
	}
}

func TestWakeWithFrozenRedis(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	e := newEnv(t, db, nil)
	client := testenv.RedisClient(t, e.redis.URL()) // with the defaults, which do not heed the end of a context
	outbox, err := tasks.NewOutbox(t.Context(), db.DB.DB, client)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	e.redis.Pause()
	defer e.redis.Resume()
	task, err := tasks.NewException(tasks.ExceptionInfo{Class: "KeyError"})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.DB.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := outbox.EnqueueTx(t.Context(), tx, task); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	outbox.Wake(t.Context())
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Wake took %s", took)
	}
}

// brokenError is an error that itself panics when it is nil.
type brokenError struct{ text *string }

func (e *brokenError) Error() string { return *e.text }

func TestRecovererOfStrangeHandlers(t *testing.T) {
	t.Parallel()
	reports := 0
	report := func(context.Context, *tasks.Task) error { reports++; return nil }
	s := httptest.NewServer(tasks.Recoverer(report)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/nil" {
			var e *brokenError
			panic(e)
		}
		if _, ok := w.(http.Hijacker); !ok {
			t.Error("no Hijacker")
		}
	})))
	defer s.Close()
	for path, want := range map[string]int{"/nil": 500, "/hijack": 200} {
		response, err := s.Client().Get(s.URL + path) //nolint:noctx // on this machine
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s answered %d", path, response.StatusCode)
		}
	}
	if reports != 1 {
		t.Errorf("reported %d times", reports)
	}
}

// TestEmptiedRedisIsMeasured has Redis forget its queues: those who filled them before must still see how full they are.
func TestEmptiedRedisIsMeasured(t *testing.T) {
	t.Parallel()
	client := testenv.RedisClient(t, testenv.Redis(t).URL())
	q := queue.New(client, zerolog.Nop())
	q.Enqueue(t.Context(), []dbmodel.QueueableEvent{{ID: 1, Kind: dbmodel.KindObservation}})
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for i := range int64(20) {
		q.Enqueue(t.Context(), []dbmodel.QueueableEvent{{ID: i, Kind: dbmodel.KindObservation}})
	}
	if n, _, err := q.Size(t.Context(), queue.Events); err != nil || n != 20 {
		t.Errorf("%d tasks wait, want 20 (%v)", n, err)
	}
}

// TestImportThroughRedisNeedsRoomInItsQueue: a part of an import that came through Redis gets a task where there is
// room for those of imports, and a single event where there is room for single ones.
func TestImportThroughRedisNeedsRoomInItsQueue(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.scheduler.Shutdown()
		client, inspector := e.byHand()
		e.product(1, "/single")
		if _, _, err := e.queue.Size(t.Context(), queue.Bulk); err != nil { // which lists the queue
			t.Fatal(err)
		}
		if err := inspector.PauseQueue(queue.Bulk); err != nil {
			t.Fatal(err)
		}
		waiting := make([]any, queue.Window)
		for i := range waiting {
			waiting[i] = fmt.Sprint("task", i)
		}
		if err := client.LPush(t.Context(), "asynq:{"+queue.Bulk+"}:pending", waiting...).Err(); err != nil {
			t.Fatal(err)
		}
		if n, _, err := e.queue.Size(t.Context(), queue.Bulk); n != queue.Window || err != nil {
			t.Fatalf("%d tasks of imports wait, %v", n, err)
		}
		reported := func(list ...dbmodel.Observation) {
			t.Helper()
			event, err := accept.NewObservations(list)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := event.Payload(time.Now())
			if err == nil {
				_, err = e.acceptor.AcceptPayload(t.Context(), payload)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		reported(observation(1, 1, rule.High), observation(2, 1, rule.High))
		reported(observation(3, 1, rule.High))
		e.waitFor("the single event", func() bool { return len(e.receiver.headlines("/single")) == 1 })
		var enqueued []bool
		if err := db.NewRaw("SELECT queued_at IS NOT NULL FROM outbox").Scan(t.Context(), &enqueued); err != nil {
			t.Fatal(err)
		}
		if len(enqueued) != 1 || enqueued[0] {
			t.Errorf("parts of an import that wait, with a task: %v", enqueued)
		}
	})
}

// TestNobodyElseReportsForTocsin: what came through Redis is not taken for a failure of Tocsin itself, whose failures
// to be delivered nobody reports, and which may never be suppressed.
func TestNobodyElseReportsForTocsin(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		for range 2 {
			event, err := accept.NewTaskException(keyError())
			if err != nil {
				t.Fatal(err)
			}
			payload, err := event.Payload(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			forged := strings.Replace(string(payload), `"fingerprint":`, `"own":true,"never_suppressed":true,"fingerprint":`, 1)
			if forged == string(payload) {
				t.Fatalf("no fingerprint in %s", payload)
			}
			if _, err := e.acceptor.AcceptPayload(t.Context(), []byte(forged)); err != nil {
				t.Fatal(err)
			}
			e.idle(20 * time.Second)
		}
		list := e.notifications()
		if len(list) != 1 || list[0].Own {
			t.Errorf("notified: %+v", list)
		}
	})
}
