package rule

import (
	"cmp"
	"iter"
	"slices"
)

// MaxNamed is how many observations and titles a digest names.
const MaxNamed = 20

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

// NetChange is what all notifications about one observation, title or gate come to.
type NetChange struct {
	Type    Type
	Product int64 // of the last notification
	Thing   int64
	Move    Move
	Last    int64 // id of the last notification
	Count   int   // notifications that it stands for

	// Of observations and titles. Of what was dropped, After holds the values for which it was.
	Before *Values // nil: it was not known
	After  *Values

	// Of gates: the state before the first notification in the digest, and after the last.
	GateBefore, Gate Event
}

// ProductChanges are the net changes in one product.
type ProductChanges struct {
	Product  int64 // 0: titles, which have no product
	Counts   map[Move]int
	New      map[Severity]int // of what is new, by its severity now
	Resolved int              // of what was dropped: whose status is Resolved
	Gate     *NetChange       // nil: it did not change
	Named    []NetChange      // those of the MaxNamed worst of all products that are in this one, worst first
}

// Failure is an exception or a failed task, with all notifications that bear its name.
type Failure struct {
	Type  Type
	Name  string
	Count int   // occurrences
	Last  int64 // id of the last notification
}

// Digest is what a scheduled subscription, or a contact whose pause is over, receives.
type Digest struct {
	Products []ProductChanges // the one with the worst change first
	Failures []Failure        // most frequent first
	// Notifications are the ids of the last ones of all that changed, and of the failures.
	Notifications []int64
}

// Empty reports whether there is nothing to send.
func (d Digest) Empty() bool { return len(d.Products) == 0 && len(d.Failures) == 0 }

// NewDigest sums up notifications, which come in the order in which they were stored. sent reports which of them went
// out at once; nil stands for none. For each thing the change goes from what was last sent or, where nothing was, from
// the values before its first notification, to those after its last one. What ends as it began is left out.
//
// It keeps the notifications until it returns and changes none: many digests may be made of the same ones at once.
func NewDigest(notifications iter.Seq[*Notification], sent func(*Notification) bool) Digest {
	changes, failures := NetChanges(notifications, sent)
	d := Digest{Products: byProduct(changes), Failures: failures}
	for i := range changes {
		d.Notifications = append(d.Notifications, changes[i].Last)
	}
	for i := range failures {
		d.Notifications = append(d.Notifications, failures[i].Last)
	}
	return d
}

// NetChanges returns what NewDigest groups: one change for each thing, worst first, and the failures.
func NetChanges(
	notifications iter.Seq[*Notification], sent func(*Notification) bool,
) ([]NetChange, []Failure) {
	things, failures := newOrdered[thing, span](), newOrdered[failure, Failure]()
	for n := range notifications {
		atOnce := sent != nil && sent(n)
		switch {
		case n.Type == TypeSecurityGate || n.Type.hasValues():
			things.at(thing{n.Type, n.Thing, n.Name}).add(n, atOnce)
		case !atOnce:
			f := failures.at(failure{n.Type, n.Name})
			f.Type, f.Name, f.Last = n.Type, n.Name, n.ID
			f.Count += max(n.Occurrences, 1)
		}
	}
	var out []NetChange
	for i := range things.list {
		if c, ok := things.list[i].change(); ok {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, compareChanges)
	slices.SortStableFunc(failures.list, func(a, b Failure) int { return cmp.Compare(b.Count, a.Count) })
	return out, failures.list
}

type thing struct {
	typ  Type
	id   int64
	name string // of a title, of whose id another title may have the same
}

type failure struct {
	typ  Type
	name string
}

// span is what happened to one thing: what its recipient knew at first, and its notifications since.
type span struct {
	begun  bool
	before *Values
	gate   Event // before
	last   *Notification
	count  int
}

func (s *span) add(n *Notification, sent bool) {
	switch {
	case sent: // its recipient knows all of it
		s.begun, s.before, s.gate, s.count = true, notified(n), n.Event, 0
		s.last = n
		return
	case !s.begun:
		s.begun, s.before, s.gate = true, n.Before, n.GateBefore
	}
	s.last = n
	s.count++
}

// notified is what counts as known after a notification: nothing once it said that the thing is dropped.
func notified(n *Notification) *Values {
	if n.Event == EventDropped {
		return nil
	}
	return n.After
}

// change returns what s comes to; ok is false where it ends as it began.
func (s *span) change() (c NetChange, ok bool) {
	c = NetChange{Type: s.last.Type, Product: s.last.Product, Thing: s.last.Thing, Last: s.last.ID, Count: s.count}
	if c.Type == TypeSecurityGate {
		c.Move, c.GateBefore, c.Gate = MoveGate, cmp.Or(s.gate, EventNone), s.last.Event
		return c, c.GateBefore != c.Gate
	}
	c.Before, c.After = s.before, s.last.After
	now := notified(s.last)
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

// Worse reports whether a thing got worse: what differs first of severity, known exploited, active, priority and status
// decides. Between statuses, one that comes earlier in Statuses is worse.
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

// compareChanges orders what matters most first: failed gates, then what is known now by its values, then other gates,
// then what was dropped.
func compareChanges(a, b NetChange) int {
	if byClass := cmp.Compare(a.class(), b.class()); byClass != 0 || a.After == nil || b.After == nil {
		return byClass
	}
	return cmp.Or(
		cmp.Compare(a.After.Severity.Rank(), b.After.Severity.Rank()),
		compareTrue(a.After.Exploited(), b.After.Exploited()),
		a.After.Compare(*b.After),
		cmp.Compare(slices.Index(Moves, a.Move), slices.Index(Moves, b.Move)),
	)
}

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

// byProduct groups changes, which are sorted: so the products are, too.
func byProduct(changes []NetChange) []ProductChanges {
	products := newOrdered[int64, ProductChanges]()
	named := 0
	for _, c := range changes {
		p := products.at(c.Product)
		if p.Counts == nil {
			p.Product, p.Counts, p.New = c.Product, map[Move]int{}, map[Severity]int{}
		}
		p.Counts[c.Move]++
		switch {
		case c.Move == MoveNew:
			p.New[c.After.Severity]++
		case c.Move == MoveDropped && c.After != nil && c.After.Status == Resolved:
			p.Resolved++
		}
		switch {
		case c.Move == MoveGate:
			p.Gate = &c
		case named < MaxNamed:
			p.Named = append(p.Named, c)
			named++
		}
	}
	return products.list
}

// ordered is a map that keeps the order in which its keys came.
type ordered[K comparable, V any] struct {
	index map[K]int
	list  []V
}

func newOrdered[K comparable, V any]() *ordered[K, V] { return &ordered[K, V]{index: map[K]int{}} }

// at returns the value of k, valid until the next call.
func (o *ordered[K, V]) at(k K) *V {
	i, ok := o.index[k]
	if !ok {
		i = len(o.list)
		o.index[k] = i
		o.list = append(o.list, *new(V))
	}
	return &o.list[i]
}
