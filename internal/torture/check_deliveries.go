package torture

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// delivery is a stored delivery with its arrivals, those in digests apart.
type delivery struct {
	dbmodel.Delivery
	notification *dbmodel.Notification
	receiver     string
	arrivals     []arrival
}

// margin is the longest time from an answer to its record, on a busy machine.
const margin = 5 * time.Second

// excused reports whether an answer at that time may not have been recorded.
func (r *run) excused(answered time.Time) bool {
	return slices.ContainsFunc(r.spans, func(s span) bool {
		return answered.After(s.begin.Add(-margin)) && answered.Before(s.end.Add(time.Second))
	})
}

// deliveries returns all deliveries in the order of their ids, each with its arrivals, and the digests of each
// receiver. Those of net digests come apart: the first one of each has the arrivals of its message.
func (r *run) deliveries(
	db *dbmodel.DB, m *model,
) (single, net []*delivery, digests map[string][]arrival) {
	byID, byPlace, firsts := map[int64]*delivery{}, map[string]*delivery{}, map[string]*delivery{}
	place := func(receiver string, number int64) string { return fmt.Sprint(receiver, " ", number) }
	for _, d := range r.storedDeliveries(db, m) {
		byID[d.ID] = d
		if d.DigestID == 0 {
			single, byPlace[place(d.receiver, d.NotificationID)] = append(single, d), d
			continue
		}
		net = append(net, d)
		if at := place(d.receiver, d.DigestID); firsts[at] == nil {
			firsts[at] = d
		}
	}
	digests = map[string][]arrival{}
	for _, a := range r.network.all() {
		if d := byID[a.last]; d != nil && d.DigestID != 0 {
			a.net = d.DigestID
		}
		var of []*delivery
		switch {
		case a.isDigest():
			digests[a.receiver] = append(digests[a.receiver], a)
			if a.count == 0 {
				r.t.Errorf("%s got a digest without a number: %+v", a.receiver, a)
			}
			continue
		case a.net != 0:
			of = []*delivery{firsts[place(a.receiver, a.net)]}
		case a.delivery != 0:
			of = []*delivery{byID[a.delivery]}
		case a.notification != 0:
			of = []*delivery{byPlace[place(a.receiver, a.notification)]}
		}
		for _, id := range a.data {
			of = append(of, byPlace[place(a.receiver, id)])
		}
		for _, d := range of {
			if d == nil || d.receiver != a.receiver {
				r.t.Errorf("%s got a message that is no delivery for it: %+v", a.receiver, a)
				continue
			}
			d.arrivals = append(d.arrivals, a)
		}
	}
	return single, net, digests
}

// targets returns the receivers by their targets.
func (r *run) targets(db *dbmodel.DB) map[int64]string {
	key, err := base64.StdEncoding.DecodeString(secretKey)
	r.must(err)
	vault, err := dbmodel.OpenVault(context.Background(), db, key, nil)
	r.must(err)
	out := map[int64]string{}
	r.each(db, `SELECT id, channel, address FROM targets`, func(scan func(...any)) {
		var id int64
		var of rule.Channel
		var sealed []byte
		scan(&id, &of, &sealed)
		address, err := vault.OpenAddress(of, sealed)
		r.must(err)
		out[id] = strings.ToLower(strings.TrimPrefix(address, r.network.URL))
	})
	return out
}

// storedDeliveries reads all deliveries in the order of their ids.
func (r *run) storedDeliveries(db *dbmodel.DB, m *model) (all []*delivery) {
	notifications := map[int64]*dbmodel.Notification{}
	for i := range m.stored {
		notifications[m.stored[i].ID] = &m.stored[i]
	}
	digests := map[int64]*netDigest{}
	for _, d := range m.digests {
		digests[d.id] = d
	}
	r.each(db, `SELECT id, notification_id, target_id, state, last_error, coalesce(digest_id, 0), source_id
		FROM deliveries ORDER BY id`, func(scan func(...any)) {
		d := new(delivery)
		scan(&d.ID, &d.NotificationID, &d.TargetID, &d.State, &d.LastError, &d.DigestID, &d.Holder.ID)
		d.receiver, d.notification = m.receivers[d.TargetID], notifications[d.NotificationID]
		if digest := digests[d.DigestID]; digest != nil {
			digest.to[d.receiver] = append(digest.to[d.receiver], d)
		}
		all = append(all, d)
	})
	return all
}

