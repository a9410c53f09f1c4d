// Package queue is the way to the workers through Redis: asynq queues and the payloads of their tasks, wake-ups, pokes
// of targets, and claims of exceptions. It accepts, evaluates and sends nothing.
package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/seed91453169/tocsin/dbmodel"
)

const (
	// Window is how many tasks of one queue lie in Redis at the most; beyond it events wait in the database, and the sweep
	// feeds them. A Redis that is full refuses to give tasks out, too.
	Window = 10_000
	// DrainWindow is the same for drains.
	DrainWindow = 1_000
	// pokeTime bounds how long a poke that got lost keeps others away.
	pokeTime = 5 * time.Second
	// EnqueueTime bounds how long Redis may hold a caller whose event is stored already.
	EnqueueTime = 500 * time.Millisecond
	// restTime is how long nobody asks a Redis that did not answer.
	restTime = time.Second
)

// calm is how long Redis must answer until the log says that it does so again: while only a part of a cluster is away,
// others answer all the time.
const calm = 3 * time.Second

// WakeChannel is where workers hear that there is something in a queue; the message is the queue's name.
const WakeChannel = "tocsin:wake"

// Queue is the way into Redis. Redis says when something is done, never what: all that is lost here is found again in
// the database by the sweep. So no method returns an error to somebody who can't mend it; faults are logged.
type Queue struct {
	redis  redis.UniversalClient
	client *asynq.Client
	log    zerolog.Logger

	restUntil atomic.Pointer[time.Time] // nil: Redis has always answered
	refused   sync.Once                 // see Refused
	mu        sync.Mutex
	sizes     map[string]*size
	strange   map[dbmodel.EventKind]bool // kinds that this version does not know, and that were logged
	away      bool                       // Redis does not answer, and that was logged
	lastFault time.Time                  // of Redis
}

// New returns a Queue over a Redis client, which stays the caller's to close.
func New(client redis.UniversalClient, log zerolog.Logger) *Queue {
	return &Queue{
		redis: client, client: asynq.NewClientFromRedisClient(client), log: log,
		sizes: map[string]*size{}, strange: map[dbmodel.EventKind]bool{},
	}
}

// Of is the queue of the evaluation of single events, or of those of imports.
func Of(bulk bool) string {
	if bulk {
		return Bulk
	}
	return Events
}

// errResting: Redis did not answer a moment ago.
var errResting = errors.New("redis did not answer a moment ago")

// Enqueue enqueues tasks for events. It takes half a second at the most.
func (q *Queue) Enqueue(ctx context.Context, events []dbmodel.QueueableEvent) {
	tasks := make([]*asynq.Task, 0, len(events))
	q.mu.Lock()
	for _, e := range events {
		if !slices.Contains(dbmodel.EventKinds, e.Kind) {
			q.passOver(e)
			continue
		}
		tasks = append(tasks, evaluation(e))
		q.size(Of(e.Bulk)).tasks++
	}
	q.mu.Unlock()
	q.enqueue(ctx, tasks, Events)
}

// passOver logs, once for each kind, an event that another version of Tocsin has stored; the caller holds the mutex.
func (q *Queue) passOver(e dbmodel.QueueableEvent) {
	if !q.strange[e.Kind] {
		q.log.Error().Int64("event", e.ID).Msgf("an event is of the kind %q, which this version of Tocsin does not know: "+
			"it and its like wait for one that does", e.Kind)
		q.strange[e.Kind] = true
	}
}

// Poke asks the workers to send the pending deliveries of targets. It is called after the commit that stored them. A
// target that was poked a moment ago, and whose task has not looked into the database since, needs no second task.
func (q *Queue) Poke(ctx context.Context, targets []int64) {
	q.poke(ctx, targets, Drains)
}

// PokeBulk is Poke for what an import has stored, and for what the sweep found: it never keeps a single event waiting.
func (q *Queue) PokeBulk(ctx context.Context, targets []int64) {
	q.poke(ctx, targets, BulkDrains)
}

