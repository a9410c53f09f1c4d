// Package worker handles tasks: it evaluates events and delivers to targets. What must be done stands in the database;
// a task only says that somebody should look. So every handler may run twice, late, or die halfway.
package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
)

// spareSlots is how many tasks of drains a worker takes beyond those that may run: they find out that their lane and
// its queue are full.
const spareSlots = 32

// Config is what a Worker needs.
type Config struct {
	DB    *dbmodel.DB
	Vault *dbmodel.Vault
	Queue *queue.Queue
	// NewRedis opens a Redis client that the Worker may put hooks on, and closes.
	NewRedis func() redis.UniversalClient
	// Senders of the channels that can be used; email is missing where neither Mailgun nor SMTP is configured.
	Senders map[rule.Channel]channel.Sender
	// Rates are messages a second per target; 0 or missing: no pacing.
	Rates map[rule.Channel]float64
	// BaseURL is where Tocsin's own pages are, without a slash at the end.
	BaseURL     string
	Concurrency int // evaluations at once
	// SecObserve runs a pass over SecObserve and returns what it did, in words; nil: there is none.
	SecObserve func(ctx context.Context, run *dbmodel.PeriodicRun) (done string, err error)
	// ShutdownTimeout is how long Shutdown waits for what is under way.
	ShutdownTimeout time.Duration
	// Registry has the metrics of the process; nil: nobody reads them.
	Registry *prometheus.Registry
	// Tracer makes the spans of what is traced; nil: nothing is.
	Tracer trace.Tracer
	Log    zerolog.Logger
}

// Worker handles tasks until Shutdown.
type Worker struct {
	Config
	servers  []*asynq.Server
	clients  []redis.UniversalClient
	wakers   []*waker
	counted  *counted
	stopping chan struct{} // closed when no new work may be begun
	ended    context.Context
	end      context.CancelFunc // nothing may go on any more

	// bulk has a place for each event of an import that is evaluated: half of all, because each holds thousands of
	// observations.
	bulk chan struct{}
	// alone is shared by ordinary evaluations; one whose event may kill its process has it for itself.
	alone sync.RWMutex
	// lanes bound the drains, turns those of them that use the database, and leases holds theirs.
	lanes  *lanes
	turns  *turns
	leases *leases
	// gathering holds the pokes of imports back.
	gathering *gathering
	// strangers are the types of tasks that this version does not know, and that were reported.
	strangers sync.Map
	// patience is held by the one exception that waits in place for an equal one.
	patience sync.Mutex
	// fault, where set, is called for each observation that is evaluated; tests make it panic.
	fault func(*dbmodel.StoredObservation)
}

// New returns a Worker that does nothing until Start.
func New(c Config) *Worker {
	w := &Worker{Config: c, stopping: make(chan struct{}), lanes: newLanes(usualLanes), leases: newLeases(c.DB)}
	w.bulk = make(chan struct{}, max(c.Concurrency/2, 1))
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	w.counted = newCounted(c.Registry)
	w.ended, w.end = context.WithCancel(context.Background())
	w.gathering = newGathering(c.Queue)
	return w
}

// Start begins to take tasks; where Redis does not answer, as soon as it does. It is called once.
func (w *Worker) Start() error {
	err := w.serve(w.Concurrency, w.eventTasks(), queue.Events, queue.Bulk)
	if err != nil {
		return err
	}
	w.turns = newTurns(w.DB.Reader.Stats().MaxOpenConnections, w.Concurrency, w.lanes.laneLimits)
	go w.leases.keep(w.ended)
	drains := map[string]asynq.HandlerFunc{queue.TypeTargetDrain: w.targetDrain}
	err = w.serve(w.lanes.most()+spareSlots, drains, queue.Drains, queue.BulkDrains)
	if err != nil {
		return err
	}
	tasks := w.periodicTasks()
	tasks[queue.TypeDeletionRemove] = w.deletionRemove
	return w.serve(len(tasks), tasks, queue.Periodic)
}

// serve starts an asynq server for queues, the first before the others. Handlers are found by the whole name of a
// type, while asynq's mux would take one that another version has made longer.
func (w *Worker) serve(slots int, handlers map[string]asynq.HandlerFunc, queues ...string) error {
	client := w.NewRedis()
	waker := newWaker(client, queues, w.Queue)
	priorities := make(map[string]int, len(queues))
	for i, q := range queues {
		priorities[q] = len(queues) - i
	}
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency:    slots,
		Queues:         priorities,
		StrictPriority: true,
		// The waker holds an idle server back, so this is only how soon a busy one looks again.
		TaskCheckInterval: 2 * time.Millisecond,
		ShutdownTimeout:   max(w.ShutdownTimeout-3*time.Second, time.Second),
		Logger:            asynqLog{w.Log.With().Str("component", "asynq").Logger(), w.Queue},
		LogLevel:          asynq.WarnLevel,
		// Only what came through Redis alone is retried by asynq: all else has a row that sees to it.
		RetryDelayFunc: retryDelay,
		IsFailure: func(err error) bool {
			return !errors.Is(err, dbmodel.ErrUnavailable) && !errors.Is(err, errUnknownType)
		},
		ErrorHandler: asynq.ErrorHandlerFunc(func(_ context.Context, t *asynq.Task, err error) {
			if !errors.Is(err, errUnknownType) { // that is reported once
				w.Log.Error().Err(err).Str("task", t.Type()).Msg("task failed")
			}
		}),
	})
	w.clients, w.wakers = append(w.clients, client), append(w.wakers, waker)
	handle := func(ctx context.Context, t *asynq.Task) error {
		if handler, found := handlers[t.Type()]; found {
			return handler(ctx, t)
		}
		return w.unknown(ctx, t)
	}
	if err := server.Start(asynq.HandlerFunc(handle)); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	w.servers = append(w.servers, server)
	return nil
}

