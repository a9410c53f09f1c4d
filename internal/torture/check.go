package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
	"github.com/seed91453169/tocsin/internal/testenv/program"
	"github.com/seed91453169/tocsin/rule"
)

// settle waits until every event is evaluated, every pause over and every delivery sent or failed, the last slots too.
func (r *run) settle() {
	r.t.Helper()
	r.logf("all events are reported")
	began := time.Now()
	r.idle()
	for i := range r.plan.installation.products {
		setPause(r, "products", i, nil)
	}
	r.waitFor("pauses end", `
		SELECT (SELECT count(*) FROM ended_pauses) + (SELECT count(*) FROM notifications WHERE held_back)`)
	r.idle()
	for left := int64(1); left > 0; { // a slot that had come before may not be about what a pause held back until now
		r.slotsCome()
		r.waitFor("the last slots", `SELECT count(*) FROM subscriptions WHERE next_slot_at <= clock_timestamp()`)
		var err error
		left, err = r.count(`SELECT count(*) FROM subscriptions WHERE next_slot_at IS NOT NULL
			AND reported < (SELECT max(greatest(id, released)) FROM notifications)`)
		r.must(err)
	}
	r.idle()
	last := slices.MaxFunc(r.network.all(), func(a, b arrival) int { return a.at.Compare(b.at) })
	r.logf("idle after %s; the last message was for %s", time.Since(began).Round(time.Millisecond), last.receiver)
}

// waitFor waits until a query gives 0.
func (r *run) waitFor(what, query string) {
	r.t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) { //nolint:forbidigo // poll
		left, err := r.count(query)
		if err == nil && left == 0 {
			return
		}
		if time.Since(began) > giveUpTime {
			r.t.Fatalf("%s: %d are left (%v)", what, left, err)
		}
	}
}

// idle waits until every event is evaluated and every delivery is sent or failed.
func (r *run) idle() {
	r.t.Helper()
	var s program.Status
	for before, since := -1, time.Now(); ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // poll
		code, answer, err := r.client(r.slots["web"][0]).Try(http.MethodGet, "/api/v1/status", nil)
		if err == nil && code == http.StatusOK {
			err = json.Unmarshal(answer, &s)
		}
		left := s.Outbox + s.PendingDeliveries
		if err == nil && code == http.StatusOK && left == 0 {
			break
		}
		if left != before {
			before, since = left, time.Now()
		}
		if time.Since(since) > giveUpTime {
			r.t.Fatalf("no progress for %s; left: %+v (%d %v)", giveUpTime, s, code, err)
		}
	}
	if s.FailedEvents > 0 {
		r.t.Errorf("%d events are set aside", s.FailedEvents)
	}
}

// notified is the stored notifications, each kind by the thing that it is about.
type notified struct {
	observations map[int64][]dbmodel.Notification
	titles       map[string][]dbmodel.Notification
	gates        map[int64][]rule.Event            // by product
	exceptions   map[string][]dbmodel.Notification // by class
}

// check compares the database and the arrivals with the plan.
func (r *run) check() {
	r.t.Helper()
	db, err := database.Open(r.pg.URL(), 2)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var stored []dbmodel.Notification
	if err := db.NewSelect().Model(&stored).Order("id").Scan(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	all := r.sort(stored)
	r.checkObservations(all.observations)
	r.checkTitles(all.titles)
	r.checkGates(all.gates)
	r.checkExceptions(db, all.exceptions)
	l := r.load
	r.t.Logf("accepted: %d calls in %s, %d of them repeated; %d observations (%d imports), %d gates, %d exceptions",
		r.accepted.Load(), time.Since(r.began).Round(time.Second), l.repeated.Load(),
		l.observations.Load(), l.imports.Load(), l.gates.Load(), l.faults.Load())
	r.checkDeliveries(db, stored)
	r.t.Logf("the longest time from SIGTERM to the end: %s", time.Duration(r.slowestEnd.Load()).Round(time.Millisecond))
}

// sort sorts the stored notifications and logs how many there are of each kind. Of Tocsin's own failures only those of
// deliveries are expected.
func (r *run) sort(stored []dbmodel.Notification) notified {
	all := notified{
		map[int64][]dbmodel.Notification{},
		map[string][]dbmodel.Notification{},
		map[int64][]rule.Event{},
		map[string][]dbmodel.Notification{},
	}
	counts := map[string]int{}
	for _, n := range stored {
		kind := fmt.Sprint(n.Type, " ", n.Event)
		switch {
		case n.Own:
			if kind = "own failure: " + n.Name; n.Name != "DeliveryFailed" {
				r.t.Errorf("notification %d reports a failure of Tocsin: %s: %s\n%s", n.ID, n.Name, n.Message, n.Trace)
			}
		case n.Type == rule.TypeObservation:
			all.observations[*n.ObservationID] = append(all.observations[*n.ObservationID], n)
		case n.Type == rule.TypeObservationTitle:
			all.titles[n.Name] = append(all.titles[n.Name], n)
		case n.Type == rule.TypeSecurityGate:
			all.gates[*n.ProductID] = append(all.gates[*n.ProductID], n.Event)
		default:
			all.exceptions[n.Name] = append(all.exceptions[n.Name], n)
		}
		counts[kind]++
	}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		r.t.Logf("notified: %6d  %s", counts[kind], kind)
	}
	return all
}
