// Package embedded is the in-process Redis of serve and demo. It keeps nothing on disk and need not: all that lies in Redis
// is made again from the database.
package embedded

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// tick is how often the server's clock is moved on: its TTLs stand still by themselves.
const tick = 100 * time.Millisecond

// Redis is a running server on a port of the loopback interface, behind a password of its own.
type Redis struct {
	server   *miniredis.Miniredis
	password string
	stop     chan struct{}
	ticking  sync.WaitGroup
}

// Start starts a server.
func Start() (*Redis, error) {
	r := &Redis{server: miniredis.NewMiniRedis(), password: rand.Text(), stop: make(chan struct{})}
	r.server.RequireAuth(r.password)
	if err := r.server.Start(); err != nil {
		return nil, fmt.Errorf("start the in-process Redis: %w", err)
	}
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
	return r, nil
}

// Options connect to the server.
func (r *Redis) Options() *redis.UniversalOptions {
	return &redis.UniversalOptions{Addrs: []string{r.server.Addr()}, Password: r.password}
}

// Close ends the server.
func (r *Redis) Close() {
	close(r.stop)
	r.ticking.Wait()
	r.server.Close()
}