// Shutdown stops taking tasks, waits up to ShutdownTimeout for those that are under way, and returns. Another worker
// repeats what did not end.
func (w *Worker) Shutdown() {
	close(w.stopping)
	late := time.AfterFunc(max(w.ShutdownTimeout-time.Second, time.Second), w.end)
	defer late.Stop()
	for _, k := range w.wakers {
		k.release()
	}
	var all sync.WaitGroup
	for _, s := range w.servers {
		all.Go(s.Shutdown)
	}
	all.Wait()
	w.gathering.end()
	w.end()
	for i := range w.clients {
		w.wakers[i].close()
		if err := w.clients[i].Close(); err != nil {
			w.Log.Warn().Err(err).Msg("close Redis")
		}
	}
}

// isStopping reports whether no new work may be begun.
func (w *Worker) isStopping() bool { return isClosed(w.stopping) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// pause waits for d; it returns false where the worker stops meanwhile.
func (w *Worker) pause(d time.Duration) bool { return w.pauseUntil(d, nil) }

// pauseUntil is pause that ends early where early is closed.
func (w *Worker) pauseUntil(d time.Duration, early <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-early:
		return true
	case <-t.C:
		return true
	case <-w.stopping:
		return false
	}
}

// refusals is how often the database may refuse to record something before that is given up.
const refusals = 5

// record repeats a statement that stores what happened until the database accepts it, so that an outage loses no known
// result. It logs the first failure only. It gives up, with the last error, when the process must end, and where the
// database answers and refuses the statement again and again: then a claim or lease runs out, and its event or target
// is tried again.
func (w *Worker) record(what string, statement func(ctx context.Context) error) error {
	refused, logged := 0, false
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		ctx, cancel := context.WithTimeout(w.ended, 10*time.Second)
		err := statement(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if !errors.Is(err, dbmodel.ErrUnavailable) {
			refused++
		}
		if refused == refusals || w.ended.Err() != nil {
			return fmt.Errorf("%s: not recorded: %w", what, err)
		}
		if !logged {
			w.Log.Error().Err(err).Msgf("%s: not recorded yet", what)
			logged = true
		}
		select {
		case <-w.ended.Done():
		case <-time.After(wait):
		}
	}
}

// longestRetryDelay is how long a task rests at the most before asynq tries it again.
const longestRetryDelay = 30 * time.Second

// retryDelay is how long a task rests after its n-th failure.
func retryDelay(n int, err error, _ *asynq.Task) time.Duration {
	if errors.Is(err, errUnknownType) {
		return longestRetryDelay
	}
	return min(time.Second<<min(n, 5), longestRetryDelay)
}

// errUnknownType: the task is for another version of Tocsin, or for somebody else's program. It costs no retry.
var errUnknownType = errors.New("this version of Tocsin does not know tasks of the type")

// unknown gives back a task whose type this worker does not know. asynq retries it until a worker knows it, as long as
// it has retries; the sweep enqueues it again if it is one of ours. Each type is reported once.
func (w *Worker) unknown(ctx context.Context, t *asynq.Task) error {
	err := fmt.Errorf("%w %q", errUnknownType, t.Type())
	if _, reported := w.strangers.LoadOrStore(t.Type(), true); reported {
		return err
	}
	queue, _ := asynq.GetQueueName(ctx)
	message := "a task in the queue " + queue + " has a type that this version of Tocsin does not know: is a worker of " +
		"another version, or another program, at work on the same Redis?"
	w.Log.Error().Str("task", t.Type()).Msg(message)
	report := func(ctx context.Context, tx bun.Tx) error {
		return w.reportOwn(ctx, tx, accept.ExceptionInfo{Class: "UnknownTask", Function: t.Type(), Message: message})
	}
	if errReport := w.DB.InTx(ctx, report); errReport != nil {
		w.strangers.Delete(t.Type()) // the next task reports it
		return fmt.Errorf("%w: %w", err, errReport)
	}
	return err
}

// asynqLog writes what asynq says to our log. What asynq warns of it copes with by itself, and what it cannot do while
// Redis is away is logged by Queue, once.
type asynqLog struct {
	log   zerolog.Logger
	queue *queue.Queue
}

func (l asynqLog) Debug(args ...any) { l.log.Debug().Msg(line(args)) }
func (l asynqLog) Info(args ...any)  { l.log.Debug().Msg(line(args)) }
func (l asynqLog) Warn(args ...any)  { l.log.Debug().Msg(line(args)) }

func (l asynqLog) Error(args ...any) {
	level := zerolog.ErrorLevel
	// asynq's channel cancels single tasks, which nobody does here.
	if text := line(args); strings.Contains(text, "cancelation channel") || l.redisAway() {
		level = zerolog.DebugLevel
	}
	l.log.WithLevel(level).Msg(line(args))
}

// redisAway reports whether Redis does not answer, or did not a moment ago. asynq may be the first who notices.
func (l asynqLog) redisAway() bool {
	if l.queue.Away() {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := l.queue.Ping(ctx)
	if err != nil {
		l.queue.Note(err)
	}
	return err != nil
}

// Fatal is what asynq calls before it would end the process; ending is not its business.
func (l asynqLog) Fatal(args ...any) { l.log.Error().Msg(line(args)) }

func line(args []any) string { return strings.TrimSpace(fmt.Sprint(args...)) }
