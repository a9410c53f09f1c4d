package worker

import "context"

// turns bound how many drains use the database at once: no more than the worker's pool of connections serves without
// a queue. So nothing that a worker does waits behind thousands of drains for a connection, and a slow database is not
// taken for a slow receiver. A drain that only waits, for a receiver or for its pace, has no turn.
type turns struct {
	all chan struct{}
	// bulk are those of all that drains without something of a single event may have: the others are left to single
	// events, so that these do not wait behind an import. giveWay are those of bulk that they have while single events
	// come.
	bulk, giveWay chan struct{}
	singlesCome   func() bool
	// swiftDoor and bulkDoor let only one of the drains of each kind that have not begun wait for a turn at a time. So
	// drains that have begun, and must record results, do not wait behind many others.
	swiftDoor, bulkDoor chan struct{}
}

// otherConnections is how many connections of its pool a worker leaves to leases, periodic tasks and removals, beside
// those of its evaluations.
const otherConnections = 4

// newTurns returns turns for a worker with so many connections and evaluations at once; with 0 connections the pool has
// no bound. singlesCome reports whether single events come at the moment.
func newTurns(connections, evaluations int, limits laneLimits, singlesCome func() bool) *turns {
	n := limits.most()
	if connections > 0 {
		n = max(connections-evaluations-otherConnections, 1)
	}
	return &turns{
		all: make(chan struct{}, n), bulk: make(chan struct{}, max(n/2, 1)), giveWay: make(chan struct{}, max(n/8, 1)),
		singlesCome: singlesCome,
		swiftDoor:   make(chan struct{}, 1), bulkDoor: make(chan struct{}, 1),
	}
}

// begin waits for the first turn of a drain; the error is that of ctx. bulk says that no single event has something for
// its target.
func (t *turns) begin(ctx context.Context, bulk bool) (*turn, error) {
	door := t.swiftDoor
	if bulk {
		door = t.bulkDoor
	}
	select {
	case door <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-door }()
	one := &turn{of: t, bulk: bulk}
	if err := one.takeWithin(ctx); err != nil {
		return nil, err
	}
	return one, nil
}

// gates returns what a drain passes for its turn, in order: each gate lets in as many drains as it has room for.
func (t *turns) gates(bulk bool) []chan struct{} {
	switch {
	case !bulk:
		return []chan struct{}{t.all}
	case t.singlesCome():
		return []chan struct{}{t.giveWay, t.bulk, t.all}
	}
	return []chan struct{}{t.bulk, t.all}
}

// turn is the right of a drain to use the database, while it is taken. It is for one goroutine.
type turn struct {
	of     *turns
	bulk   bool
	passed []chan struct{} // the gates that are passed; empty: the turn is not taken
}

// another returns a turn of the same drain for another goroutine. It is not taken.
func (t *turn) another() *turn { return &turn{of: t.of, bulk: t.bulk} }

// take waits for the turn, unless the drain has it.
func (t *turn) take() { _ = t.takeWithin(context.Background()) }

// takeWithin is take that gives up, with the error of ctx, when ctx ends.
func (t *turn) takeWithin(ctx context.Context) error {
	if len(t.passed) > 0 {
		return nil
	}
	for _, gate := range t.of.gates(t.bulk) {
		select {
		case gate <- struct{}{}:
			t.passed = append(t.passed, gate)
		case <-ctx.Done():
			t.give()
			return ctx.Err()
		}
	}
	return nil
}

// give lets others have the turn.
func (t *turn) give() {
	for _, gate := range t.passed {
		<-gate
	}
	t.passed = nil
}
