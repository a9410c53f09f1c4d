package rule

import (
	"cmp"
	"iter"
	"slices"
)

// Move says which way a thing went.
type Move string

// Moves.
const (
	MoveNew     Move = "new"
	MoveWorse   Move = "worse"
	MoveBetter  Move = "better"
	MoveDropped Move = "dropped"
	MoveGate    Move = "gate"
)

// Moves lists all moves, in the order in which a digest shows them.
var Moves = []Move{MoveNew, MoveWorse, MoveBetter, MoveDropped, MoveGate}

// NetChange sums up all notifications about one observation, title or gate.
type NetChange struct {
	Type    Type
	Product int64 // of the last notification
	Thing   int64 // as in Notification
	Move    Move
	Last    int64 // id of the last notification

	// Of observations and titles. After a drop, After holds the values that no longer match.
	Before *Values // nil: it was not known
	After  *Values

	// Of gates: the state before the first notification in the digest, and after the last.
	GateBefore, Gate Event
}

// NetChanges calls changed for each thing that does not end as it began, and failed for each exception and failed task.
// The notifications must come thing by thing, those of one thing in the order in which they were stored; exceptions, or
// failed tasks, with one name are one thing. sent reports which of them went out at once; nil stands for none.
// NetChanges keeps nothing of a thing once the next one begins.
func NetChanges(
	notifications iter.Seq[*Notification], sent func(*Notification) bool, changed func(NetChange), failed func(Failure),
) {
	var current thing
	var s span
	var f Failure
	end := func() {
		if c, ok := s.change(); ok {
			changed(c)
		}
		if f.Count > 0 {
			failed(f)
		}
	}
	for n := range notifications {
		if t := thingOf(n); t != current {
			end()
			current, s, f = t, span{}, Failure{}
		}
		atOnce := sent != nil && sent(n)
		switch {
		case n.Type == TypeSecurityGate || n.Type.hasValues():
			s.add(n, atOnce)
		case !atOnce:
			f = Failure{Type: n.Type, Name: n.Name, Count: f.Count + max(n.Occurrences, 1), Last: n.ID}
		}
	}
	end()
}

// thing is what notifications are about: an observation, title or gate by its id, an exception or task by its name.
type thing struct {
	typ  Type
	id   int64
	name string // of a title, too: another title may have the same id
}

func thingOf(n *Notification) thing { return thing{n.Type, n.Thing, n.Name} }

// span is what happened to one thing: what a recipient knew of it at first, and its last notification.
type span struct {
	begun      bool
	before     *Values
	gateBefore Event
	last       *Notification
}

func (s *span) add(n *Notification, sent bool) {
	switch {
	case sent: // the recipient knows n
		s.begun, s.before, s.gateBefore = true, knownAfter(n), n.Event
	case !s.begun:
		s.begun, s.before, s.gateBefore = true, n.Before, n.GateBefore
	}
	s.last = n
}

// knownAfter is what a recipient knows of a thing after its notification n: nothing once n said that it is dropped.
func knownAfter(n *Notification) *Values {
	if n.Event == EventDropped {
		return nil
	}
	return n.After
}

// change returns the net change of s; ok is false where it ends as it began.
func (s *span) change() (c NetChange, ok bool) {
	if s.last == nil {
		return c, false
	}
	c = NetChange{Type: s.last.Type, Product: s.last.Product, Thing: s.last.Thing, Last: s.last.ID}
	if c.Type == TypeSecurityGate {
		c.Move, c.GateBefore, c.Gate = MoveGate, cmp.Or(s.gateBefore, EventNoResult), s.last.Event
		return c, c.GateBefore != c.Gate
	}
	c.Before, c.After = s.before, s.last.After
	now := knownAfter(s.last)
	switch {
	case now == nil:
		c.Move = MoveDropped
		return c, c.Before != nil
	case c.Before == nil:
		c.Move = MoveNew
	case c.Before.Equal(*now) && c.Before.Exploited() == now.Exploited():
		return c, false
	case Worse(*c.Before, *now):
		c.Move = MoveWorse
	default:
		c.Move = MoveBetter
	}
	return c, true
}

// Worse reports whether an observation or a title got worse: the first of severity, known exploited, active status,
// priority and status that differs decides. Of two statuses, the one that comes earlier in Statuses is worse.
func Worse(before, after Values) bool {
	return cmp.Or(
		cmp.Compare(after.Severity.Rank(), before.Severity.Rank()),
		compareTrue(after.Exploited(), before.Exploited()),
		compareTrue(after.Status.Active(), before.Status.Active()),
		cmp.Compare(urgency(after.Priority), urgency(before.Priority)),
		cmp.Compare(slices.Index(Statuses, after.Status), slices.Index(Statuses, before.Status)),
	) < 0
}

// compareTrue orders true before false.
func compareTrue(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// compareChanges orders what matters most first: failed gates, then observations and titles that still match, then
// other gates, then observations that were dropped. Within observations and titles, severity, known exploited,
// priority and move decide. Of equal ones, the one that happened first comes first.
func compareChanges(a, b NetChange) int {
	byClass, byLast := cmp.Compare(a.class(), b.class()), cmp.Compare(a.Last, b.Last)
	if a.After == nil || b.After == nil {
		return cmp.Or(byClass, byLast)
	}
	return cmp.Or(
		byClass,
		cmp.Compare(a.After.Severity.Rank(), b.After.Severity.Rank()),
		compareTrue(a.After.Exploited(), b.After.Exploited()),
		a.After.Compare(*b.After),
		cmp.Compare(slices.Index(Moves, a.Move), slices.Index(Moves, b.Move)),
		byLast,
	)
}

// class is the place of c among the four kinds that compareChanges names.
func (c *NetChange) class() int {
	switch {
	case c.Gate == EventFailed:
		return 0
	case c.Move == MoveGate:
		return 2
	case c.Move == MoveDropped:
		return 3
	}
	return 1
}
