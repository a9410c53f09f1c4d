package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/internal/queue"
)

const (
	// scratchQueue is a queue of asynq that only check uses.
	scratchQueue = "tocsin-check"
	// scratchKey stands for an exception in claims of check.
	scratchKey = "tocsin-check"
	// taskTime is how long a task of check may take.
	taskTime = 3 * time.Second
)

// refusals is a hook of a Redis client that collects what Redis refuses to its user, by command.
type refusals struct {
	mu   sync.Mutex
	list []string
}

// note collects err under the name of what was tried.
func (r *refusals) note(what string, err error) {
	if err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "ACL failure in script") {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := what + " (" + err.Error() + ")"; !slices.Contains(r.list, text) {
		r.list = append(r.list, text)
	}
}

func (r *refusals) noteCommand(cmd redis.Cmder, err error) {
	what := cmd.Name()
	if args := cmd.Args(); len(args) > 1 && !strings.HasPrefix(what, "eval") { // of eval it is the script
		what = fmt.Sprint(what, " ", args[1])
	}
	r.note(what, err)
}

// DialHook implements redis.Hook.
func (r *refusals) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (r *refusals) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		r.noteCommand(cmd, err)
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (r *refusals) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			r.noteCommand(cmd, cmd.Err())
		}
		return err
	}
}

// redisRights tries what the roles do with Redis: a task on a queue of its own, claims, pokes and both channels. The
// error names all that Redis refuses.
func redisRights(ctx context.Context, client redis.UniversalClient) error {
	r := new(refusals)
	client.AddHook(r)
	q := queue.New(client, zerolog.Nop())
	_, errClaim := q.Claim(ctx, scratchKey, 1, time.Second)
	_, errTake := q.TakeOver(ctx, scratchKey, 1, 2, time.Second)
	_, _, errSize := q.Size(ctx, scratchQueue)
	err := errors.Join(errClaim, errTake, errSize, q.Ping(ctx),
		q.HoldPokes(ctx, 0, time.Second), q.Unpoke(ctx, 0), // no target has this id
		client.Publish(ctx, queue.WakeChannel, scratchQueue).Err())
	for _, name := range []string{queue.WakeChannel, "asynq:cancel"} {
		sub := client.Subscribe(ctx, name)
		_, errSubscribe := sub.Receive(ctx)
		r.note("subscribe "+name, errSubscribe)
		_ = sub.Close()
	}
	err = errors.Join(err, runTask(ctx, client))
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) > 0 {
		return fmt.Errorf("the user of REDIS_URL lacks: %s. "+
			"Grant it with ACL SETUSER: ~asynq:* ~tocsin:* &%s &asynq:cancel +@all are enough",
			strings.Join(r.list, "; "), queue.WakeChannel)
	}
	return err
}

// runTask has an asynq server do one task.
func runTask(ctx context.Context, client redis.UniversalClient) error {
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency: 1, Queues: map[string]int{scratchQueue: 1}, TaskCheckInterval: 20 * time.Millisecond,
		ShutdownTimeout: time.Second, LogLevel: asynq.FatalLevel,
	})
	done := make(chan struct{})
	finish := sync.OnceFunc(func() { close(done) })
	handle := func(context.Context, *asynq.Task) error { finish(); return nil }
	if err := server.Start(asynq.HandlerFunc(handle)); err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	task := asynq.NewTask("check", nil, asynq.Queue(scratchQueue), asynq.MaxRetry(0), asynq.Timeout(taskTime))
	_, err := asynq.NewClientFromRedisClient(client).EnqueueContext(ctx, task)
	if err == nil {
		select {
		case <-done:
		case <-time.After(taskTime):
			err = errors.New("a task is not done: no worker gets it")
		}
	}
	server.Shutdown()
	inspector := asynq.NewInspectorFromRedisClient(client)
	if e := inspector.DeleteQueue(scratchQueue, true); e != nil && err == nil {
		err = fmt.Errorf("delete the queue of this check: %w", e)
	}
	counter := "asynq:{" + scratchQueue + "}:processed" // which asynq keeps
	if e := client.Del(ctx, counter, counter+":"+time.Now().UTC().Format(time.DateOnly)).Err(); e != nil && err == nil {
		err = fmt.Errorf("delete the counters of this check: %w", e)
	}
	return err
}
