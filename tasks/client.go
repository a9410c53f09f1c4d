package tasks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/rule"
)

// Client accepts events through Redis alone, for a web tier with another database and no wish for HTTP: an event is kept as
// long as Redis keeps it. It is safe for concurrent use.
type Client struct {
	redis  redis.UniversalClient
	client *asynq.Client
}

// NewClient returns a Client over a Redis client, which stays the caller's to close. It must be the Redis of Tocsin's workers.
func NewClient(client redis.UniversalClient) *Client {
	return &Client{redis: client, client: asynq.NewClientFromRedisClient(client)}
}

// wire is a Task on its way through Redis.
type wire struct {
	Kind         taskKind           `json:"kind"`
	Observations []Observation      `json:"observations,omitempty"`
	ID           int64              `json:"id,omitempty"`
	Passed       *bool              `json:"passed,omitempty"`
	Exception    *dbmodel.Exception `json:"exception,omitempty"`
	StatedAt     time.Time          `json:"stated_at"`
}

// Enqueue puts an event into Redis; it is kept once Enqueue has returned nil. Of states of the same thing the youngest counts,
// in whatever order workers come to them. One that is refused, because what it names does not exist, becomes a failed
// event.
func (c *Client) Enqueue(ctx context.Context, t *Task) error {
	if t == nil {
		return errNoTask
	}
	at, err := c.redis.Time(ctx).Result() // one clock for all clients
	if err != nil {
		return fmt.Errorf("enqueue an event: redis does not answer: %w", err)
	}
	payload, err := json.Marshal(wire{t.kind, t.observations, t.id, t.passed, t.exception, at.UTC()})
	if err != nil {
		return fmt.Errorf("enqueue an event: %w", err)
	}
	task := asynq.NewTask(queue.TypeEventAccept, payload,
		asynq.Queue(queue.Of(t.bulk())), asynq.MaxRetry(math.MaxInt32), asynq.Timeout(2*time.Minute))
	if _, err := c.client.EnqueueContext(ctx, task); err != nil {
		return fmt.Errorf("enqueue an event: %w", err)
	}
	_ = c.redis.Publish(ctx, queue.WakeChannel, queue.Events).Err() // workers look by themselves within a second
	return nil
}

// AcceptPayload stores the event in the payload of queue.TypeEventAccept. Once it has returned nil the payload is not needed any
// more: an event that is refused is kept as a failed event, with the reason.
func (a *Acceptor) AcceptPayload(ctx context.Context, payload []byte) error {
	var done Accepted
	queued := a.queue.Room(queue.Events)
	err := a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		done, err = acceptPayload(ctx, tx, payload, queued)
		return err
	})
	if reason, refused := refusal(err); refused {
		// As a text: not all that is JSON can be stored as such, \u0000 for one.
		text, _ := json.Marshal(dbmodel.Clean(string(payload), math.MaxInt)) // a text is always JSON
		err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			if _, err := dbmodel.InsertEvent(ctx, tx, dbmodel.NewEvent{Kind: dbmodel.KindRefused, Payload: dbmodel.EventPayload{Task: text}, Refused: reason}); err != nil {
				return err
			}
			own, err := NewOwnFailure("EventRefused", queue.TypeEventAccept, "an event that came through Redis was refused; see the failed events", reason)
			if err != nil {
				return err
			}
			return AcceptTx(ctx, tx, own)
		})
	}
	if err != nil {
		return fmt.Errorf("accept an event from Redis: %w", err)
	}
	if queued {
		a.queue.Enqueue(ctx, done.events)
	}
	return nil
}

// AcceptAgain accepts, within the transaction that removes it, an event that was refused before.
func AcceptAgain(ctx context.Context, tx bun.Tx, payload []byte) error {
	var text string
	if json.Unmarshal(payload, &text) == nil {
		payload = []byte(text)
	}
	_, err := acceptPayload(ctx, tx, payload, false)
	return err
}

func acceptPayload(ctx context.Context, tx bun.Tx, payload []byte, queued bool) (Accepted, error) {
	var w wire
	if err := json.Unmarshal(payload, &w); err != nil {
		return Accepted{}, InvalidError{{"task", "is not one that this version of Tocsin reads"}}
	}
	t := &Task{kind: w.Kind, exception: w.Exception}
	var err error
	switch w.Kind {
	case kindObservations:
		t, err = NewObservations(w.Observations)
	case kindEvaluation:
		t, err = NewEvaluation(w.ID)
	case kindSecurityGate:
		t, err = NewSecurityGate(w.ID, w.Passed)
	case kindException:
		err = checkException(w.Exception)
	default:
		err = InvalidError{{"task", fmt.Sprintf("is of the kind %.40q, which this version of Tocsin does not know", w.Kind)}}
	}
	if err != nil {
		return Accepted{}, err
	}
	return accept(ctx, tx, t, accepting{queued: queued, statedAt: &w.StatedAt})
}

// checkException looks at an exception that came through Redis as its constructor would have.
func checkException(x *dbmodel.Exception) error {
	if x == nil || x.Type != rule.TypeException && x.Type != rule.TypeTask {
		return InvalidError{{"exception", "is neither one in a request nor one in a background task"}}
	}
	if sum, err := hex.DecodeString(x.Fingerprint); err != nil || len(sum) != sha256.Size {
		return InvalidError{{"fingerprint", "is not one of Tocsin's"}}
	}
	return tidy(x)
}

// refusal returns why an event can never be accepted as it is; false: another try may do.
func refusal(err error) (string, bool) {
	var invalid InvalidError
	switch {
	case errors.As(err, &invalid):
		return invalid.Error(), true
	case errors.Is(err, dbmodel.ErrNotFound):
		return "what it names does not exist: " + err.Error(), true
	}
	return "", false
}
