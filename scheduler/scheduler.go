// Package scheduler does what must happen without an event: it enqueues what the database knows and Redis forgot, and
// what comes by the clock: clean-up, digests, SecObserve, removals. Any number of schedulers may run; the database
// gives one of them the turn each second. The package evaluates nothing and sends nothing.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
)

const (
	// sweepInterval lies between two sweeps, over all schedulers.
	sweepInterval = time.Second
	// sweepTime bounds one sweep.
	sweepTime = 10 * time.Second
	// lostMargin tells lost tasks from those that wait: the task of an event counts as lost once it is older by this much
	// than the oldest one that waits in its queue.
	lostMargin = 5 * time.Second
	// backlog is how many tasks must wait in a queue before events are merged.
	backlog = 1_000
	// mergedAtOnce is how many events one sweep merges at most: a tenth of a second's work, in which they cannot be
	// claimed.
	mergedAtOnce = 10_000
	// mergedChunk is how many observations one merged event is about. An evaluation loads the titles of all, and each may
	// have up to 10,000 characters.
	mergedChunk = 1_000
	// atOnce is how many events, or runs of periodic tasks, one sweep enqueues at most, so that it ends within its second.
	atOnce = 2_000
	// failingAtOnce is how many failing targets one sweep pokes at most.
	failingAtOnce = 500
)

// Scheduler sweeps once a second, in turn with other schedulers, until Shutdown.
type Scheduler struct {
	db    *dbmodel.DB
	queue *queue.Queue
	log   zerolog.Logger
	// secObserveInterval is how often SecObserve is read; 0: never.
	secObserveInterval time.Duration
	cancel             context.CancelFunc
	running            sync.WaitGroup
	requeued           prometheus.Counter

	// What sweeps keep for the next one.
	faulty     bool      // the last sweep failed, and that was logged
	paused     []string  // queues, as of the last sweep
	lastTarget int64     // the id up to which this round of sweepTargets has come
	ticked     time.Time // when this scheduler had its last turn
}

// New returns a Scheduler that does nothing until Start.
func New(db *dbmodel.DB, queue *queue.Queue, log zerolog.Logger) *Scheduler {
	requeued := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tocsin_requeued_events_total", Help: "Events that were enqueued again because Redis had lost their task.",
	})
	return &Scheduler{db: db, queue: queue, log: log, cancel: func() {}, requeued: requeued}
}

// Metrics is what the Scheduler counts for Prometheus.
func (s *Scheduler) Metrics() prometheus.Collector { return s.requeued }

// ReadSecObserve makes the Scheduler ask for a pass over SecObserve in each interval; call it before Start.
func (s *Scheduler) ReadSecObserve(interval time.Duration) { s.secObserveInterval = interval }

// Start begins to sweep.
func (s *Scheduler) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.running.Go(func() {
		wait := sweepInterval / 4
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			worked, err := s.sweep(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case !worked && err == nil: // it was another's turn, or too early
			case err != nil && !s.faulty:
				s.faulty = true
				s.log.Error().Err(err).Msg("the sweep fails: it goes on trying")
			case err == nil && s.faulty:
				s.faulty = false
				s.log.Info().Msg("the sweep works again")
			}
			// Where another scheduler has the turn, this one asks more often than once in an interval: should the other one be
			// lost, a second must not become two.
			wait = sweepInterval / 4
			if worked {
				wait = time.Until(s.ticked.Add(sweepInterval))
			}
		}
	})
}

// Shutdown interrupts a sweep that is under way, and returns when it has ended.
func (s *Scheduler) Shutdown() {
	s.cancel()
	s.running.Wait()
}

// sweep does one sweep if it is this scheduler's turn; worked says whether it was.
func (s *Scheduler) sweep(ctx context.Context) (worked bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	if mine, err := s.takeTurn(ctx); err != nil || !mine {
		return false, err
	}
	s.ticked = time.Now()
	work, err := dbmodel.FindSweepWork(ctx, s.db.Reader)
	if err != nil {
		return true, fmt.Errorf("find what waits for a sweep: %w", err)
	}
	if !work.Deliveries {
		s.lastTarget = 0 // deliveries that come from now on wait for no rest of this round
	}
	for _, step := range []struct {
		due bool
		do  func(context.Context) error
	}{
		{true, s.watchQueues},
		{work.Events, s.sweepEvents},
		{work.Events, s.sweepImports},
		{work.Failing, s.forgetFailures},
		{work.Failing || work.Deliveries, s.sweepTargets},
		{true, s.sweepPeriodic},
		{work.Deletions, s.sweepDeletions},
	} {
		// A step that fails stops no other one: of a Redis cluster one part may answer while another does not.
		if step.due {
			err = errors.Join(err, step.do(ctx))
		}
	}
	return true, err
}

