package torture

import (
	"fmt"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// checkSchedules checks that the slots of each subscription follow one another without a gap up to the last
// notification, and that each gives one digest of what came in between.
func (r *run) checkSchedules(m *model) {
	made := 0
	for _, s := range r.plan.installation.subscriptions {
		if s.Schedule == "" {
			continue
		}
		var until int64
		for _, slot := range m.slots {
			if slot.subscription != s.ID {
				continue
			}
			made++
			if slot.after != until && until != 0 {
				r.t.Errorf("%s: a slot is about what came after %d, want %d", s.Name, slot.after, until)
			}
			until = slot.through
			r.checkSlot(m, s, slot)
		}
		for i := range m.stored {
			if n := &m.stored[i]; m.number(n) > until {
				r.t.Errorf("%s: no slot is about notification %d; the last one is up to %d", s.Name, n.ID, until)
				break
			}
		}
	}
	r.t.Logf("%d slots were made, and %d pauses ended; %d digests", made, len(m.pauses), len(m.digests))
}

func (r *run) checkSlot(m *model, s *subscription, slot madeSlot) {
	var list []*dbmodel.Notification
	for i := range m.stored {
		n := &m.stored[i]
		number := m.number(n)
		if number > slot.after && number <= slot.through && r.plan.installation.takes(s, n) {
			list = append(list, n)
		}
	}
	want := m.netChanges(list, func(n *dbmodel.Notification) bool { return m.atOnce(s, n) })
	for _, c := range s.Contacts {
		if c.Channel != rule.Webhook {
			r.checkDigest(m, fmt.Sprintf("%s, slot up to %d", s.Name, slot.through), receivers[c.Target-1], slot.xid, s.ID, want)
		}
	}
}

// wouldReceive reports whether a receiver would have got n, had it not been held back.
func (p *installation) wouldReceive(receiver string, n *dbmodel.Notification) bool {
	return slices.Contains(p.reachedBy(n, func(s *subscription) bool { return s.Schedule == "" }), receiver)
}

// checkPauses checks that the end of each pause gives each receiver that was held back one digest of what it would
// have received.
func (r *run) checkPauses(m *model) {
	ended := map[int64]bool{} // notifications
	for _, p := range m.pauses {
		var held []*dbmodel.Notification
		for i := range m.stored {
			n := &m.stored[i]
			_, over := m.isHeld(n)
			if over && !ended[n.ID] && n.ID <= p.through && slices.Contains(p.products, *n.ProductID) {
				ended[n.ID] = true
				held = append(held, n)
			}
		}
		for _, receiver := range receivers {
			if channelOf(receiver) == rule.Webhook {
				continue
			}
			var list []*dbmodel.Notification
			for _, n := range held {
				if r.plan.installation.wouldReceive(receiver, n) {
					list = append(list, n)
				}
			}
			r.checkDigest(m, fmt.Sprint("end of pause ", p.id), receiver, p.xids[receiver], 0, m.netChanges(list, nil))
		}
	}
	for id, number := range m.released {
		if number != 0 && !ended[id] {
			r.t.Errorf("notification %d was released, and no pause ended", id)
		}
	}
}

// reachedBy returns the receivers of n by the contacts of its settings and those subscriptions that count.
func (p *installation) reachedBy(n *dbmodel.Notification, counts func(*subscription) bool) []string {
	a := rule.Applied{Contacts: p.exceptions}
	switch n.Type.Info().Holder {
	case rule.HolderProduct:
		a = p.applied(*n.ProductID)
		a.Paused = false
	case rule.HolderTitles:
		a.Contacts = p.titles.Contacts
	default: // those of exceptions
	}
	for _, s := range p.subscriptions {
		if counts(s) && p.holdsFor(s, productOf(n)) {
			a.Subscriptions = append(a.Subscriptions, &s.Subscription)
		}
	}
	return reached(a, n.Rule())
}

// recipients returns the receivers to which a notification goes as it is, sorted: at once and, of signed webhooks, with
// a slot or after a pause.
func (r *run) recipients(m *model, n *dbmodel.Notification) []string {
	p := &r.plan.installation
	held, over := m.isHeld(n)
	var out []string
	if !held {
		out = p.reachedBy(n, func(*subscription) bool { return true })
	}
	for _, s := range p.subscriptions {
		later := s.Schedule != "" && !m.atOnce(s, n) || s.Schedule == "" && held
		if !p.takes(s, n) || !later || held && !over {
			continue
		}
		for _, c := range s.Contacts {
			if c.Channel == rule.Webhook {
				out = append(out, receivers[c.Target-1])
			}
		}
	}
	slices.Sort(out)
	return out
}
