package worker

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/tasks"
)

// What somebody, or asynq itself, does to the queues in Redis.

// byHand is a client of the test's own and what asynq gives administrators.
func (e *env) byHand() (redis.UniversalClient, *asynq.Inspector) {
	client := e.newRedis()
	e.t.Cleanup(func() { client.Close() })
	return client, asynq.NewInspectorFromRedisClient(client)
}

// in waits until a queue holds so many tasks of a state.
func in(t *testing.T, inspector *asynq.Inspector, queue, state string, want int) {
	t.Helper()
	testenv.Eventually(t, 30*time.Second, func() error {
		info, err := inspector.GetQueueInfo(queue)
		if err != nil {
			return err
		}
		got := map[string]int{"pending": info.Pending, "active": info.Active, "retry": info.Retry, "archived": info.Archived}[state]
		if got != want {
			return fmt.Errorf("%d, want %d", got, want)
		}
		return nil
	}, queue+" "+state)
}

// loseLeases makes it look as if nobody had prolonged the leases of a queue's tasks for two minutes, and starts a second
// worker, which looks for such when it starts.
func (e *env) loseLeases(client redis.UniversalClient, queue string) {
	e.t.Helper()
	key := "asynq:{" + queue + "}:lease"
	for _, id := range client.ZRange(e.t.Context(), key, 0, -1).Val() {
		if err := client.ZAdd(e.t.Context(), key, redis.Z{Score: float64(time.Now().Add(-2 * time.Minute).Unix()), Member: id}).Err(); err != nil {
			e.t.Fatal(err)
		}
	}
	second := New(e.worker.Config)
	if err := second.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(second.Shutdown)
}

func TestLeaseIsLostWhileAnEventIsEvaluated(t *testing.T) {
	t.Parallel()
	working, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e := newEnv(t, testenv.PostgresDB(t), func(w *Worker) {
		w.fault = func(*dbmodel.StoredObservation) {
			once.Do(func() { close(working); <-goOn })
		}
	})
	client, inspector := e.byHand()
	proceed := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(proceed)
	e.product(1, "/a")
	e.accept(observation(1, 1, rule.High))
	<-working
	e.loseLeases(client, queue.Events)
	in(t, inspector, queue.Events, "archived", 1)
	e.queue.Enqueue(t.Context(), []dbmodel.QueueableEvent{{ID: 1, Kind: dbmodel.KindObservation}})
	in(t, inspector, queue.Events, "active", 1) // a second handler
	proceed()
	e.idle(30 * time.Second)
	if diff := cmp.Diff([]string{"High: CVE-1 in Product 1"}, e.receiver.headlines("/a")); diff != "" {
		t.Errorf("notified (-want +got):\n%s", diff)
	}
}

func TestLeaseIsLostDuringADelivery(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.PostgresDB(t), nil)
	client, inspector := e.byHand()
	telling, goOn := make(chan struct{}), make(chan struct{})
	proceed := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(proceed)
	e.receiver.answer = func(_ string, try int) (int, map[string]string) {
		if try == 1 {
			close(telling)
			<-goOn
		}
		return 200, nil
	}
	e.product(1, "/a")
	e.accept(observation(1, 1, rule.High))
	<-telling
	e.loseLeases(client, queue.Drains)
	in(t, inspector, queue.Drains, "archived", 1)
	e.accept(observation(2, 1, rule.High)) // which pokes the target again
	testenv.Eventually(t, 30*time.Second, func() error {
		var again bool
		err := e.db.NewRaw("SELECT again FROM targets").Scan(t.Context(), &again)
		if err == nil && !again {
			err = errors.New("nobody else has looked")
		}
		return err
	}, "a second handler")
	proceed()
	e.idle(30 * time.Second)
	if diff := cmp.Diff([]string{"High: CVE-1 in Product 1", "High: CVE-2 in Product 1"}, e.receiver.headlines("/a")); diff != "" {
		t.Errorf("notified (-want +got):\n%s", diff)
	}
}

