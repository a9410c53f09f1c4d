package rule

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// MaxNamedChanges is how many observations and titles a net digest names.
const MaxNamedChanges = 20

// ProductChanges are the net changes in one product.
type ProductChanges struct {
	Product  int64 // 0: titles, which have no product
	Counts   map[Move]int
	New      map[Severity]int // those of MoveNew, by the severity that they have now
	Resolved int              // those of MoveDropped that have the status Resolved
	Gate     *NetChange       // nil: it did not change
	Named    []NetChange      // those among the MaxNamedChanges worst of all products; worst first
}

// Failure sums up all notifications of exceptions, or of failed tasks, with one name.
type Failure struct {
	Type  Type
	Name  string
	Count int   // occurrences
	Last  int64 // id of the last notification
}

// NetDigest is what a scheduled subscription, or a contact whose pause is over, receives.
type NetDigest struct {
	Products []ProductChanges // the one with the worst change first
	Failures []Failure        // most frequent first
	// Notifications are the ids of the last notification of each thing that changed, and of each failure.
	Notifications []int64
}

// Empty reports whether there is nothing to send.
func (d NetDigest) Empty() bool { return len(d.Products) == 0 && len(d.Failures) == 0 }

// NewNetDigest sums up notifications, which come as NetChanges says. sent reports which of them went out at once; nil
// stands for none. For each thing the change goes from what was last sent or, where nothing was, from the values before
// its first notification, to those after its last one. A thing that ends as it began is left out. NewNetDigest
// changes no notification, so several goroutines may make digests of the same ones.
func NewNetDigest(notifications iter.Seq[*Notification], sent func(*Notification) bool) NetDigest {
	s := newSums()
	NetChanges(notifications, sent, s.change, s.failure)
	return s.digest()
}

// sums is what a digest keeps of the changes.
type sums struct {
	products      map[int64]*productSums
	candidates    []NetChange // the MaxNamedChanges worst, and some more; without gates
	failures      map[thing]Failure
	notifications []int64 // for each change, the id of its last notification
}

func newSums() *sums {
	return &sums{products: map[int64]*productSums{}, failures: map[thing]Failure{}}
}

type productSums struct {
	ProductChanges // Named is filled at the end
	worst          NetChange
}

// change adds a net change.
func (s *sums) change(c NetChange) {
	s.notifications = append(s.notifications, c.Last)
	p := s.products[c.Product]
	if p == nil {
		p = &productSums{worst: c}
		p.Product, p.Counts, p.New = c.Product, map[Move]int{}, map[Severity]int{}
		s.products[c.Product] = p
	}
	if compareChanges(c, p.worst) < 0 {
		p.worst = c
	}
	p.Counts[c.Move]++
	switch {
	case c.Move == MoveNew:
		p.New[c.After.Severity]++
	case c.Move == MoveDropped && c.After != nil && c.After.Status == Resolved:
		p.Resolved++
	}
	if c.Move == MoveGate {
		p.Gate = &c
	} else if s.candidates = append(s.candidates, c); len(s.candidates) >= 10*MaxNamedChanges {
		s.cut()
	}
}

// failure adds a failure, or the occurrences of one that bears the same name in another product.
func (s *sums) failure(f Failure) {
	t := thing{typ: f.Type, name: f.Name}
	if known, found := s.failures[t]; found {
		f.Count, f.Last = f.Count+known.Count, max(f.Last, known.Last)
	}
	s.failures[t] = f
}

// failuresInOrder lists the failures, the most frequent first.
func (s *sums) failuresInOrder() []Failure {
	return slices.SortedFunc(maps.Values(s.failures), func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Last, b.Last))
	})
}

// cut keeps the MaxNamedChanges worst candidates.
func (s *sums) cut() {
	slices.SortFunc(s.candidates, compareChanges)
	s.candidates = s.candidates[:min(len(s.candidates), MaxNamedChanges)]
}

// digest returns the digest of what was added.
func (s *sums) digest() NetDigest {
	s.cut()
	for _, c := range s.candidates {
		p := s.products[c.Product]
		p.Named = append(p.Named, c)
	}
	order := make([]*productSums, 0, len(s.products))
	for _, p := range s.products {
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b *productSums) int { return compareChanges(a.worst, b.worst) })
	d := NetDigest{Failures: s.failuresInOrder(), Notifications: s.notifications}
	for _, f := range d.Failures {
		d.Notifications = append(d.Notifications, f.Last)
	}
	for _, p := range order {
		d.Products = append(d.Products, p.ProductChanges)
	}
	return d
}
