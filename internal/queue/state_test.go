package queue_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/internal/queue"
)

// TestNoteIgnoresCallersThatGiveUp: a role that shuts down, or a browser that leaves, says nothing about Redis.
func TestNoteIgnoresCallersThatGiveUp(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // never called
	t.Cleanup(func() { _ = client.Close() })
	var log strings.Builder
	q := queue.New(client, zerolog.New(&log))
	q.Note(errors.Join(context.Canceled))
	if q.Away() || log.Len() > 0 {
		t.Errorf("away %v, log %q", q.Away(), log.String())
	}
	q.Note(errors.New("EOF"))
	if !q.Away() {
		t.Error("a fault of Redis is not noted")
	}
}
