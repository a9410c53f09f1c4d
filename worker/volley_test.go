package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// sending is a channel.Sender that gets the delivery of a message.
type sending func(delivery int64) error

func (s sending) Send(_ context.Context, _ channel.Target, m *channel.Message) error {
	var id int64
	if _, err := fmt.Sscanf(m.ID, "delivery-%d", &id); err != nil {
		return err
	}
	return s(id)
}

// lease returns a drain that has the lease of the only target, so that the worker sends nothing to it.
func (e *env) lease() *drain {
	e.t.Helper()
	var id int64
	if err := e.db.QueryRowContext(e.t.Context(), "SELECT id FROM targets").Scan(&id); err != nil {
		e.t.Fatal(err)
	}
	lease, err := dbmodel.TakeTarget(e.t.Context(), e.db, id, "test")
	if err != nil || !lease.Mine {
		e.t.Fatalf("lease: %+v, %v", lease, err)
	}
	turn, err := e.worker.turns.begin(e.t.Context(), false)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(turn.give)
	settings, err := dbmodel.LoadSettings(e.t.Context(), e.db)
	if err != nil {
		e.t.Fatal(err)
	}
	leased, release := e.worker.leases.hold(e.t.Context(), dbmodel.HeldLease{TargetID: id, Owner: "test"})
	e.t.Cleanup(release)
	return &drain{
		w: e.worker, target: &lease.Target, owner: "test", leased: leased, turn: turn, settings: settings,
		address: e.receiver.URL, renewed: time.Now(),
	}
}

// volleyOf returns a volley of notifications, whose ids are those of their deliveries too.
func (d *drain) volleyOf(list ...*dbmodel.Notification) *volley {
	waiting, byID := make([]dbmodel.PendingDelivery, len(list)), map[int64]*dbmodel.Notification{}
	for i, n := range list {
		waiting[i], byID[n.ID] = dbmodel.PendingDelivery{ID: n.ID, NotificationID: n.ID}, n
	}
	return d.patientVolley(waiting, byID)
}

// patientVolley returns a volley that has as much time as it takes.
func (d *drain) patientVolley(waiting []dbmodel.PendingDelivery, of map[int64]*dbmodel.Notification) *volley {
	v := d.newVolley(waiting, of)
	v.began = time.Now().Add(time.Hour)
	return v
}

// waitingVolley returns a volley of all that waits for the target of d.
func (e *env) waitingVolley(d *drain) *volley {
	e.t.Helper()
	waiting, err := dbmodel.PendingDeliveries(e.t.Context(), e.db, d.target.ID, mostAhead)
	if err != nil {
		e.t.Fatal(err)
	}
	var ids []int64
	for _, one := range waiting {
		ids = append(ids, one.NotificationID)
	}
	notifications, err := dbmodel.NotificationsByID(e.t.Context(), e.db, ids)
	if err != nil {
		e.t.Fatal(err)
	}
	return d.patientVolley(waiting, notifications)
}

// failed waits until a message of the volley was not taken.
func (v *volley) failed() {
	for failed := false; !failed; runtime.Gosched() {
		v.mu.Lock()
		failed = len(v.refused) > 0 || v.fault != nil
		v.mu.Unlock()
	}
}

// someThing is a notification about one of a few things, which have equal numbers and names.
func someThing(id int64, random *rand.Rand) *dbmodel.Notification {
	n := &dbmodel.Notification{ID: id, Name: fmt.Sprint("thing ", random.IntN(2)), ProductID: new(random.Int64N(2))}
	switch random.IntN(4) {
	case 0:
		n.Type, n.Event, n.ObservationID = rule.TypeObservation, rule.EventNew, new(random.Int64N(2))
	case 1:
		n.Type, n.Event = rule.TypeObservationTitle, rule.EventNew
	case 2:
		n.Type, n.Event = rule.TypeSecurityGate, rule.EventFailed
	default:
		n.Type = rule.TypeException
	}
	return n
}

