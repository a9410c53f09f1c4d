// Package worker handles tasks: it evaluates events and delivers to targets. The database says what must be done; a
// task only says that a worker should look. So every handler may run twice, late, or die halfway.
package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
)

// Config is what a Worker needs.
type Config struct {
	DB    *dbmodel.DB
	Vault *dbmodel.Vault
	Queue *queue.Queue
	// NewRedis opens a Redis client. The Worker adds hooks to it, and closes it.
	NewRedis func() redis.UniversalClient
	// Senders of the channels that can be used; email is missing where neither Mailgun nor SMTP is configured.
	Senders map[rule.Channel]channel.Sender
	// Rates are messages a second per target; 0 or missing: no pacing.
	Rates map[rule.Channel]float64
	// BaseURL is where Tocsin's own pages are, without a slash at the end.
	BaseURL     string
	Concurrency int // evaluations of single events at once, see Evaluations
	// SecObserve runs a pass over SecObserve and returns, in words, what it did; nil: there is no SecObserve.
	SecObserve func(ctx context.Context, run *dbmodel.PeriodicRun) (done string, err error)
	// ShutdownTimeout is how long Shutdown waits for tasks that are under way.
	ShutdownTimeout time.Duration
	// Registry is where the Worker registers its metrics; nil: nobody reads them.
	Registry *prometheus.Registry
	// Tracer begins spans; nil: nothing is traced.
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
	stopping chan struct{}      // closed when no new work may be begun
	ended    context.Context    // ends when nothing may go on any more
	end      context.CancelFunc // ends ended

	// evaluating is locked for reading by ordinary evaluations, and for writing by one whose event may kill its process.
	evaluating sync.RWMutex
	// lanes bound how many drains run, and turns how many of these use the database at once; leases renews the leases
	// of their targets.
	lanes  *lanes
	turns  *turns
	leases *leases
	// gathering delays the pokes of imports.
	gathering *gathering
	// unknownTypes are the types of tasks that this version does not know, and that were reported.
	unknownTypes sync.Map
	// inPlace is locked by the one exception that waits in place for an equal one.
	inPlace sync.Mutex
	// fault, where set, is called for each observation that is evaluated; tests make it panic.
	fault func(*dbmodel.StoredObservation)
}

// New returns a Worker that does nothing until Start.
func New(c Config) *Worker {
	registry := c.Registry
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	w := &Worker{
		Config: c, counted: newCounted(registry), stopping: make(chan struct{}),
		lanes: newLanes(usualLanes), leases: newLeases(c.DB), gathering: newGathering(c.Queue),
	}
	w.ended, w.end = context.WithCancel(context.Background())
	return w
}

// Evaluations is how many events a worker with this Concurrency evaluates at once: single ones and those of imports.
func Evaluations(concurrency int) int { return concurrency + imports(concurrency) }

// imports is how many events of imports are evaluated at once: each holds thousands of observations.
func imports(concurrency int) int { return max(concurrency/2, 1) }

// Start begins to take tasks; where Redis does not answer, as soon as it does. It is called once.
func (w *Worker) Start() error {
	// Reader is the pool that bounds the turns: on SQLite all writes wait for the one writer anyway.
	w.turns = newTurns(w.DB.Reader.Stats().MaxOpenConnections, Evaluations(w.Concurrency), w.lanes.laneLimits,
		w.Queue.SinglesCome)
	go w.leases.keep(w.ended)
	if err := w.serve(w.Concurrency, w.eventTasks(), queue.Events); err != nil {
		return err
	}
	if err := w.serve(imports(w.Concurrency), w.eventTasks(), queue.Bulk); err != nil {
		return err
	}
	drains := map[string]asynq.HandlerFunc{queue.TypeTargetDrain: w.targetDrain}
	if err := w.serve(w.lanes.most()+spareSlots, drains, queue.Drains, queue.BulkDrains); err != nil {
		return err
	}
	tasks := w.periodicTasks()
	tasks[queue.TypeDeletionRemove] = w.deletionRemove
	return w.serve(len(tasks), tasks, queue.Periodic)
}

// Shutdown stops taking tasks, waits up to ShutdownTimeout for those that are under way, and returns. Another worker
// repeats those that did not end.
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

// pauseUntil waits as pause does. It also ends, and returns true, when early is closed.
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
