package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
)

// renewTime is how often leases are renewed, so that they outlast a long send and the recording of its result.
const renewTime = dbmodel.LeaseTime / 5

// errLeaseLost is the cause with which the context of a lease ends where another worker has taken the lease.
var errLeaseLost = errors.New("another worker has the lease")

// leases renews the leases of all drains of a worker, with one statement for all of them.
type leases struct {
	db   *dbmodel.DB
	mu   sync.Mutex
	held map[dbmodel.HeldLease]context.CancelCauseFunc // each ends the context of its lease
}

func newLeases(db *dbmodel.DB) *leases {
	return &leases{db: db, held: map[dbmodel.HeldLease]context.CancelCauseFunc{}}
}

// hold has a lease renewed until release is called. leased ends with ctx or, with the cause errLeaseLost, once another
// worker has taken the lease.
func (l *leases) hold(ctx context.Context, lease dbmodel.HeldLease) (leased context.Context, release func()) {
	leased, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	l.held[lease] = cancel
	l.mu.Unlock()
	return leased, func() {
		l.mu.Lock()
		delete(l.held, lease)
		l.mu.Unlock()
		cancel(nil)
	}
}

// keep renews all leases every renewTime, until ctx ends.
func (l *leases) keep(ctx context.Context) {
	ticker := time.NewTicker(renewTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.renew(ctx)
		}
	}
}

// renew renews all leases once. While the database is down no other worker takes a lease either. A worker that is cut
// off from the database goes on with its message, while another one may send that again once the lease is over.
func (l *leases) renew(ctx context.Context) {
	l.mu.Lock()
	list := make([]dbmodel.HeldLease, 0, len(l.held))
	targets := make(map[string]int64, len(l.held))
	for lease := range l.held {
		list = append(list, lease)
		targets[lease.Owner] = lease.TargetID
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, dbmodel.LeaseTime/2)
	defer cancel()
	lost, err := dbmodel.RenewTargets(ctx, l.db, list)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, owner := range lost {
		if cancel, found := l.held[dbmodel.HeldLease{TargetID: targets[owner], Owner: owner}]; found {
			cancel(errLeaseLost)
		}
	}
}
