package tasks

import (
	"context"
	"fmt"
	"math"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/queue"
)

// Client reports events through Redis alone, for a web tier that has another database than Tocsin and uses no HTTP.
// Until a worker accepts an event, Redis holds its only copy. A Client is safe for concurrent use.
type Client struct {
	redis  redis.UniversalClient
	client *asynq.Client
}

// NewClient returns a Client over a client of the Redis that Tocsin's workers use. The caller closes that client.
func NewClient(client redis.UniversalClient) *Client {
	return &Client{redis: client, client: asynq.NewClientFromRedisClient(client)}
}

// Enqueue puts an event into Redis; it is kept there once Enqueue has returned nil. Of several states of one
// observation or security gate the one that was reported last counts, in whatever order workers accept them; they log
// how many others they pass over. An event that is refused, because its product does not exist for instance, becomes a
// failed event.
func (c *Client) Enqueue(ctx context.Context, t *Task) error {
	if t == nil || t.event == nil {
		return errNoTask
	}
	at, err := c.redis.Time(ctx).Result() // one clock for all clients
	if err != nil {
		return fmt.Errorf("enqueue an event: redis does not answer: %w", err)
	}
	payload, err := t.event.Payload(at)
	if err != nil {
		return fmt.Errorf("enqueue an event: %w", err)
	}
	// Nothing but this task knows of the event: asynq retries it until a worker has accepted it.
	to := queue.Of(t.event.Bulk())
	task := asynq.NewTask(queue.TypeEventAccept, payload,
		asynq.Queue(to), asynq.MaxRetry(math.MaxInt32), asynq.Timeout(queue.TaskTime))
	if _, err := c.client.EnqueueContext(ctx, task); err != nil {
		return fmt.Errorf("enqueue an event: %w", err)
	}
	_ = c.redis.Publish(ctx, queue.WakeChannel, to).Err() // workers look by themselves within a second
	return nil
}