func (q *Queue) poke(ctx context.Context, targets []int64, queue string) {
	if len(targets) == 0 || q.resting() || !q.Room(queue) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), EnqueueTime)
	defer cancel()
	q.enqueue(ctx, drains(q.reserve(ctx, targets, queue, pokeTime), queue), queue)
}

// reserve keeps other pokes of targets away for d, and returns those that nobody has poked.
func (q *Queue) reserve(ctx context.Context, targets []int64, queue string, d time.Duration) (reserved []int64) {
	set := make([]*redis.BoolCmd, len(targets))
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range targets {
			set[i] = p.SetNX(ctx, pokeKey(queue, id), 1, d)
		}
		return nil
	})
	if err != nil {
		q.Note(err)
		return nil
	}
	for i, id := range targets {
		if set[i].Val() {
			reserved = append(reserved, id)
		}
	}
	return reserved
}

func drains(targets []int64, queue string) []*asynq.Task {
	tasks := make([]*asynq.Task, len(targets))
	for i, id := range targets {
		tasks[i] = newTask(TypeTargetDrain, DrainTask{TargetID: id}, asynq.Queue(queue))
	}
	return tasks
}

// ReserveBulk announces PokeReserved, which follows within d, for the targets that it returns: nobody else pokes them
// as PokeBulk does until then. The others have been poked, and nothing has been looked for since.
func (q *Queue) ReserveBulk(ctx context.Context, targets []int64, d time.Duration) (reserved []int64) {
	if len(targets) == 0 || q.resting() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), EnqueueTime)
	defer cancel()
	return q.reserve(ctx, targets, BulkDrains, d)
}

// PokeReserved is PokeBulk for targets that ReserveBulk returned.
func (q *Queue) PokeReserved(ctx context.Context, targets []int64) {
	if len(targets) == 0 || q.resting() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), EnqueueTime)
	defer cancel()
	room := q.Room(BulkDrains)
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range targets {
			if room {
				p.Set(ctx, pokeKey(BulkDrains, id), 1, pokeTime)
			} else {
				p.Del(ctx, pokeKey(BulkDrains, id)) // the sweep comes to it
			}
		}
		return nil
	})
	if err != nil {
		q.Note(err)
		return
	}
	if room {
		q.enqueue(ctx, drains(targets, BulkDrains), BulkDrains)
	}
}

// Unpoke lets the next Poke of a target through; a drain calls it before it looks into the database.
func (q *Queue) Unpoke(ctx context.Context, target int64) error {
	ctx, cancel := context.WithTimeout(ctx, EnqueueTime)
	defer cancel()
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, pokeKey(Drains, target))
		p.Del(ctx, pokeKey(BulkDrains, target))
		return nil
	})
	return err
}

// HoldPokes keeps pokes of a target away for d. Only a caller that looks into the database after that, and calls
// Unpoke before, may do so; should that process be lost, the sweep looks.
func (q *Queue) HoldPokes(ctx context.Context, target int64, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, EnqueueTime)
	defer cancel()
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, pokeKey(Drains, target), 1, d)
		p.Set(ctx, pokeKey(BulkDrains, target), 1, d)
		return nil
	})
	return err
}

// pokeKey differs by queue: a task that waits behind those of an import keeps no poke of a single event away.
func pokeKey(queue string, target int64) string {
	return "tocsin:poke:" + queue + ":" + strconv.FormatInt(target, 10)
}

// Claim makes the event with the given id the one that notifies what key stands for, for the time of ttl, unless
// another has claimed it before; it returns whose the claim is now. The error says that Redis does not answer.
func (q *Queue) Claim(ctx context.Context, key string, id int64, ttl time.Duration) (holder int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, EnqueueTime)
	defer cancel()
	key = claimKey(key)
	for {
		mine, err := q.redis.SetNX(ctx, key, id, ttl).Result()
		if err != nil {
			return 0, fmt.Errorf("claim an exception: %w", err)
		}
		if mine {
			return id, nil
		}
		holder, err := q.redis.Get(ctx, key).Int64()
		if !errors.Is(err, redis.Nil) { // else it ended this moment
			return holder, err
		}
	}
}

