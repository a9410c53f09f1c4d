package worker

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/queue"
)

const (
	// idleTime is how long an idle server waits for a wake-up before it looks into its queues by itself.
	idleTime = time.Second
	// deafTime is the same for a server that cannot hear wake-ups, because Redis refuses the subscription or is away.
	deafTime = 50 * time.Millisecond
	// listenAgain is how long a waker waits before it subscribes again where Redis refused the subscription.
	listenAgain = 5 * time.Second
	// silence is how long a waker hears nothing before it asks whether the connection still stands.
	silence = 3 * time.Second
	// faultTime is how long server and waker wait after Redis did not answer.
	faultTime = 200 * time.Millisecond
)

// waker keeps an idle asynq server from asking Redis hundreds of times a second: asynq polls, and has no other way. As
// a hook of the server's Redis client it delays the dequeue script once all queues were empty, until its own process
// enqueues something, a wake-up comes on queue.WakeChannel, or idleTime has gone by.
type waker struct {
	queues   []string
	wake     chan struct{} // holds one wake-up
	released chan struct{}
	once     sync.Once
	client   redis.UniversalClient
	sub      atomic.Pointer[redis.PubSub]
	hears    atomic.Bool // the subscription stands
	done     chan struct{}
	note     func(error) // called with each answer of Redis
	refused  func(error) // called where Redis refuses the subscription

	empty int // queues found empty in a row; only the server's one dequeue loop uses it
}

func newWaker(client redis.UniversalClient, queues []string, q *queue.Queue) *waker {
	k := &waker{
		queues: queues, wake: make(chan struct{}, 1), released: make(chan struct{}), done: make(chan struct{}),
		client: client, note: q.Note, refused: q.LogRefusedChannel,
	}
	q.OnEnqueue(queues, k.wakeUp)
	go k.listen()
	client.AddHook(k)
	return k
}

// listen hears wake-ups until the waker is released.
func (k *waker) listen() {
	defer close(k.done)
	for {
		sub := k.client.Subscribe(context.Background(), queue.WakeChannel)
		k.sub.Store(sub)
		pause := faultTime
		if !k.isReleased() { // else close may have missed sub, and hear would not end
			err := k.hear(sub)
			if redis.HasErrorPrefix(err, "NOPERM") {
				pause = listenAgain
				k.refused(err)
			}
		}
		k.hears.Store(false)
		_ = sub.Close()
		select {
		case <-k.released:
			return
		case <-time.After(pause):
		}
	}
}

// hear passes wake-ups on until the subscription fails, and returns why.
func (k *waker) hear(sub *redis.PubSub) error {
	ctx, asked := context.Background(), false
	for {
		message, err := sub.ReceiveTimeout(ctx, silence)
		var timeout net.Error
		switch {
		case err == nil:
			asked = false
		case errors.As(err, &timeout) && timeout.Timeout() && !asked:
			asked = true
			if err := sub.Ping(ctx); err != nil {
				return err
			}
			continue
		default:
			return err
		}
		switch message := message.(type) {
		case *redis.Subscription:
			k.hears.Store(true)
			k.wakeUp() // wake-ups before it were not heard
		case *redis.Message:
			if slices.Contains(k.queues, message.Payload) {
				k.wakeUp()
			}
		}
	}
}

func (k *waker) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *waker) isReleased() bool { return isClosed(k.released) }

// release lets the server's loop go on, so that it can end.
func (k *waker) release() { k.once.Do(func() { close(k.released) }) }

func (k *waker) close() {
	k.release()
	if sub := k.sub.Load(); sub != nil {
		_ = sub.Close() // ends hear
	}
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
			if k.hears.Load() {
				k.wait(idleTime)
			} else {
				k.wait(deafTime)
			}
		} else if k.empty == 0 {
			select { // this round finds the tasks that earlier wake-ups were about
			case <-k.wake:
			default:
			}
		}
		err := next(ctx, cmd)
		switch {
		case errors.Is(err, redis.Nil):
			k.note(nil)
			k.empty++
		case redis.HasErrorPrefix(err, "NOSCRIPT"): // asynq loads the script and asks again
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

// wait stops the server's loop for d, or until a wake-up comes or the waker is released.
func (k *waker) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-k.wake:
	case <-t.C:
	case <-k.released:
	}
}

// isDequeue reports whether cmd runs asynq's dequeue script: no other script of asynq has "asynq:{queue}:paused" as its
// second key.
func isDequeue(cmd redis.Cmder) bool {
	args := cmd.Args()
	if len(args) < 5 || (cmd.Name() != "evalsha" && cmd.Name() != "eval") {
		return false
	}
	key, ok := args[4].(string)
	return ok && strings.HasSuffix(key, ":paused")
}
