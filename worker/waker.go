package worker

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/queue"
)

const (
	// idleTime is how long an idle server waits for a wake-up before it looks into its queues by itself.
	idleTime = time.Second
	// faultTime is how long it waits after Redis did not answer.
	faultTime = 200 * time.Millisecond
)

// waker keeps an idle asynq server from asking Redis hundreds of times a second: asynq polls, and has no way to be told. As
// a hook of the server's Redis client it holds the dequeue script back once all queues were empty, until somebody
// publishes on queue.WakeChannel or idleTime has gone by.
type waker struct {
	queues   []string
	wake     chan struct{} // holds one wake-up
	released chan struct{}
	once     sync.Once
	sub      *redis.PubSub
	done     chan struct{}
	note     func(error) // told how Redis answers

	empty int // queues found empty in a row; only the server's one dequeue loop touches it
}

func newWaker(client redis.UniversalClient, queues []string, note func(error)) *waker {
	k := &waker{queues: queues, wake: make(chan struct{}, 1), released: make(chan struct{}), done: make(chan struct{}), note: note}
	k.sub = client.Subscribe(context.Background(), queue.WakeChannel)
	messages := k.sub.Channel()
	go func() {
		defer close(k.done)
		for m := range messages {
			if slices.Contains(queues, m.Payload) {
				select {
				case k.wake <- struct{}{}:
				default:
				}
			}
		}
	}()
	client.AddHook(k)
	return k
}

// release lets the server's loop go on, so that it can end.
func (k *waker) release() { k.once.Do(func() { close(k.released) }) }

func (k *waker) close() {
	k.release()
	_ = k.sub.Close()
	<-k.done
}

// DialHook implements redis.Hook.
func (k *waker) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessPipelineHook implements redis.Hook.
func (k *waker) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements redis.Hook.
func (k *waker) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !isDequeue(cmd) {
			return next(ctx, cmd)
		}
		if k.empty >= len(k.queues) {
			k.empty = 0
			k.wait(idleTime)
		} else if k.empty == 0 {
			select { // what was added before this round is found by it
			case <-k.wake:
			default:
			}
		}
		err := next(ctx, cmd)
		switch {
		case errors.Is(err, redis.Nil):
			k.note(nil)
			k.empty++
		case redis.HasErrorPrefix(err, "NOSCRIPT"): // asynq tells the script and asks again
		case err != nil: // asynq would ask again at once
			k.note(err)
			k.empty = 0
			k.wait(faultTime)
		default:
			k.note(nil)
			k.empty = 0
		}
		return err
	}
}

// wait holds the server's loop back for d, or until there is something to do, or it shall end.
func (k *waker) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-k.wake:
	case <-t.C:
	case <-k.released:
	}
}

// isDequeue knows asynq's dequeue script by its second key, the only one of its scripts where that is "asynq:{queue}:paused".
func isDequeue(cmd redis.Cmder) bool {
	args := cmd.Args()
	if len(args) < 5 || (cmd.Name() != "evalsha" && cmd.Name() != "eval") {
		return false
	}
	key, ok := args[4].(string)
	return ok && strings.HasSuffix(key, ":paused")
}
