package torture

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// thingOf is the observation, title or gate that a notification is about; empty: another thing.
func thingOf(n *dbmodel.Notification) string {
	switch n.Type {
	case rule.TypeObservation:
		return fmt.Sprint("observation ", *n.ObservationID)
	case rule.TypeObservationTitle:
		return "title " + n.Name
	case rule.TypeSecurityGate:
		return fmt.Sprint("gate of product ", *n.ProductID)
	case rule.TypeException, rule.TypeTask:
	}
	return ""
}

// netChange is what notifications about one thing come to: from what was known to what is.
type netChange struct{ from, to string }

// netChanges sums up notifications, in their order: what changed, by the last notification of each thing, and the last
// ones of exceptions and tasks.
func (m *model) netChanges(list []*dbmodel.Notification, sent func(*dbmodel.Notification) bool) map[int64]netChange {
	begun, last, changes := map[string]string{}, map[string]*dbmodel.Notification{}, map[int64]netChange{}
	for _, n := range list {
		thing := thingOf(n)
		atOnce := sent != nil && sent(n)
		if thing == "" {
			thing = fmt.Sprint(n.Type, n.Name)
		}
		if _, known := begun[thing]; !known {
			begun[thing] = m.knownBefore(n)
		}
		if atOnce {
			begun[thing] = knownAfter(n)
		}
		last[thing] = n
	}
	for thing, n := range last {
		if c := (netChange{begun[thing], knownAfter(n)}); c.from != c.to {
			changes[n.ID] = c
		}
	}
	return changes
}

// knownBefore and knownAfter are what a recipient of all notifications knows of a thing before and after n.
func (m *model) knownBefore(n *dbmodel.Notification) string {
	switch {
	case n.Type == rule.TypeSecurityGate:
		return string(cmp.Or(m.gateBefore[n.ID], rule.EventNoResult))
	case thingOf(n) != "":
		return show(n.Before())
	}
	return ""
}

func knownAfter(n *dbmodel.Notification) string {
	switch {
	case n.Type == rule.TypeSecurityGate:
		return string(n.Event)
	case n.Event == rule.EventDropped:
		return show(nil)
	case thingOf(n) != "":
		return show(n.After())
	}
	return "happened"
}

// madeSlot is a slot of a subscription that was made, and madePause the end of pauses.
type madeSlot struct{ xid, subscription, after, through int64 }

type madePause struct {
	id       int64
	products []int64
	through  int64
	xids     map[string]int64 // by receiver
}

// netDigest is a stored digest with its deliveries, by receiver.
type netDigest struct {
	dbmodel.StoredNetDigest
	id, xid int64
	to      map[string][]*delivery
	checked map[string]bool // the receivers that it is for
}

// model is what a check knows of schedules and pauses.
type model struct {
	stored     []dbmodel.Notification
	released   map[int64]int64      // what a pause held back, and the number that it got at its end; 0: it is held back
	gateBefore map[int64]rule.Event // the event of a gate's notification before
	slots      []madeSlot
	pauses     []*madePause
	digests    []*netDigest
	receivers  map[int64]string // by target
}

// readModel reads what was made of schedules and pauses.
func (r *run) readModel(db *dbmodel.DB, stored []dbmodel.Notification) *model {
	m := &model{
		stored: stored, released: map[int64]int64{}, gateBefore: map[int64]rule.Event{}, receivers: r.targets(db),
	}
	gates := map[int64]rule.Event{}
	for _, n := range slices.SortedFunc(slices.Values(stored), func(a, b dbmodel.Notification) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	}) {
		if n.Type == rule.TypeSecurityGate {
			m.gateBefore[n.ID], gates[*n.ProductID] = gates[*n.ProductID], n.Event
		}
	}
	r.each(db, `SELECT id, coalesce(released, 0) FROM notifications WHERE held_back OR released IS NOT NULL`,
		func(scan func(...any)) {
			var id, number int64
			scan(&id, &number)
			m.released[id] = number
		})
	r.each(db, `SELECT xmin::text::bigint, subscription, after, through FROM made_slots ORDER BY id`,
		func(scan func(...any)) {
			var s madeSlot
			scan(&s.xid, &s.subscription, &s.after, &s.through)
			m.slots = append(m.slots, s)
		})
	byID := map[int64]*madePause{}
	r.each(db, `SELECT pause, products, through FROM all_pauses ORDER BY pause`, func(scan func(...any)) {
		p := &madePause{xids: map[string]int64{}}
		var products []byte
		scan(&p.id, &products, &p.through)
		r.must(json.Unmarshal(products, &p.products))
		m.pauses, byID[p.id] = append(m.pauses, p), p
	})
	r.each(db, `SELECT xmin::text::bigint, pause, target FROM made_pauses`, func(scan func(...any)) {
		var xid, pause, target int64
		scan(&xid, &pause, &target)
		if p := byID[pause]; p != nil {
			p.xids[m.receivers[target]] = xid
		}
	})
	r.each(db, `SELECT xmin::text::bigint, id, content, notifications FROM digests ORDER BY id`, func(scan func(...any)) {
		d := &netDigest{to: map[string][]*delivery{}, checked: map[string]bool{}}
		var content, notifications []byte
		scan(&d.xid, &d.id, &content, &notifications)
		r.must(json.Unmarshal(content, &d.StoredNetDigest))
		r.must(json.Unmarshal(notifications, &d.Notifications))
		m.digests = append(m.digests, d)
	})
	return m
}