// checkDeliveries checks that each notification is delivered once to each of its recipients, as it is or in one digest.
func (r *run) checkDeliveries(db *dbmodel.DB, stored []dbmodel.Notification) {
	m := r.readModel(db, stored)
	single, net, digests := r.deliveries(db, m)
	got := map[int64][]string{}
	for _, d := range single {
		got[d.NotificationID] = append(got[d.NotificationID], d.receiver)
	}
	for i := range stored {
		n := &stored[i]
		want := r.recipients(m, n)
		slices.Sort(got[n.ID])
		if !slices.Equal(want, got[n.ID]) {
			r.t.Errorf("notification %d (%s %s) is for %v, want %v", n.ID, n.Type, n.Name, got[n.ID], want)
		}
	}
	r.checkPaused(m)
	r.checkSchedules(m)
	r.checkPauses(m)
	copies := r.checkNetDigests(m)
	byReceiver := map[string][]*delivery{}
	for _, d := range single {
		copies += r.checkDelivery(d, digests[d.receiver])
		byReceiver[d.receiver] = append(byReceiver[d.receiver], d)
	}
	for receiver, list := range byReceiver {
		copies += r.checkDigests(receiver, list, digests[receiver])
		r.checkOrder(m, receiver, list)
	}
	all := slices.Concat(single, net)
	r.checkWaits()
	r.checkFailuresAreNotified(all, stored)
	outcomes, states, digested := map[outcome]int{}, map[dbmodel.State]int{}, 0
	for _, a := range r.network.all() {
		outcomes[a.outcome]++
		if a.isDigest() && a.outcome == taken {
			digested++
		}
	}
	for _, d := range all {
		states[d.State]++
	}
	r.t.Logf("messages: %v; %d of those taken were digests", outcomes, digested)
	r.t.Logf("deliveries: %v; %d copies; Redis was lost %d times", states, copies, len(r.losses))
}

// checkNetDigests checks that each net digest is for those who should get it, and delivered to each of them as one
// message. It returns how many copies of it were accepted.
func (r *run) checkNetDigests(m *model) (copies int) {
	for _, digest := range m.digests {
		for receiver, parts := range digest.to {
			if !digest.checked[receiver] {
				r.t.Errorf("%s got digest %d (%s), which is not for it", receiver, digest.id, digest.Occasion)
			}
			for _, d := range parts[1:] {
				if d.State != parts[0].State {
					r.t.Errorf("digest %d is %s and %s for %s", digest.id, parts[0].State, d.State, receiver)
				}
			}
			copies += r.checkDelivery(parts[0], nil)
		}
	}
	return copies
}

// checkDelivery compares one delivery with its arrivals and returns how many copies of it were accepted.
func (r *run) checkDelivery(d *delivery, digests []arrival) (copies int) {
	var last *arrival // with a final answer
	took, excused := 0, false
	answered := slices.ContainsFunc(digests, func(a arrival) bool { return a.outcome == taken || a.outcome == refused })
	for i := range d.arrivals {
		a := &d.arrivals[i]
		if last != nil && !r.excused(last.answered) {
			r.t.Errorf("delivery %d to %s arrives again at %s, %s after it was %s, without a fault",
				d.ID, d.receiver, r.since(a.at), a.at.Sub(last.answered), last.outcome)
		}
		if a.outcome == taken || a.outcome == refused {
			last, answered = a, true
			excused = excused || r.excused(a.answered)
		}
		if a.outcome == taken {
			took++
		}
	}
	switch {
	case d.State == dbmodel.Sent && answered:
	case d.State == dbmodel.Failed && answered && d.LastError != "" && (took == 0 || excused):
	default:
		r.t.Errorf("delivery %d to %s is %s (%q), and its arrivals are %+v",
			d.ID, d.receiver, d.State, d.LastError, d.arrivals)
	}
	return max(took-1, 0)
}

// checkDigests checks that the digests of a receiver hold all sent deliveries that did not arrive alone, and returns
// how many copies they held.
func (r *run) checkDigests(receiver string, list []*delivery, digests []arrival) (copies int) {
	within := 0
	for _, d := range list {
		alone := slices.ContainsFunc(d.arrivals, func(a arrival) bool { return a.outcome == taken })
		if d.State == dbmodel.Sent && !alone {
			within++
		}
	}
	digested, excused := 0, false
	for _, a := range digests {
		if a.outcome == taken {
			digested += a.count
		}
		excused = excused || r.excused(a.answered)
	}
	for _, d := range list {
		for _, a := range d.arrivals {
			excused = excused || a.outcome == taken && r.excused(a.answered)
		}
	}
	if digested < within || digested > within && !excused {
		r.t.Errorf("%s: the digests hold %d notifications, and %d that were sent did not arrive alone",
			receiver, digested, within)
	}
	return digested - within
}