// TestOrderSideBySide: messages about one thing go one after the other, in order, whatever goes beside them.
func TestOrderSideBySide(t *testing.T) {
	t.Parallel()
	const all = 3000
	random := rand.New(rand.NewPCG(1, 2))
	var list []*dbmodel.Notification
	things := map[int64]string{} // by delivery
	for id := int64(1); id <= all; id++ {
		n := someThing(id, random)
		list = append(list, n)
		switch n.Type {
		case rule.TypeObservation:
			things[id] = fmt.Sprint(n.Type, *n.ObservationID)
		case rule.TypeSecurityGate:
			things[id] = fmt.Sprint(n.Type, *n.ProductID)
		default:
			things[id] = fmt.Sprint(n.Type, n.Name)
		}
	}
	var mu sync.Mutex
	underWay, last, sent, most := map[string]bool{}, map[string]int64{}, 0, 0
	e := newEnv(t, testenv.SQLiteDB(t), func(w *Worker) {
		w.Senders[rule.Slack] = sending(func(delivery int64) error {
			thing := things[delivery]
			mu.Lock()
			if underWay[thing] || last[thing] > delivery {
				t.Errorf("%d about %s goes while %d is under way: %v", delivery, thing, last[thing], underWay[thing])
			}
			underWay[thing], last[thing] = true, delivery
			sent++
			most = max(most, len(underWay))
			yields := random.IntN(20)
			mu.Unlock()
			for range yields {
				runtime.Gosched()
			}
			mu.Lock()
			defer mu.Unlock()
			delete(underWay, thing)
			return nil
		})
	})
	e.product(1, "/a")
	v := e.lease().volleyOf(list...)
	v.send()
	if next, err := v.d.recordVolley(v); next != goOn || err != nil {
		t.Errorf("recorded: %v, %v", next, err)
	}
	if sent != all || v.sent != all || len(v.waiting) > 0 || most != sideBySide {
		t.Errorf("sent %d messages, counted %d; %d at once, want %d", sent, v.sent, most, sideBySide)
	}
}

