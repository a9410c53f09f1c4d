// Package embedded is the in-process Redis of serve and demo. It stores nothing on disk: everything in Redis
// is restored from the database.
package embedded

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// tick is how often the server's clock is moved on: by itself the server lets no TTL run out.
const tick = 100 * time.Millisecond

// Redis is a running server without a port: only this process reaches it. Others must not: miniredis believes any
// length that a command gives for an argument, so that any client can end the process.
type Redis struct {
	server  *miniredis.Miniredis
	stop    chan struct{}
	ticking sync.WaitGroup
}

// Start starts a server.
func Start() *Redis {
	r := &Redis{server: miniredis.NewMiniRedis(), stop: make(chan struct{})}
	r.ticking.Go(func() {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		last := time.Now()
		for {
			select {
			case <-r.stop:
				return
			case now := <-ticker.C:
				r.server.FastForward(now.Sub(last))
				last = now
			}
		}
	})
	return r
}

// Options returns options by which a client connects to the server.
func (r *Redis) Options() *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs: []string{"in-process"},
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			select {
			case <-r.stop: // else Dial would start the server again
				return nil, net.ErrClosed
			default:
			}
			conn, err := r.server.Dial()
			if err != nil {
				return nil, err
			}
			return newBuffered(conn), nil
		},
	}
}

// Close ends the server.
func (r *Redis) Close() {
	close(r.stop)
	r.ticking.Wait()
	r.server.Close()
}

// buffered is the client's end of a net.Pipe that takes whatever is written and sends it by itself. The server answers
// the first of many commands before it reads the last one: without a buffer, client and server would each wait for the
// other to read.
type buffered struct {
	net.Conn
	mu      sync.Mutex
	written []byte        // and not sent yet
	err     error         // of sending
	more    chan struct{} // holds one sign that there is something to send
	closed  chan struct{}
	close   func()
}

func newBuffered(conn net.Conn) *buffered {
	c := &buffered{Conn: conn, more: make(chan struct{}, 1), closed: make(chan struct{})}
	c.close = sync.OnceFunc(func() { close(c.closed) })
	go c.send()
	return c
}

func (c *buffered) send() {
	for {
		select {
		case <-c.more:
		case <-c.closed:
			return
		}
		c.mu.Lock()
		b := c.written
		c.written = nil
		c.mu.Unlock()
		if _, err := c.Conn.Write(b); err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
	}
}

// Write implements net.Conn.
func (c *buffered) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.written = append(c.written, b...)
	select {
	case c.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Close implements net.Conn.
func (c *buffered) Close() error {
	c.close()
	return c.Conn.Close()
}

// SetDeadline implements net.Conn: writing never waits.
func (c *buffered) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *buffered) SetWriteDeadline(time.Time) error { return nil }