// each calls f for each row of a query.
func (r *run) each(db *dbmodel.DB, query string, f func(scan func(...any))) {
	rows, err := db.QueryContext(context.Background(), query)
	r.must(err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		f(func(to ...any) { r.must(rows.Scan(to...)) })
	}
	r.must(rows.Err())
}

func (r *run) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// isHeld reports whether a pause held a notification back, and whether it is over.
func (m *model) isHeld(n *dbmodel.Notification) (held, over bool) {
	number, held := m.released[n.ID]
	return held, number != 0
}

// number is by which slots count a notification; 0: by none yet.
func (m *model) number(n *dbmodel.Notification) int64 {
	if number, held := m.released[n.ID]; held {
		return number
	}
	return n.ID
}

// atOnce reports whether a subscription on a schedule, which takes n, gets it at once.
func (m *model) atOnce(s *subscription, n *dbmodel.Notification) bool {
	held, _ := m.isHeld(n)
	return !held && s.AtOnce.Takes(n.Rule())
}

// checkPaused checks that what is paused until the end is held back, that nothing is for which nothing was paused, and
// that nothing stays so.
func (r *run) checkPaused(m *model) {
	ever := map[int64]bool{} // products that were paused for a while
	for _, a := range r.plan.acts {
		for _, p := range r.plan.installation.products {
			if faultKinds[a.kind].thing == "product" && p.id == int64(a.n+1) ||
				faultKinds[a.kind].thing == "group" && p.group == int64(a.n+1) {
				ever[p.id] = true
			}
		}
	}
	for i := range m.stored {
		n := &m.stored[i]
		pausable := isOfProduct(n.Type)
		held, over := m.isHeld(n)
		always := pausable && r.plan.installation.applied(*n.ProductID).Paused
		if always && !held || held && (!over || !pausable || !always && !ever[*n.ProductID]) {
			r.t.Errorf("notification %d (%s of product %d): held back %v, released %v", n.ID, n.Type, productOf(n), held, over)
		}
	}
}

// checkDigest checks that a receiver gets, from a transaction, one digest of notifications, or none where they come to
// nothing. source is the subscription that it comes from; 0: any.
func (r *run) checkDigest(
	m *model, what, receiver string, xid, source int64, want map[int64]netChange,
) {
	var found []*netDigest
	for _, d := range m.digests {
		of := slices.ContainsFunc(d.to[receiver], func(d *delivery) bool { return source == 0 || d.Holder.ID == source })
		if d.xid == xid && of {
			found = append(found, d)
		}
	}
	switch {
	case len(want) == 0 && len(found) == 0:
		return
	case len(want) == 0 || len(found) != 1:
		r.t.Errorf("%s for %s: %d digests, want one of %d changes", what, receiver, len(found), len(want))
		return
	}
	d := found[0]
	d.checked[receiver] = true
	got := map[int64]netChange{}
	for _, id := range d.Notifications {
		got[id] = want[id]
	}
	named := 0
	for _, p := range d.Products {
		for _, c := range p.Named {
			named++
			to := show(c.After)
			if c.Move == rule.MoveDropped {
				to = show(nil)
			}
			got[c.Last] = netChange{show(c.Before), to}
		}
		if g := p.Gate; g != nil {
			got[g.Last] = netChange{string(g.GateBefore), string(g.Gate)}
		}
	}
	for id, c := range want {
		if got[id] != c {
			r.t.Errorf("%s for %s, digest %d: notification %d comes to %v, want %v", what, receiver, d.id, id, got[id], c)
		}
	}
	for id := range got {
		if _, wanted := want[id]; !wanted {
			r.t.Errorf("%s for %s, digest %d: it has notification %d, which comes to nothing or is not for it",
				what, receiver, d.id, id)
		}
	}
	values := 0
	for i := range m.stored {
		n := &m.stored[i]
		if _, wanted := want[n.ID]; wanted && (n.Type == rule.TypeObservation || n.Type == rule.TypeObservationTitle) {
			values++
		}
	}
	if named != min(values, rule.MaxNamedChanges) {
		r.t.Errorf("%s for %s, digest %d: it names %d of %d", what, receiver, d.id, named, values)
	}
}
