package fakesecobserve

import (
	"cmp"
	"slices"
	"time"
)

// Upload is a transaction that takes long: ids and stamps are those of when its parts happened, but nobody sees them
// before Commit.
type Upload struct {
	m       *Model
	product int64
	rows    []*Observation
	changes []func(*Observation)
	changed []int64
	stamps  []time.Time
}

// BeginUpload begins a transaction that adds observations to a product and changes others of it.
func (m *Model) BeginUpload(product int64) *Upload { return &Upload{m: m, product: product} }

// Add adds an observation and returns its id. One with an id comes back from a backup.
func (u *Upload) Add(o Observation) int64 {
	u.m.do(func() {
		if o.ID == 0 {
			o.ID = u.m.nextID()
		}
		o.Product, o.LastLog = u.product, u.m.clock
		u.rows = append(u.rows, &o)
	})
	return o.ID
}

// Change changes an observation.
func (u *Upload) Change(id int64, change func(*Observation)) {
	u.m.do(func() {
		u.changed, u.changes, u.stamps = append(u.changed, id), append(u.changes, change), append(u.stamps, u.m.clock)
	})
}

// Commit shows what the transaction did. The stamp of the product may go back.
func (u *Upload) Commit() {
	u.m.do(func() {
		if u.m.products[u.product] == nil {
			return
		}
		for _, o := range u.rows {
			at, _ := slices.BinarySearchFunc(u.m.rows, o.ID, func(o *Observation, id int64) int {
				return cmp.Compare(o.ID,
					id)
			})
			u.m.rows = slices.Insert(u.m.rows, at, o)
			u.m.stamp(o, o.LastLog)
		}
		for i, id := range u.changed {
			if o := u.m.find(id); o != nil {
				u.changes[i](o)
				u.m.stamp(o, u.stamps[i])
			}
		}
	})
}
