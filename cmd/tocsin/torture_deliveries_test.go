package main

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

// delivery is a stored delivery, and what arrived of it alone.
type delivery struct {
	dbmodel.Delivery
	notification *dbmodel.Notification
	receiver     string
	arrivals     []arrival
}

// margin is how long after an answer it is recorded, on a machine that has much else to do.
const margin = 5 * time.Second

// excused reports whether what was answered then may not have been recorded.
func (tt *torture) excused(answered time.Time) bool {
	return slices.ContainsFunc(tt.spans, func(s span) bool {
		return answered.After(s.begin.Add(-margin)) && answered.Before(s.end.Add(time.Second))
	})
}

// deliveries reads all deliveries, by id, and finds what arrived of each.
func (tt *torture) deliveries(db *dbmodel.DB, stored []dbmodel.Notification) (all []*delivery, digests map[string][]arrival) {
	ctx := context.Background()
	key, err := base64.StdEncoding.DecodeString(secretKey)
	if err != nil {
		tt.t.Fatal(err)
	}
	vault, err := dbmodel.OpenVault(ctx, db, key, nil)
	if err != nil {
		tt.t.Fatal(err)
	}
	notifications := map[int64]*dbmodel.Notification{}
	for i := range stored {
		notifications[stored[i].ID] = &stored[i]
	}
	rows, err := db.QueryContext(ctx, "SELECT d.id, d.notification_id, d.state, d.last_error, t.channel, t.address FROM deliveries d JOIN targets t ON t.id = d.target_id ORDER BY d.id")
	if err != nil {
		tt.t.Fatal(err)
	}
	defer rows.Close()
	byID, byPlace := map[int64]*delivery{}, map[string]*delivery{}
	place := func(receiver string, notification int64) string { return fmt.Sprint(receiver, " ", notification) }
	for rows.Next() {
		d := new(delivery)
		if err := rows.Scan(&d.ID, &d.NotificationID, &d.State, &d.LastError, &d.Channel, &d.Address); err != nil {
			tt.t.Fatal(err)
		}
		address, err := vault.OpenAddress(d.Channel, d.Address)
		if err != nil {
			tt.t.Fatal(err)
		}
		d.receiver, d.notification = strings.ToLower(strings.TrimPrefix(address, tt.far.URL)), notifications[d.NotificationID]
		all = append(all, d)
		byID[d.ID], byPlace[place(d.receiver, d.NotificationID)] = d, d
	}
	if err := rows.Err(); err != nil {
		tt.t.Fatal(err)
	}
	digests = map[string][]arrival{}
	for _, a := range tt.far.all() {
		d := byPlace[place(a.receiver, a.notification)]
		if a.delivery != 0 {
			d = byID[a.delivery]
		}
		switch {
		case a.isDigest():
			digests[a.receiver] = append(digests[a.receiver], a)
		case d == nil || d.receiver != a.receiver:
			tt.t.Errorf("%s got what is no delivery for it: %+v", a.receiver, a)
		default:
			d.arrivals = append(d.arrivals, a)
		}
	}
	return all, digests
}

// checkDeliveries wants each notification delivered to whom the settings name, once.
func (tt *torture) checkDeliveries(db *dbmodel.DB, stored []dbmodel.Notification) {
	all, digests := tt.deliveries(db, stored)
	got := map[int64][]string{}
	for _, d := range all {
		got[d.NotificationID] = append(got[d.NotificationID], d.receiver)
	}
	for i := range stored {
		n := &stored[i]
		want := tt.receiversOf(n)
		slices.Sort(got[n.ID])
		if !slices.Equal(want, got[n.ID]) {
			tt.t.Errorf("notification %d (%s %s) is for %v, want %v", n.ID, n.Type, n.Name, got[n.ID], want)
		}
	}
	copies := 0
	byReceiver := map[string][]*delivery{}
	for _, d := range all {
		copies += tt.checkDelivery(d, digests[d.receiver])
		byReceiver[d.receiver] = append(byReceiver[d.receiver], d)
	}
	for receiver, list := range byReceiver {
		copies += tt.checkDigests(receiver, list, digests[receiver])
		tt.checkOrder(receiver, list)
	}
	tt.checkWaits()
	tt.checkFailuresAreTold(all, stored)
	outcomes, states, digested := map[outcome]int{}, map[dbmodel.State]int{}, 0
	for _, a := range tt.far.all() {
		outcomes[a.outcome]++
		if a.isDigest() && a.outcome == taken {
			digested++
		}
	}
	for _, d := range all {
		states[d.State]++
	}
	tt.t.Logf("messages: %v; %d of those taken were digests", outcomes, digested)
	tt.t.Logf("deliveries: %v; %d copies; Redis was lost %d times", states, copies, len(tt.losses))
}

