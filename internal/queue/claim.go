package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Claim gives the event with the given id the right to notify the exception with this key, for ttl, unless another
// event holds it. It returns the holder; the error says that Redis does not answer.
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
		switch {
		case err == nil:
			return holder, nil
		case !errors.Is(err, redis.Nil): // else the claim has ended meanwhile
			return 0, fmt.Errorf("ask who holds the claim of an exception: %w", err)
		}
	}
}

// takeOver replaces a claim's holder, if it is still the one that the caller has seen.
var takeOver = redis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then
	return redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3]) and 1
end
return 0`)

// TakeOver moves a claim from an event that will not notify the exception any more to another event. It returns false
// where the first one does not hold the claim.
func (q *Queue) TakeOver(ctx context.Context, key string, from, to int64, ttl time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, EnqueueTime)
	defer cancel()
	n, err := takeOver.Run(ctx, q.redis, []string{claimKey(key)}, from, to, ttl.Milliseconds()).Int()
	if err != nil {
		return false, fmt.Errorf("take over the claim of an exception: %w", err)
	}
	return n == 1, nil
}

// Release ends the claim of an event that will not notify the exception, so that the next event may.
func (q *Queue) Release(ctx context.Context, key string, holder int64) error {
	_, err := q.TakeOver(ctx, key, holder, 0, time.Millisecond)
	return err
}

func claimKey(key string) string { return "tocsin:exception:" + key }
