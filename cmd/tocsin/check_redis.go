package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/internal/queue"
)

func (k *checker) redis(ctx context.Context, c *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	if c.Redis == nil {
		k.say("Redis", "none is configured: \"tocsin serve\" has its own", nil)
		return
	}
	client := newRedis(c.Redis)
	defer client.Close()
	q := queue.New(client, zerolog.Nop())
	// A Redis that refuses this command to the user does answer: redisRights names all that it refuses.
	if err := q.Ping(ctx); err != nil && !redis.HasErrorPrefix(err, "NOPERM") {
		k.say("Redis", "", redisFault(err))
		return
	}
	wrong, err := q.WrongPolicy(ctx)
	if wrong != "" {
		k.say("Redis", "", errors.New(queue.PolicyFault(wrong)))
		return
	}
	words := "answers"
	if err != nil {
		words += "; it does not report its maxmemory-policy, which must be " + queue.NoEviction
	}
	k.say("Redis", words, nil)
	if err := redisRights(ctx, client); err != nil {
		k.say("Rights in Redis", "", err)
	} else {
		k.say("Rights in Redis", "all that is used: commands, scripts and channels", nil)
	}
	paused, err := q.Paused(ctx)
	if err != nil {
		k.say("Queues", "", err)
	}
	for _, name := range paused {
		k.say("Queue "+name, "", fmt.Errorf("it is paused, and its tasks wait: resume it in /monitor/, "+
			"with TOCSIN_MONITOR_WRITE=true, or with: redis-cli del '%s'", queue.PausedKey(name)))
	}
}

// redisFault says in words why Redis cannot be used: a Redis that refuses is not one that does not answer.
func redisFault(err error) error {
	var answer redis.Error
	switch {
	case !errors.As(err, &answer):
		return fmt.Errorf("does not answer: check REDIS_URL, and that it runs: %w", err)
	case strings.Contains(answer.Error(), "WRONGPASS"), strings.Contains(answer.Error(), "NOAUTH"):
		return fmt.Errorf("answers and refuses the login: check user and password in REDIS_URL: %w", err)
	}
	return fmt.Errorf("answers with an error: %w", err)
}
