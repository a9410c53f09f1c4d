package queue

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

// NoEviction is the maxmemory-policy that Redis must have: with any other one it drops tasks when it is full.
const NoEviction = "noeviction"

// WrongPolicy returns the maxmemory-policy of a Redis server that has another one than NoEviction; empty: there is no
// such server. The error says that Redis does not report its policy.
func (q *Queue) WrongPolicy(ctx context.Context) (string, error) {
	var mu sync.Mutex
	var wrong string
	ask := func(ctx context.Context, client *redis.Client) error {
		answer, err := client.ConfigGet(ctx, "maxmemory-policy").Result()
		if p, found := answer["maxmemory-policy"]; found && p != NoEviction {
			mu.Lock()
			defer mu.Unlock()
			wrong = p
		}
		return err
	}
	var err error
	switch client := q.redis.(type) {
	case *redis.ClusterClient:
		err = client.ForEachShard(ctx, ask) // a replica may be a master tomorrow
	case *redis.Client:
		err = ask(ctx, client)
	}
	if err != nil && wrong == "" {
		return "", fmt.Errorf("ask Redis for its maxmemory-policy: %w", err)
	}
	return wrong, nil
}

// PolicyFault says what is wrong with a maxmemory-policy, and what to do.
func PolicyFault(policy string) string {
	return fmt.Sprintf("maxmemory-policy is %s: set it to %s, or Redis drops tasks when it is full", policy, NoEviction)
}
