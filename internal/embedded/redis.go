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

// tick is how often the server's clock is moved on: its TTLs stand still by themselves.
const tick = 100 * time.Millisecond

// Redis is a running server without a port: only this process reaches it. A client that did could end the process,
// because miniredis believes any length that a command gives for an argument.
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

// Options connect to the server.
func (r *Redis) Options() *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs: []string{"in-process"},
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			select {
			case <-r.stop: // else it would start again
				return nil, net.ErrClosed
			default:
			}
			conn, err := r.server.Dial()
			if err != nil {
				return nil, err
			}
			return newPatient(conn), nil
		},
	}
}

// Close ends the server.
func (r *Redis) Close() {
	close(r.stop)
	r.ticking.Wait()
	r.server.Close()
}

// patient is the client's end of a net.Pipe that takes whatever is written: the server answers the first command of
// many before it reads the last one, and with nothing between them both would wait for the other to read.
type patient struct {
	net.Conn
	mu      sync.Mutex
	written []byte // and not sent yet
	err     error  // of sending
	more    chan struct{}
	closed  chan struct{}
	close   func()
}

func newPatient(conn net.Conn) *patient {
	p := &patient{Conn: conn, more: make(chan struct{}, 1), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	go p.send()
	return p
}

func (p *patient) send() {
	for {
		select {
		case <-p.more:
		case <-p.closed:
			return
		}
		p.mu.Lock()
		b := p.written
		p.written = nil
		p.mu.Unlock()
		if _, err := p.Conn.Write(b); err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
			return
		}
	}
}

// Write implements net.Conn.
func (p *patient) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	p.written = append(p.written, b...)
	select {
	case p.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Close implements net.Conn.
func (p *patient) Close() error {
	p.close()
	return p.Conn.Close()
}

// SetDeadline implements net.Conn: writing never waits.
func (p *patient) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (p *patient) SetWriteDeadline(time.Time) error { return nil }