// receiversOf are those whom the settings name, sorted.
func (tt *torture) receiversOf(n *dbmodel.Notification) []string {
	p := &tt.plan.places
	switch n.Type {
	case rule.TypeObservation, rule.TypeSecurityGate:
		if a := p.applied(*n.ProductID); !a.Paused {
			return told(a.Contacts)
		}
		return nil
	case rule.TypeObservationTitle:
		return told(p.titles.Contacts)
	case rule.TypeException, rule.TypeTask:
	}
	return told(p.exceptions)
}

// checkDelivery holds one delivery against what arrived, and returns how many copies of it were taken.
func (tt *torture) checkDelivery(d *delivery, digests []arrival) (copies int) {
	var last *arrival // that was answered for good
	took, excused := 0, false
	told := slices.ContainsFunc(digests, func(a arrival) bool { return a.outcome == taken || a.outcome == refused })
	for i := range d.arrivals {
		a := &d.arrivals[i]
		if last != nil && !tt.excused(last.answered) {
			tt.t.Errorf("delivery %d to %s comes again at %s, %s after it was %s, and nothing had happened", d.ID, d.receiver, tt.since(a.at), a.at.Sub(last.answered), last.outcome)
		}
		if a.outcome == taken || a.outcome == refused {
			last, told = a, true
			excused = excused || tt.excused(a.answered)
		}
		if a.outcome == taken {
			took++
		}
	}
	switch {
	case d.State == dbmodel.Sent && told:
	case d.State == dbmodel.Failed && told && d.LastError != "" && (took == 0 || excused):
	default:
		tt.t.Errorf("delivery %d to %s is %s (%q), and arrived like this: %+v", d.ID, d.receiver, d.State, d.LastError, d.arrivals)
	}
	return max(took-1, 0)
}

// checkDigests wants all that was sent and did not arrive alone in the digests of its receiver, and returns how many copies
// were in these.
func (tt *torture) checkDigests(receiver string, list []*delivery, digests []arrival) (copies int) {
	within := 0
	for _, d := range list {
		if d.State == dbmodel.Sent && !slices.ContainsFunc(d.arrivals, func(a arrival) bool { return a.outcome == taken }) {
			within++
		}
	}
	told, excused := 0, false
	for _, a := range digests {
		if a.outcome == taken {
			told += a.count
		}
		excused = excused || tt.excused(a.answered)
	}
	for _, d := range list {
		for _, a := range d.arrivals {
			excused = excused || a.outcome == taken && tt.excused(a.answered)
		}
	}
	if told < within || told > within && !excused {
		tt.t.Errorf("%s: digests tell of %d notifications, and %d that were sent did not come alone", receiver, told, within)
	}
	return told - within
}

// checkOrder wants what is about one observation, title or gate in the order in which it happened.
func (tt *torture) checkOrder(receiver string, list []*delivery) {
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
			tt.t.Errorf("%s, %s: notification %d came at %s, after %d at %s", receiver, thing, d.NotificationID, tt.since(d.arrivals[0].at), before.NotificationID, tt.since(before.arrivals[0].at))
		}
		last[thing] = d
	}
}

// checkWaits wants nobody told before the time that he asked for, where that could be recorded.
func (tt *torture) checkWaits() {
	until, asked := map[string]time.Time{}, map[string]time.Time{}
	all := tt.far.all()
	slices.SortStableFunc(all, func(a, b arrival) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	for _, a := range all {
		if a.at.Before(until[a.receiver]) && !tt.excused(asked[a.receiver]) {
			tt.t.Errorf("%s is told at %s, %s before the time that it asked for", a.receiver, tt.since(a.at), until[a.receiver].Sub(a.at))
		}
		if a.wait > 0 {
			asked[a.receiver], until[a.receiver] = a.answered, a.answered.Add(a.wait)
		}
	}
}

// checkFailuresAreTold wants one notification of a receiver who refuses, until he takes something again.
func (tt *torture) checkFailuresAreTold(all []*delivery, stored []dbmodel.Notification) {
	failing, spells := map[string]bool{}, map[string]int{} // by receiver
	for _, d := range all {
		if d.State == dbmodel.Failed && !d.notification.Own {
			failing[d.receiver] = true
		}
	}
	refuses := map[string]bool{}
	for _, a := range tt.far.all() {
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
			shown = channel.RedactURL(tt.far.URL + receiver)
		}
		told := 0
		for i := range stored {
			if n := &stored[i]; n.Own && n.Name == "DeliveryFailed" && strings.Contains(strings.ToLower(n.Message), " to "+strings.ToLower(shown)+":") {
				told++
			}
		}
		if told > spells[receiver] || failing[receiver] && told == 0 {
			tt.t.Errorf("%s began to refuse %d times, and that is told %d times", receiver, spells[receiver], told)
		}
	}
}

func (tt *torture) since(at time.Time) string {
	return fmt.Sprintf("%.1f s", at.Sub(tt.began).Seconds())
}