// checkOrder checks that deliveries about one observation, title or gate arrive in order. What a pause held back goes
// after its end, and what waits for a slot may be overtaken by what goes at once.
func (r *run) checkOrder(m *model, receiver string, list []*delivery) {
	if slices.ContainsFunc(r.plan.installation.subscriptions, func(s *subscription) bool {
		return s.AtOnce.MinSeverity != "" && slices.ContainsFunc(s.Contacts, func(c rule.Contact) bool {
			return receivers[c.Target-1] == receiver
		})
	}) {
		return
	}
	came := slices.DeleteFunc(slices.Clone(list), func(d *delivery) bool {
		held, _ := m.isHeld(d.notification)
		return held || len(d.arrivals) == 0
	})
	slices.SortStableFunc(came, func(a, b *delivery) int { return a.arrivals[0].at.Compare(b.arrivals[0].at) })
	last := map[string]*delivery{}
	for _, d := range came {
		thing := thingOf(d.notification)
		if thing == "" {
			continue
		}
		if before := last[thing]; before != nil && before.NotificationID > d.NotificationID {
			r.t.Errorf("%s, %s: notification %d arrived at %s, after %d at %s", receiver, thing,
				d.NotificationID, r.since(d.arrivals[0].at), before.NotificationID, r.since(before.arrivals[0].at))
		}
		last[thing] = d
	}
}

// besideOthers is how many messages without a pace may be under way to a receiver beside another one.
const besideOthers = 3

// checkWaits checks that no message is sent before the end of a Retry-After that could be recorded. Those that were
// under way to a receiver without a pace, when it asked for that, may arrive.
func (r *run) checkWaits() {
	until, asked, early := map[string]time.Time{}, map[string]time.Time{}, map[string]int{}
	all := r.network.all()
	slices.SortStableFunc(all, func(a, b arrival) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	for _, a := range all {
		beside := 0
		if strings.HasPrefix(a.receiver, "/slack/") {
			beside = besideOthers
		}
		if !a.at.Before(until[a.receiver]) {
			early[a.receiver] = 0
		} else if early[a.receiver]++; early[a.receiver] > beside && !r.excused(asked[a.receiver]) {
			r.t.Errorf("%s gets a message at %s, %s before the end of its Retry-After",
				a.receiver, r.since(a.at), until[a.receiver].Sub(a.at))
		}
		if a.wait > 0 {
			asked[a.receiver], until[a.receiver] = a.answered, a.answered.Add(a.wait)
		}
	}
}

// checkFailuresAreNotified checks that a receiver that refuses messages is notified once, until it accepts one again.
func (r *run) checkFailuresAreNotified(all []*delivery, stored []dbmodel.Notification) {
	failing, spells := map[string]bool{}, map[string]int{} // by receiver
	for _, d := range all {
		if d.State == dbmodel.Failed && !d.notification.Own {
			failing[d.receiver] = true
		}
	}
	refuses := map[string]bool{}
	for _, a := range r.network.all() {
		if a.outcome == refused && !refuses[a.receiver] {
			spells[a.receiver]++
		}
		if a.outcome == refused || a.outcome == taken {
			refuses[a.receiver] = a.outcome == refused
		}
	}
	for _, receiver := range receivers {
		shown := receiver
		if strings.HasPrefix(receiver, "/") {
			shown = channel.RedactURL(r.network.URL + receiver)
		}
		count := 0
		for i := range stored {
			n := &stored[i]
			named := strings.Contains(strings.ToLower(n.Message), " to "+strings.ToLower(shown)+":")
			if n.Own && n.Name == "DeliveryFailed" && named {
				count++
			}
		}
		if count > spells[receiver] || failing[receiver] && count == 0 {
			r.t.Errorf("%s began to refuse %d times, which is notified %d times", receiver, spells[receiver], count)
		}
	}
}

func (r *run) since(at time.Time) string {
	return fmt.Sprintf("%.1f s", at.Sub(r.began).Seconds())
}
