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
// receiver.
func (r *run) deliveries(
	db *dbmodel.DB, stored []dbmodel.Notification,
) (all []*delivery, digests map[string][]arrival) {
	all = r.storedDeliveries(db, stored)
	byID, byPlace := map[int64]*delivery{}, map[string]*delivery{}
	place := func(receiver string, notification int64) string { return fmt.Sprint(receiver, " ", notification) }
	for _, d := range all {
		byID[d.ID], byPlace[place(d.receiver, d.NotificationID)] = d, d
	}
	digests = map[string][]arrival{}
	for _, a := range r.network.all() {
		d := byPlace[place(a.receiver, a.notification)]
		if a.delivery != 0 {
			d = byID[a.delivery]
		}
		switch {
		case a.isDigest():
			digests[a.receiver] = append(digests[a.receiver], a)
		case d == nil || d.receiver != a.receiver:
			r.t.Errorf("%s got a message that is no delivery for it: %+v", a.receiver, a)
		default:
			d.arrivals = append(d.arrivals, a)
		}
	}
	return all, digests
}

// storedDeliveries reads all deliveries in the order of their ids.
func (r *run) storedDeliveries(db *dbmodel.DB, stored []dbmodel.Notification) (all []*delivery) {
	ctx := context.Background()
	key, err := base64.StdEncoding.DecodeString(secretKey)
	if err != nil {
		r.t.Fatal(err)
	}
	vault, err := dbmodel.OpenVault(ctx, db, key, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	notifications := map[int64]*dbmodel.Notification{}
	for i := range stored {
		notifications[stored[i].ID] = &stored[i]
	}
	const query = `SELECT d.id, d.notification_id, d.state, d.last_error, t.channel, t.address
		FROM deliveries d JOIN targets t ON t.id = d.target_id ORDER BY d.id`
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		d := new(delivery)
		if err := rows.Scan(&d.ID, &d.NotificationID, &d.State, &d.LastError, &d.Channel, &d.Address); err != nil {
			r.t.Fatal(err)
		}
		address, err := vault.OpenAddress(d.Channel, d.Address)
		if err != nil {
			r.t.Fatal(err)
		}
		d.receiver = strings.ToLower(strings.TrimPrefix(address, r.network.URL))
		d.notification = notifications[d.NotificationID]
		all = append(all, d)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// checkDeliveries checks that each notification is delivered once to each of its recipients.
func (r *run) checkDeliveries(db *dbmodel.DB, stored []dbmodel.Notification) {
	all, digests := r.deliveries(db, stored)
	got := map[int64][]string{}
	for _, d := range all {
		got[d.NotificationID] = append(got[d.NotificationID], d.receiver)
	}
	for i := range stored {
		n := &stored[i]
		want := r.recipients(n)
		slices.Sort(got[n.ID])
		if !slices.Equal(want, got[n.ID]) {
			r.t.Errorf("notification %d (%s %s) is for %v, want %v", n.ID, n.Type, n.Name, got[n.ID], want)
		}
	}
	copies := 0
	byReceiver := map[string][]*delivery{}
	for _, d := range all {
		copies += r.checkDelivery(d, digests[d.receiver])
		byReceiver[d.receiver] = append(byReceiver[d.receiver], d)
	}
	for receiver, list := range byReceiver {
		copies += r.checkDigests(receiver, list, digests[receiver])
		r.checkOrder(receiver, list)
	}
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

// recipients returns the receivers of a notification by the settings, sorted.
func (r *run) recipients(n *dbmodel.Notification) []string {
	p := &r.plan.installation
	switch n.Type {
	case rule.TypeObservation, rule.TypeSecurityGate:
		if a := p.applied(*n.ProductID); !a.Paused {
			return receiversOf(a.Contacts)
		}
		return nil
	case rule.TypeObservationTitle:
		return receiversOf(p.titles.Contacts)
	case rule.TypeException, rule.TypeTask:
	}
	return receiversOf(p.exceptions)
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

// checkOrder checks that deliveries about one observation, title or gate arrive in order.
func (r *run) checkOrder(receiver string, list []*delivery) {
	came := slices.DeleteFunc(slices.Clone(list), func(d *delivery) bool { return len(d.arrivals) == 0 })
	slices.SortFunc(came, func(a, b *delivery) int { return a.arrivals[0].at.Compare(b.arrivals[0].at) })
	last := map[string]*delivery{}
	for _, d := range came {
		n := d.notification
		var thing string
		switch n.Type {
		case rule.TypeObservation:
			thing = fmt.Sprint("observation ", *n.ObservationID)
		case rule.TypeObservationTitle:
			thing = "title " + n.Name
		case rule.TypeSecurityGate:
			thing = fmt.Sprint("gate of product ", *n.ProductID)
		default:
			continue
		}
		if before := last[thing]; before != nil && before.NotificationID > d.NotificationID {
			r.t.Errorf("%s, %s: notification %d arrived at %s, after %d at %s", receiver, thing,
				d.NotificationID, r.since(d.arrivals[0].at), before.NotificationID, r.since(before.arrivals[0].at))
		}
		last[thing] = d
	}
}

// checkWaits checks that no message is sent before the end of a Retry-After that could be recorded.
func (r *run) checkWaits() {
	until, asked := map[string]time.Time{}, map[string]time.Time{}
	all := r.network.all()
	slices.SortStableFunc(all, func(a, b arrival) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	for _, a := range all {
		if a.at.Before(until[a.receiver]) && !r.excused(asked[a.receiver]) {
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
