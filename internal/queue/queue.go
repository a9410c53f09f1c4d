// Package queue is the way to the workers through Redis: asynq queues and the payloads of their tasks, wake-ups, pokes
// of targets, and claims of exceptions. A poke is a task that makes a worker look for pending deliveries of a target, a
// drain is what that worker does. The package also knows whether single events come at the moment, to which imports
// give way. It accepts, evaluates and sends nothing.
package queue

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/seed91453169/tocsin/dbmodel"
)

// EnqueueTime bounds how long Redis may hold a caller whose event is stored already. For many tasks there is a
// millisecond more for each.
const EnqueueTime = 500 * time.Millisecond

// WakeChannel is where workers hear that there is something in a queue; the message is the name of the queue.
const WakeChannel = "tocsin:wake"

// Queue is the way into Redis. Its tasks only say that there is something to do; the database holds what that is, and
// the sweep finds there what Redis has lost. So the methods that enqueue or poke log faults and return no error. A
// method returns an error where its caller can go on in another way.
type Queue struct {
	redis  redis.UniversalClient
	client *asynq.Client
	log    zerolog.Logger

	restUntil  atomic.Pointer[time.Time] // nil: Redis has always answered
	refused    sync.Once                 // of LogRefusedChannel
	lastSingle atomic.Pointer[time.Time] // see noteSingle; nil: none came

	mu           sync.Mutex          // guards the fields below
	listeners    map[string][]func() // by queue: see OnEnqueue
	sizes        map[string]*knownSize
	unknownKinds map[dbmodel.EventKind]bool // kinds that this version does not know, and that were logged
	away         bool                       // Redis does not answer, and that was logged
	lastFault    time.Time                  // of Redis
}

// New returns a Queue over a Redis client. The caller closes the client.
func New(client redis.UniversalClient, log zerolog.Logger) *Queue {
	return &Queue{
		redis: client, client: asynq.NewClientFromRedisClient(client), log: log,
		listeners: map[string][]func(){}, sizes: map[string]*knownSize{}, unknownKinds: map[dbmodel.EventKind]bool{},
	}
}

// Of returns the queue for the evaluation of single events, or for that of imports.
func Of(bulk bool) string {
	if bulk {
		return Bulk
	}
	return Events
}

// Enqueue enqueues tasks for events. It takes at most EnqueueTime for each of the queues Events and Bulk, and a
// millisecond for each task.
func (q *Queue) Enqueue(ctx context.Context, events []dbmodel.QueueableEvent) {
	var single, bulk []*asynq.Task
	q.mu.Lock()
	for _, e := range events {
		switch {
		case !slices.Contains(dbmodel.EventKinds, e.Kind):
			q.passOver(e)
			continue
		case e.Bulk:
			bulk = append(bulk, evaluation(e))
		default:
			single = append(single, evaluation(e))
		}
		q.knownSizeOf(Of(e.Bulk)).tasks++
	}
	q.mu.Unlock()
	if len(single) > 0 {
		q.noteSingle()
	}
	q.enqueue(ctx, single, Events)
	q.enqueue(ctx, bulk, Bulk)
}

// passOver logs, once for each kind, an event that another version of Tocsin has stored; the caller holds the mutex.
func (q *Queue) passOver(e dbmodel.QueueableEvent) {
	if !q.unknownKinds[e.Kind] {
		q.log.Error().Int64("event", e.ID).Msgf("an event is of the kind %q, which this version of Tocsin does not know: "+
			"it and its like wait for one that does", e.Kind)
		q.unknownKinds[e.Kind] = true
	}
}

// enqueue adds tasks to a queue, several at a time because asynq has no call for many, and wakes the servers that take
// from it.
func (q *Queue) enqueue(ctx context.Context, tasks []*asynq.Task, queue string) {
	if len(tasks) == 0 || q.resting() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), EnqueueTime+time.Duration(len(tasks))*time.Millisecond)
	defer cancel()
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, t := range tasks {
		g.Go(func() error {
			_, err := q.client.EnqueueContext(groupCtx, t)
			return err
		})
	}
	err := g.Wait()
	if err == nil {
		q.wakeHere(queue)
		err = q.wake(ctx, queue)
	}
	q.Note(err)
}

// OnEnqueue makes q call f each time it has put tasks into one of the given queues: a server in the same process need
// not wait until Redis wakes it. f must not block.
func (q *Queue) OnEnqueue(queues []string, f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, name := range queues {
		q.listeners[name] = append(q.listeners[name], f)
	}
}

// wakeHere calls the listeners of a queue.
func (q *Queue) wakeHere(queue string) {
	q.mu.Lock()
	listeners := q.listeners[queue]
	q.mu.Unlock()
	for _, f := range listeners {
		f()
	}
}

// wake wakes the servers that take from a queue. A Redis that refuses only this is not away: workers that hear nothing
// look by themselves.
func (q *Queue) wake(ctx context.Context, queue string) error {
	err := q.redis.Publish(ctx, WakeChannel, queue).Err()
	if !redis.HasErrorPrefix(err, "NOPERM") {
		return err
	}
	q.LogRefusedChannel(err)
	return nil
}

// LogRefusedChannel logs, once, that Redis does not let its user use WakeChannel.
func (q *Queue) LogRefusedChannel(err error) {
	q.refused.Do(func() {
		q.log.Warn().Err(err).Msg("Redis refuses the channel " + WakeChannel +
			": workers ask for tasks all the time instead; grant it to the user of REDIS_URL with ACL SETUSER <user> &" +
			WakeChannel)
	})
}
