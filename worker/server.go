package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
)

// spareSlots is how many tasks of drains a worker takes beyond those that may run: they find out that their lane and
// its queue are full.
const spareSlots = 32

// serve starts an asynq server that handles up to slots tasks of queues at once, those of the first queue before the
// others. It finds a handler by the whole name of a task's type. asynq's mux matches prefixes: it would give a task of
// another version, "event:accept-all" for instance, to the handler of "event:accept".
func (w *Worker) serve(slots int, handlers map[string]asynq.HandlerFunc, queues ...string) error {
	client := w.NewRedis()
	waker := newWaker(client, queues, w.Queue)
	priorities := make(map[string]int, len(queues))
	for i, q := range queues {
		priorities[q] = len(queues) - i
	}
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency:    slots,
		Queues:         priorities,
		StrictPriority: true,
		// The waker slows an idle server down, so this is only how soon a busy one looks again.
		TaskCheckInterval: 2 * time.Millisecond,
		ShutdownTimeout:   max(w.ShutdownTimeout-3*time.Second, time.Second),
		Logger:            asynqLog{w.Log.With().Str("component", "asynq").Logger(), w.Queue},
		LogLevel:          asynq.WarnLevel,
		// asynq retries only events that came through Redis alone: all else has a row, for which the sweep enqueues tasks.
		RetryDelayFunc: retryDelay,
		IsFailure: func(err error) bool {
			return !errors.Is(err, dbmodel.ErrUnavailable) && !errors.Is(err, errUnknownType)
		},
		ErrorHandler: asynq.ErrorHandlerFunc(func(_ context.Context, t *asynq.Task, err error) {
			if !errors.Is(err, errUnknownType) { // that is reported once
				w.Log.Error().Err(err).Str("task", t.Type()).Msg("task failed")
			}
		}),
	})
	w.clients, w.wakers = append(w.clients, client), append(w.wakers, waker)
	handle := func(ctx context.Context, t *asynq.Task) error {
		if handler, found := handlers[t.Type()]; found {
			return handler(ctx, t)
		}
		return w.unknown(ctx, t)
	}
	if err := server.Start(asynq.HandlerFunc(handle)); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	w.servers = append(w.servers, server)
	return nil
}

// longestRetryDelay is how long a task rests at the most before asynq tries it again.
const longestRetryDelay = 30 * time.Second

// retryDelay is how long a task rests after its n-th failure.
func retryDelay(n int, err error, _ *asynq.Task) time.Duration {
	if errors.Is(err, errUnknownType) {
		return longestRetryDelay
	}
	return min(time.Second<<min(n, 5), longestRetryDelay)
}

// errUnknownType: the task is for another version of Tocsin, or for another program. It costs no retry.
var errUnknownType = errors.New("this version of Tocsin does not know tasks of the type")

// unknown gives back a task whose type this worker does not know. asynq retries a task that may be retried until a
// worker knows its type, and archives any other; the sweep enqueues it again if it is one of ours. Each type is
// reported once.
func (w *Worker) unknown(ctx context.Context, t *asynq.Task) error {
	err := fmt.Errorf("%w %q", errUnknownType, t.Type())
	if _, reported := w.unknownTypes.LoadOrStore(t.Type(), true); reported {
		return err
	}
	from, _ := asynq.GetQueueName(ctx)
	message := "a task in the queue " + from + " has a type that this version of Tocsin does not know: is a worker of " +
		"another version, or another program, at work on the same Redis?"
	w.Log.Error().Str("task", t.Type()).Msg(message)
	report := func(ctx context.Context, tx bun.Tx) error {
		return w.reportOwn(ctx, tx, accept.ExceptionInfo{Class: "UnknownTask", Function: t.Type(), Message: message})
	}
	if errReport := w.DB.InTx(ctx, report); errReport != nil {
		w.unknownTypes.Delete(t.Type()) // the next task reports it
		return fmt.Errorf("%w: %w", err, errReport)
	}
	return err
}

// asynqLog writes asynq's messages to our log. Warnings become debug lines, because asynq copes with their causes by
// itself. Errors become debug lines while Redis is away, because Queue logs that once.
type asynqLog struct {
	log   zerolog.Logger
	queue *queue.Queue
}

func (l asynqLog) Debug(args ...any) { l.log.Debug().Msg(line(args)) }
func (l asynqLog) Info(args ...any)  { l.log.Debug().Msg(line(args)) }
func (l asynqLog) Warn(args ...any)  { l.log.Debug().Msg(line(args)) }

func (l asynqLog) Error(args ...any) {
	level, text := zerolog.ErrorLevel, line(args)
	// This is about asynq's channel for cancelling single tasks, which Tocsin does not use.
	if strings.Contains(text, "cancelation channel") || l.redisAway() {
		level = zerolog.DebugLevel
	}
	l.log.WithLevel(level).Msg(text)
}

// redisAway reports whether Redis does not answer, or did not a moment ago. asynq may be the first to notice.
func (l asynqLog) redisAway() bool {
	if l.queue.Away() {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := l.queue.Ping(ctx)
	if err != nil {
		l.queue.Note(err)
	}
	return err != nil
}

// Fatal logs an error. asynq's interface has it end the process, too; that is not for asynq to decide.
func (l asynqLog) Fatal(args ...any) { l.log.Error().Msg(line(args)) }

func line(args []any) string { return strings.TrimSpace(fmt.Sprint(args...)) }