// TestLeaseIsLostWhileAnEventIsAccepted has asynq give an event that came through Redis to a second handler, while the first
// one waits for the database.
func TestLeaseIsLostWhileAnEventIsAccepted(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	e := newEnv(t, db, nil)
	client, inspector := e.byHand()
	e.product(1, "/a")
	lock, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback() //nolint:errcheck // it is over by then
	if _, err := lock.ExecContext(t.Context(), "LOCK TABLE products IN EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	passed := false
	task, err := tasks.NewSecurityGate(1, &passed)
	if err != nil {
		t.Fatal(err)
	}
	if err := tasks.NewClient(client).Enqueue(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	in(t, inspector, queue.Events, "active", 1)
	e.loseLeases(client, queue.Events)
	in(t, inspector, queue.Events, "retry", 1)
	in(t, inspector, queue.Events, "active", 1)
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	in(t, inspector, queue.Events, "active", 0)
	in(t, inspector, queue.Events, "retry", 0)
	e.idle(30 * time.Second)
	if diff := cmp.Diff([]string{"Security gate failed: Product 1"}, e.receiver.headlines("/a")); diff != "" {
		t.Errorf("notified (-want +got):\n%s", diff)
	}
}

// firstPending waits for a task in one of several queues, and returns the queue.
func firstPending(t *testing.T, inspector *asynq.Inspector, queues []string) (found string) {
	t.Helper()
	testenv.Eventually(t, 30*time.Second, func() error {
		for _, queue := range queues {
			if info, err := inspector.GetQueueInfo(queue); err == nil && info.Pending == 1 {
				found = queue
				return nil
			}
		}
		return errors.New("no task")
	}, fmt.Sprintf("%s: one pending task", queues))
	return found
}

// TestTasksAreTakenAwayByHand pauses all queues, does to them what one can do in /monitor/, and resumes them.
func TestTasksAreTakenAwayByHand(t *testing.T) {
	t.Parallel()
	archive := func(i *asynq.Inspector, queue string) (err error) {
		_, err = i.ArchiveAllPendingTasks(queue)
		return err
	}
	for name, act := range map[string]func(*asynq.Inspector, string) error{
		"archived": archive,
		"archived, and deleted there": func(i *asynq.Inspector, queue string) error {
			if err := archive(i, queue); err != nil {
				return err
			}
			_, err := i.DeleteAllArchivedTasks(queue)
			return err
		},
		"archived, and run again": func(i *asynq.Inspector, queue string) error {
			if err := archive(i, queue); err != nil {
				return err
			}
			_, err := i.RunAllArchivedTasks(queue)
			return err
		},
		"deleted": func(i *asynq.Inspector, queue string) (err error) {
			_, err = i.DeleteAllPendingTasks(queue)
			return err
		},
		"the queue is deleted": func(i *asynq.Inspector, queue string) error { return i.DeleteQueue(queue, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, testenv.PostgresDB(t), nil)
			_, inspector := e.byHand()
			e.settings(func(s *dbmodel.Settings) { s.DigestThreshold = 0 })
			e.product(1, "/a")
			for _, queue := range queue.All {
				if err := inspector.PauseQueue(queue); err != nil {
					t.Fatal(err)
				}
			}
			e.accept(observation(1, 1, rule.High), observation(2, 1, rule.High)) // an import
			e.accept(observation(3, 1, rule.High))
			for _, from := range [][]string{{queue.Events}, {queue.Bulk}, {queue.Drains, queue.BulkDrains}} {
				if err := act(inspector, firstPending(t, inspector, from)); err != nil {
					t.Fatalf("%s: %v", from, err)
				}
				for _, queue := range from {
					if err := inspector.UnpauseQueue(queue); err != nil {
						t.Fatal(err)
					}
				}
			}
			e.idle(30 * time.Second)
			got := e.receiver.headlines("/a")
			slices.Sort(got)
			want := []string{"High: CVE-1 in Product 1", "High: CVE-2 in Product 1", "High: CVE-3 in Product 1"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("notified (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRetriesAreUsedUp has the evaluation of an event fail three times: asynq archives the task each time.
func TestRetriesAreUsedUp(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	e := newEnv(t, testenv.PostgresDB(t), func(w *Worker) {
		w.fault = func(*dbmodel.StoredObservation) {
			if tries.Add(1) <= 3 {
				panic("not yet")
			}
		}
	})
	_, inspector := e.byHand()
	e.product(1, "/a")
	e.accept(observation(1, 1, rule.High))
	e.hurried(60 * time.Second)
	in(t, inspector, queue.Events, "archived", 3)
	if diff := cmp.Diff([]string{"High: CVE-1 in Product 1"}, e.receiver.headlines("/a")); diff != "" {
		t.Errorf("notified (-want +got):\n%s", diff)
	}
}

// TestPausedQueueIsNotFilledTwice also shows that what waits long is not taken for lost.
func TestPausedQueueIsNotFilledTwice(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.PostgresDB(t), nil)
	_, inspector := e.byHand()
	e.settings(func(s *dbmodel.Settings) { s.DigestThreshold = 0 })
	e.product(1, "/a")
	if err := inspector.PauseQueue(queue.Events); err != nil {
		t.Fatal(err)
	}
	const n = 20
	for i := range int64(n) {
		e.accept(observation(i+1, 1, rule.High))
	}
	if diff := cmp.Diff([]string{queue.Events}, e.paused()); diff != "" {
		t.Errorf("paused (-want +got):\n%s", diff)
	}
	begun := time.Now()
	testenv.Eventually(t, time.Minute, func() error { // the sweep takes tasks for lost after 5 seconds
		if info, err := inspector.GetQueueInfo(queue.Events); err != nil || info.Pending != n {
			t.Fatalf("%d tasks wait, want %d (%v)", info.Pending, n, err)
		}
		if waited := time.Since(begun); waited < 8*time.Second {
			return fmt.Errorf("waited %s", waited)
		}
		return nil
	}, "the pause")
	if err := inspector.UnpauseQueue(queue.Events); err != nil {
		t.Fatal(err)
	}
	e.idle(30 * time.Second)
	if got := len(e.receiver.headlines("/a")); got != n || len(e.paused()) > 0 {
		t.Errorf("notified %d times, want %d; paused: %v", got, n, e.paused())
	}
}

func (e *env) paused() []string {
	e.t.Helper()
	list, err := e.queue.Paused(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return list
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// with counts the lines that hold a text.
func (l *lines) with(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// logged has a worker write its log to l, from warnings on.
func logged(l *lines) func(*Worker) {
	return func(w *Worker) { w.Log = zerolog.New(l).Level(zerolog.WarnLevel) }
}

// TestUnknownTasks puts into our queues what other versions of Tocsin, or other programs, may have left there.
func TestUnknownTasks(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		log := new(lines)
		e := newEnv(t, db, logged(log))
		client, inspector := e.byHand()
		strangers := asynq.NewClientFromRedisClient(client)
		const each = 200
		types := map[string]asynq.Option{ // one has the name of one of ours, and more
			queue.TypeOf(dbmodel.KindObservation) + "_all": asynq.MaxRetry(0), queue.TypeEventAccept + "2": asynq.MaxRetry(math.MaxInt32), "email:send": asynq.MaxRetry(1),
		}
		for name, retry := range types {
			for range each {
				if _, err := strangers.EnqueueContext(t.Context(), asynq.NewTask(name, []byte("{}"), asynq.Queue(queue.Events), retry)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range each { // and events that another version has stored
			if _, err := dbmodel.InsertEvent(t.Context(), db, dbmodel.NewEvent{Kind: "survey"}); err != nil {
				t.Fatal(err)
			}
		}
		e.product(1, "/a")
		for i := range int64(5) {
			e.accept(observation(i+1, 1, rule.High))
		}
		in(t, inspector, queue.Events, "archived", each) // what asynq does not try again
		in(t, inspector, queue.Events, "retry", 2*each)  // what it does
		testenv.Eventually(t, 30*time.Second, func() error {
			c, err := dbmodel.Count(t.Context(), db)
			if err == nil && (c.Outbox != each || c.FailedEvents+c.PendingDeliveries+c.FailedDeliveries > 0) {
				err = fmt.Errorf("%+v", c)
			}
			return err
		}, "our own events are not evaluated")
		got := map[string]int{}
		for _, n := range e.notifications() {
			if n.Type == rule.TypeTask {
				got[n.Name+" "+n.Function]++
			} else {
				got[n.Name]++
			}
		}
		want := map[string]int{"CVE-1": 1, "CVE-2": 1, "CVE-3": 1, "CVE-4": 1, "CVE-5": 1}
		for name := range types {
			want["UnknownTask "+name] = 1
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("notifications (-want +got):\n%s", diff)
		}
		if n := log.with("does not know"); n != len(types) {
			t.Errorf("%d lines in the log, want %d:\n%s", n, len(types), log.b.String())
		}
	})
}

func TestRedisAwayIsLoggedOnce(t *testing.T) {
	t.Parallel()
	log := new(lines)
	server := testenv.Redis(t)
	o, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	connect := func() redis.UniversalClient { return redis.NewClient(o) }
	client := connect()
	defer client.Close()
	w := New(Config{
		DB: testenv.PostgresDB(t), Queue: queue.New(client, zerolog.New(log)), NewRedis: connect, Concurrency: 4,
		ShutdownTimeout: 5 * time.Second, Log: zerolog.New(log).Level(zerolog.InfoLevel),
	})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Shutdown()
	server.Kill()
	killed := time.Now()
	testenv.Eventually(t, time.Minute, func() error { // asynq sends its signs of life, and looks for others', every 5 seconds
		if log.with("Redis does not answer") == 0 || time.Since(killed) < 12*time.Second {
			return errors.New("it does")
		}
		return nil
	}, "not logged")
	server.Start()
	testenv.Eventually(t, time.Minute, func() error {
		if log.with("Redis answers again") == 0 {
			return errors.New("it does not")
		}
		return nil
	}, "not logged")
	if away, back, all := log.with("does not answer"), log.with("answers again"), log.with(""); away != 1 || back != 1 || all != 2 {
		t.Errorf("logged %d times that it is away, %d times that it is back, %d lines:\n%s", away, back, all, log.b.String())
	}
}

// TestBacklogIsEvaluatedTogether has more single events wait than a sweep merges, and one of them bad.
func TestBacklogIsEvaluatedTogether(t *testing.T) {
	t.Parallel()
	const n, bad = 1_500, 700
	e := newEnv(t, testenv.PostgresDB(t), func(w *Worker) {
		w.fault = func(o *dbmodel.StoredObservation) {
			if o.ID == bad {
				panic("it never works")
			}
		}
	})
	_, inspector := e.byHand()
	e.product(1, "/a")
	if err := inspector.PauseQueue(queue.Events); err != nil {
		t.Fatal(err)
	}
	for i := range int64(n) {
		e.accept(observation(i+1, 1, rule.High))
	}
	testenv.Eventually(t, 30*time.Second, func() error {
		c, err := dbmodel.Count(t.Context(), e.db)
		if err == nil && c.Outbox > 120 { // the last ones are not worth it
			err = fmt.Errorf("%d events", c.Outbox)
		}
		return err
	}, "they are not merged")
	if err := inspector.UnpauseQueue(queue.Events); err != nil {
		t.Fatal(err)
	}
	e.idle(2 * time.Minute)
	notified := map[string]int{}
	for _, m := range e.notifications() {
		notified[m.Name]++
	}
	if len(notified) != n || notified[fmt.Sprint("CVE-", bad)] > 0 || notified["Panic"] != 1 {
		t.Errorf("%d different notifications; the bad one %d times, its failure %d times", len(notified), notified[fmt.Sprint("CVE-", bad)], notified["Panic"])
	}
	for name, times := range notified {
		if times != 1 {
			t.Errorf("%s is notified %d times", name, times)
		}
	}
}
