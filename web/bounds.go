package web

import (
	"context"
	"net/http"
	"sync"
)

const (
	userSearches = 2  // that one user may run at once
	userStreams  = 10 // that one user may follow at once
	// allSearches is how many searches run at once; others wait for their turn. The connections that are left are for
	// everything else that people do.
	allSearches = 6
)

// PeopleConnections is the size of the pool that Config.DB wants: a user can take a few connections of it for long.
const PeopleConnections = 2 * allSearches

// bounds counts what each user does at the moment.
type bounds struct {
	mu   sync.Mutex
	most int
	busy map[string]int // by name
}

func newBounds(most int) *bounds { return &bounds{most: most, busy: map[string]int{}} }

// enter counts one more for the caller until leave is called; false: the caller has as many as one may have.
func (b *bounds) enter(ctx context.Context) (leave func(), ok bool) {
	name := viewerOf(ctx).Username
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy[name] >= b.most {
		return nil, false
	}
	b.busy[name]++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.busy[name]--; b.busy[name] == 0 {
			delete(b.busy, name)
		}
	}, true
}

// tooMany is the answer to a user who does too much at once.
func tooMany(retryAfter int, detail string) *problem {
	p := newProblem(http.StatusTooManyRequests, detail)
	p.retryAfter = retryAfter
	return p
}