// takeOver replaces a claim's holder, if it is still the one that the caller has seen.
var takeOver = redis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then
	return redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3]) and 1
end
return 0`)

// TakeOver moves a claim from an event that will not notify it any more to another one. It returns false where the
// claim is not that event's.
func (q *Queue) TakeOver(ctx context.Context, key string, from, to int64, ttl time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, EnqueueTime)
	defer cancel()
	n, err := takeOver.Run(ctx, q.redis, []string{claimKey(key)}, from, to, ttl.Milliseconds()).Int()
	if err != nil {
		return false, fmt.Errorf("take over the claim of an exception: %w", err)
	}
	return n == 1, nil
}

func claimKey(key string) string { return "tocsin:exception:" + key }

// enqueue adds tasks, several at a time because asynq has no call for many, and wakes the workers of a queue.
func (q *Queue) enqueue(ctx context.Context, tasks []*asynq.Task, wake string) {
	if len(tasks) == 0 || q.resting() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), EnqueueTime+time.Duration(len(tasks))*time.Millisecond)
	defer cancel()
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, t := range tasks {
		g.Go(func() error {
			_, err := q.client.EnqueueContext(all, t)
			return err
		})
	}
	err := g.Wait()
	if err == nil {
		err = q.wake(ctx, wake)
	}
	q.Note(err)
}

// wake wakes the workers of a queue. A Redis that refuses only this is not away: workers that hear nothing look by
// themselves.
func (q *Queue) wake(ctx context.Context, queue string) error {
	err := q.redis.Publish(ctx, WakeChannel, queue).Err()
	if !redis.HasErrorPrefix(err, "NOPERM") {
		return err
	}
	q.Refused(err)
	return nil
}

// Refused logs, once, that Redis refuses the user the channel on which workers are woken.
func (q *Queue) Refused(err error) {
	q.refused.Do(func() {
		q.log.Warn().Err(err).Msg("Redis refuses the channel " + WakeChannel +
			": workers ask for tasks all the time instead; grant it to the user of REDIS_URL with ACL SETUSER <user> &" +
			WakeChannel)
	})
}

// Paused lists the queues that somebody has paused, in /monitor/ for instance: no task of theirs is handled. It asks
// for each queue: in a cluster they lie on different servers, which need not all answer.
func (q *Queue) Paused(ctx context.Context) ([]string, error) {
	paused := make([]*redis.IntCmd, len(All))
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, queue := range All {
			paused[i] = p.Exists(ctx, PausedKey(queue))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for paused queues: %w", err)
	}
	list := []string{}
	for i, queue := range All {
		if paused[i].Val() > 0 {
			list = append(list, queue)
		}
	}
	return list, nil
}

// PausedKey is what asynq keeps in Redis as long as a queue is paused.
func PausedKey(queue string) string { return "asynq:{" + queue + "}:paused" }

// Ping reports whether Redis answers, for each queue.
func (q *Queue) Ping(ctx context.Context) error {
	_, err := q.Paused(ctx)
	return err
}

// resting compares times that know the monotonic clock: one that is set back must not make a second an hour.
func (q *Queue) resting() bool {
	until := q.restUntil.Load()
	return until != nil && time.Now().Before(*until)
}

// Note says how Redis answered; nil: well. The log says once that it does not, and once that it does again. After a
// fault nobody asks for a moment.
func (q *Queue) Note(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	switch {
	case err != nil:
		q.lastFault = now
		until := now.Add(restTime)
		q.restUntil.Store(&until)
		if !q.away {
			q.log.Warn().Err(err).Msg("Redis does not answer: events are stored, and evaluated when it is back")
		}
		q.away = true
	case q.away && now.Sub(q.lastFault) > calm:
		q.away = false
		q.log.Info().Msg("Redis answers again")
	}
}

// Away reports whether Redis did not answer lately.
func (q *Queue) Away() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.away
}
