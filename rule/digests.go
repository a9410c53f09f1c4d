package rule

import (
	"iter"
	"maps"
	"slices"
)

// NetDigests sums up notifications once for many digests, each of which is about some of the products.
type NetDigests struct {
	sent     func(*Notification) bool
	products map[int64]*sums
	several  []*Notification // about things that were in several products, thing by thing
}

// NewNetDigests sums up notifications as NewNetDigest does. It keeps whole only those about things that were in several
// products.
func NewNetDigests(notifications iter.Seq[*Notification], sent func(*Notification) bool) *NetDigests {
	d := &NetDigests{sent: sent, products: map[int64]*sums{}}
	var ofThing []*Notification // all about one thing, so far
	for n := range notifications {
		if len(ofThing) > 0 && thingOf(ofThing[0]) != thingOf(n) {
			d.add(ofThing)
			ofThing = nil
		}
		ofThing = append(ofThing, n)
	}
	d.add(ofThing)
	for _, s := range d.products {
		s.cut()
	}
	return d
}

// add adds all notifications about one thing.
func (d *NetDigests) add(ofThing []*Notification) {
	if len(ofThing) == 0 {
		return
	}
	first := ofThing[0].Product
	if slices.ContainsFunc(ofThing, func(n *Notification) bool { return n.Product != first }) {
		d.several = append(d.several, ofThing...)
		return
	}
	s := d.products[first]
	if s == nil {
		s = newSums()
		d.products[first] = s
	}
	NetChanges(slices.Values(ofThing), d.sent, s.change, s.failure)
}

// In returns the digest of the notifications about the given products.
func (d *NetDigests) In(products map[int64]bool) NetDigest {
	total := newSums()
	for _, product := range slices.Sorted(maps.Keys(products)) {
		if s := d.products[product]; s != nil {
			total.addProduct(s)
		}
	}
	NetChanges(func(yield func(*Notification) bool) {
		for _, n := range d.several {
			if products[n.Product] && !yield(n) {
				return
			}
		}
	}, d.sent, total.change, total.failure)
	return total.digest()
}

// addProduct adds other, the sums of a product of which s holds nothing yet.
func (s *sums) addProduct(other *sums) {
	for id, p := range other.products {
		own := *p
		own.Counts, own.New = maps.Clone(p.Counts), maps.Clone(p.New)
		s.products[id] = &own
	}
	s.notifications = append(s.notifications, other.notifications...)
	if s.candidates = append(s.candidates, other.candidates...); len(s.candidates) >= 10*MaxNamedChanges {
		s.cut()
	}
	for _, f := range other.failures {
		s.failure(f)
	}
}
