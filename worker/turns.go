package worker

import "context"

// turns bound how many drains use the database at once: no more than the worker's pool of connections serves without
// a queue. So nothing that a worker does waits behind thousands of drains for a connection, and a slow database is not
// taken for a slow receiver. A drain that only waits, for a receiver or for its pace, has no turn.
type turns struct {
	all chan struct{}
	// swift and bulk are doors to all: of the drains that have not begun, only one of each kind waits for a turn at a
	// time. So drains that have begun, and must record results, do not wait behind many others.
	swift, bulk chan struct{}
}

// otherConnections is how many connections of its pool a worker leaves to leases, periodic tasks and removals, beside
// those of its evaluations.
const otherConnections = 4

// newTurns returns turns for a worker with so many connections and evaluations at once; with 0 connections the pool has
// no bound.
func newTurns(connections, evaluations int, limits laneLimits) *turns {
	n := limits.most()
	if connections > 0 {
		n = max(connections-evaluations-otherConnections, 1)
	}
	return &turns{make(chan struct{}, n), make(chan struct{}, 1), make(chan struct{}, 1)}
}

// begin waits for the first turn of a drain; the error is that of ctx. bulk says that no single event has something for
// its target.
func (t *turns) begin(ctx context.Context, bulk bool) (*turn, error) {
	door := t.swift
	if bulk {
		door = t.bulk
	}
	select {
	case door <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-door }()
	select {
	case t.all <- struct{}{}:
		return &turn{of: t, taken: true}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// turn is the right of a drain to use the database, while it is taken. It is for one goroutine.
type turn struct {
	of    *turns
	taken bool
}

// take waits for the turn, unless the drain has it.
func (t *turn) take() {
	if !t.taken {
		t.of.all <- struct{}{}
		t.taken = true
	}
}

// give lets others have the turn.
func (t *turn) give() {
	if t.taken {
		<-t.of.all
		t.taken = false
	}
}