// TestMayBegin: what goes beside a message that is under way.
func TestMayBegin(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.SQLiteDB(t), nil)
	e.product(1, "/a")
	d := e.lease()
	at := time.Now()
	of := func(id int64, after time.Duration) *dbmodel.Notification {
		return &dbmodel.Notification{ID: id, Type: rule.TypeObservation, ObservationID: &id, CreatedAt: at.Add(after)}
	}
	for name, test := range map[string]struct {
		other *dbmodel.Notification
		taken bool // the receiver has taken a message
		want  bool
	}{
		"something else":                       {of(2, 0), true, true},
		"before the first is taken":            {of(2, 0), false, false},
		"what happened within a second":        {of(2, swapTime), true, true},
		"what happened later":                  {of(2, swapTime+1), true, false},
		"what was stored later, and is older":  {of(2, -swapTime), true, true},
		"the clock was set back":               {of(2, -swapTime-1), true, false},
		"the same":                             {of(1, 0), true, false},
		"a title with the number of the first": {&dbmodel.Notification{ID: 2, Type: rule.TypeObservationTitle, CreatedAt: at}, true, true},
	} {
		d.taken = test.taken
		v := d.volleyOf(of(1, 0), test.other)
		if _, found := v.next(); !found {
			t.Fatalf("%s: the first may not begin", name)
		}
		if got := v.mayBegin(v.waiting[0]); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestMailsGoOneByOne: a mail server counts connections.
func TestMailsGoOneByOne(t *testing.T) {
	t.Parallel()
	for c, want := range map[rule.Channel]int{rule.Email: 1, rule.Slack: sideBySide, rule.MSTeams: sideBySide} {
		d := &drain{target: &dbmodel.Target{Channel: c}}
		if got := d.newVolley(nil, nil).most; got != want {
			t.Errorf("%s: %d messages at once, want %d", c, got, want)
		}
	}
}

// TestFailureSideBySide: behind a message that is not taken none begins. Those beside it end and are recorded, each with
// its own result, and the target rests for as long as one of the answers asks.
func TestFailureSideBySide(t *testing.T) {
	t.Parallel()
	again := &channel.Error{Kind: channel.Temporary, Reason: "try again", RetryAfter: time.Minute}
	limited := &channel.Error{Kind: channel.RateLimited, Reason: "too many", RetryAfter: 10 * time.Minute}
	refused := &channel.Error{Kind: channel.Permanent, Reason: "never"}
	for name, test := range map[string]struct {
		results []error // of the second message and those that go beside it; nil: it is taken
		panics  bool    // the last of these panics
		want    []string
		least   time.Duration // how long the target rests
		goesOn  bool
	}{
		"one of several": {
			results: []error{nil, limited, nil, nil}, least: 9 * time.Minute,
			want: []string{"sent 1 ", "pending 1 too many", "sent 1 ", "sent 1 "},
		},
		"several": {
			results: []error{limited, again, refused, nil}, least: 9 * time.Minute,
			want: []string{"pending 1 too many", "pending 1 try again", "failed 1 never", "sent 1 "},
		},
		"for good": {
			results: []error{nil, refused, nil, nil}, goesOn: true,
			want: []string{"sent 1 ", "failed 1 never", "sent 1 ", "sent 1 "},
		},
		"a panic": {
			results: []error{nil, refused, nil, nil}, panics: true,
			want: []string{"sent 1 ", "failed 1 never", "sent 1 ", "pending 0 "},
		},
		"a panic beside an answer that asks for longer": {
			results: []error{nil, limited, nil, nil}, panics: true, least: 9 * time.Minute,
			want: []string{"sent 1 ", "pending 1 too many", "sent 1 ", "pending 0 "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
				const all = 9
				var v *volley
				var first int64 // delivery
				var mu sync.Mutex
				begun, together := 0, make(chan struct{})
				e := newEnv(t, db, func(w *Worker) {
					w.Senders[rule.Slack] = sending(func(delivery int64) error {
						mu.Lock()
						begun++
						place := begun
						mu.Unlock()
						switch place {
						case 1:
							return nil
						case 1 + sideBySide:
							close(together)
						}
						<-together
						number := int(delivery - first) // 0 is the one before them
						switch {
						case test.panics && number == sideBySide:
							panic("a fault")
						case test.results[number-1] == nil:
							v.failed()
						}
						return test.results[number-1]
					})
				})
				e.settings(func(s *dbmodel.Settings) { s.DigestThreshold = 0 })
				e.product(1, "/a")
				d := e.lease()
				var list []dbmodel.Observation
				for i := range int64(all) {
					list = append(list, observation(i+1, 1, rule.High))
				}
				e.accept(list...)
				e.waitFor("all deliveries are stored", func() bool { return len(e.deliveries(dbmodel.Pending)) == all })
				v = e.waitingVolley(d)
				first = v.waiting[0].delivery.ID
				v.send()
				next, err := d.recordVolley(v)
				if want := map[bool]nextStep{true: goOn, false: stop}[test.goesOn]; next != want || (err != nil) != test.panics {
					t.Errorf("then: %v, %v", next, err)
				}
				if err != nil { // as targetDrain goes on
					if err := e.worker.restTarget(t.Context(), d.target.ID, d.yield(err)); err != nil {
						t.Error(err)
					}
				}
				if begun != 1+sideBySide {
					t.Errorf("%d messages were begun", begun)
				}
				var got []string
				var rests time.Duration
				for _, one := range slices.Backward(e.deliveries("")) {
					if one.TargetID != d.target.ID {
						continue
					}
					got = append(got, fmt.Sprint(one.State, " ", one.Attempts, " ", one.LastError))
					if one.NextAttemptAt != nil {
						rests = time.Until(*one.NextAttemptAt)
					}
				}
				want := slices.Concat([]string{"sent 1 "}, test.want, slices.Repeat([]string{"pending 0 "}, all-1-sideBySide))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("deliveries (-want +got):\n%s", diff)
				}
				if rests < test.least || test.least == 0 && rests > 0 {
					t.Errorf("the target rests for %s", rests)
				}
			})
		})
	}
}