// takeTurn reports whether it is this scheduler's turn. Where the database's clock was set back, it mends due times
// first.
func (s *Scheduler) takeTurn(ctx context.Context) (mine bool, err error) {
	setBack, err := dbmodel.ClockSetBack(ctx, s.db, "sweep", sweepInterval)
	if err != nil {
		return false, err
	}
	if setBack == 0 {
		return dbmodel.Tick(ctx, s.db, "sweep", sweepInterval)
	}
	mine, err = dbmodel.MendDueTimes(ctx, s.db, "sweep", sweepInterval, setBack)
	if mine {
		s.log.Warn().Stringer("by", setBack).Msg("the clock of the database was set back: times that lay ahead were mended")
	}
	return mine, err
}

func (s *Scheduler) forgetFailures(ctx context.Context) error {
	if err := dbmodel.ForgetFailures(ctx, s.db); err != nil {
		return fmt.Errorf("forget failures: %w", err)
	}
	return nil
}

// watchQueues logs when an operator pauses or resumes a queue; that has nothing to do with the pauses of products.
func (s *Scheduler) watchQueues(ctx context.Context) error {
	paused, err := s.queue.Paused(ctx)
	if err != nil {
		s.queue.Note(err)
		return nil
	}
	if !slices.Equal(paused, s.paused) {
		s.log.Warn().Strs("paused", paused).Msg("queues were paused or resumed: no task of a paused queue is handled")
		s.paused = paused
	}
	return nil
}

func (s *Scheduler) sweepEvents(ctx context.Context) error  { return s.sweepQueue(ctx, false) }
func (s *Scheduler) sweepImports(ctx context.Context) error { return s.sweepQueue(ctx, true) }

// sweepQueue enqueues the events of imports, or the single ones, that have no task.
func (s *Scheduler) sweepQueue(ctx context.Context, bulk bool) error {
	waiting, latency, err := s.queue.Size(ctx, queue.Of(bulk))
	if err != nil {
		return nil //nolint:nilerr // without Redis nothing can be enqueued, which Queue logs
	}
	if waiting > backlog {
		if err := s.merge(ctx, bulk); err != nil {
			return err
		}
	}
	limit := min(queue.Window-waiting, atOnce)
	if limit <= 0 {
		return nil
	}
	var events []dbmodel.QueueableEvent
	err = s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		events, err = dbmodel.QueueableEvents(ctx, tx, bulk, latency+lostMargin, limit)
		return err
	})
	if err != nil {
		return fmt.Errorf("find events without a task: %w", err)
	}
	s.queue.Enqueue(ctx, events)
	for _, e := range events {
		if e.Lost {
			s.requeued.Inc()
		}
	}
	return nil
}

// merge makes few events of many, where events arrive faster than they can be evaluated one by one.
func (s *Scheduler) merge(ctx context.Context, bulk bool) error {
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := dbmodel.MergeEvents(ctx, tx, bulk, mergedAtOnce, mergedChunk)
		return err
	})
	if err != nil {
		return fmt.Errorf("merge events: %w", err)
	}
	return nil
}

// sweepTargets pokes targets for which deliveries wait: failing ones when they are due, the others in turn, so that
// each waits for one round at most.
func (s *Scheduler) sweepTargets(ctx context.Context) error {
	tasks, _, err := s.queue.Size(ctx, queue.BulkDrains)
	if err != nil {
		return nil //nolint:nilerr // see sweepQueue
	}
	if tasks >= queue.DrainWindow {
		return nil
	}
	failing, err := dbmodel.FailingTargetsDue(ctx, s.db, failingAtOnce)
	if err != nil {
		return fmt.Errorf("find failing targets that are due: %w", err)
	}
	waiting, next, err := dbmodel.WaitingTargets(ctx, s.db, s.lastTarget, queue.DrainWindow)
	if err != nil {
		return fmt.Errorf("find waiting targets: %w", err)
	}
	s.lastTarget = next
	s.queue.PokeBulk(ctx, append(waiting, failing...))
	return nil
}
