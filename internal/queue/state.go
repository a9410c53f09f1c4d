package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// restTime is how long nobody asks a Redis that did not answer.
	restTime = time.Second
	// calmTime is how long Redis must answer until the log says that it does so again: while only a part of a cluster is
	// away, its other parts answer.
	calmTime = 3 * time.Second
)

var errResting = errors.New("redis did not answer a moment ago")

// Paused lists the queues that somebody has paused, in /monitor/ for instance: no task of theirs is handled.
func (q *Queue) Paused(ctx context.Context) ([]string, error) {
	list, err := q.paused(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for paused queues: %w", err)
	}
	return list, nil
}

// Ping reports whether Redis answers, for each queue.
func (q *Queue) Ping(ctx context.Context) error {
	_, err := q.paused(ctx)
	return err
}

// paused asks for each queue: in a cluster they lie on different servers, which need not all answer.
func (q *Queue) paused(ctx context.Context) ([]string, error) {
	paused := make([]*redis.IntCmd, len(All))
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, queue := range All {
			paused[i] = p.Exists(ctx, PausedKey(queue))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := []string{}
	for i, queue := range All {
		if paused[i].Val() > 0 {
			list = append(list, queue)
		}
	}
	return list, nil
}

// resting reports whether Redis did not answer a moment ago, by the monotonic clock: another clock may be set back.
func (q *Queue) resting() bool {
	until := q.restUntil.Load()
	return until != nil && time.Now().Before(*until)
}

// Note records the outcome of a call of Redis; nil: it answered. The log says once that it does not, and once that it
// does again. For restTime after a fault nobody asks Redis. That the caller gave up says nothing about Redis.
func (q *Queue) Note(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
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
	case q.away && now.Sub(q.lastFault) > calmTime:
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
