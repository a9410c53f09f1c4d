package rule_test

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/rule"
)

var (
	critical = state(rule.Critical, rule.Open, nil, false)
	high     = state(rule.High, rule.Open, nil, false)
	medium   = state(rule.Medium, rule.Open, nil, false)
	resolved = state(rule.High, rule.Resolved, nil, false)
)

// about makes notifications of observation 1 in product 7, numbered from 1; each is {event, before, after}.
func about(steps ...[3]any) []rule.Notification {
	var out []rule.Notification
	for i, s := range steps {
		before, _ := s[1].(*rule.Values)
		after, _ := s[2].(*rule.Values)
		out = append(out, rule.Notification{
			ID: int64(i + 1), Type: rule.TypeObservation, Event: s[0].(rule.Event), Product: 7, Thing: 1, Before: before, After: after,
		})
	}
	return out
}

func gates(before rule.Event, events ...rule.Event) []rule.Notification {
	var out []rule.Notification
	for i, e := range events {
		out = append(out, rule.Notification{ID: int64(i + 1), Type: rule.TypeSecurityGate, Event: e, Product: 7, Thing: 7, GateBefore: before})
		before = e
	}
	return out
}

// netChanges lists the net changes of notifications, which come in the order in which they were stored.
func netChanges(list []rule.Notification, sent func(*rule.Notification) bool) (changes []rule.NetChange) {
	rule.NetChanges(pointers(list), sent, func(c rule.NetChange) { changes = append(changes, c) }, func(rule.Failure) {})
	return changes
}

// pointers are the notifications of a list, thing by thing.
func pointers(list []rule.Notification) iter.Seq[*rule.Notification] {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b rule.Notification) int {
		return cmp.Or(strings.Compare(string(a.Type), string(b.Type)), int(a.Thing-b.Thing), strings.Compare(a.Name, b.Name))
	})
	return func(yield func(*rule.Notification) bool) {
		for i := range list {
			if !yield(&list[i]) {
				return
			}
		}
	}
}

// ids reports whether a notification is one of these.
func ids(list ...int64) func(*rule.Notification) bool {
	return func(n *rule.Notification) bool { return slices.Contains(list, n.ID) }
}

// TestTitlesWithOneHash are two: neither of them takes what the other one comes to.
func TestTitlesWithOneHash(t *testing.T) {
	t.Parallel()
	list := []rule.Notification{
		{ID: 1, Type: rule.TypeObservationTitle, Event: rule.EventNew, Thing: 4, Name: "a", After: high},
		{ID: 2, Type: rule.TypeObservationTitle, Event: rule.EventChanged, Thing: 4, Name: "b", Before: high, After: medium},
	}
	changes := netChanges(list, nil)
	if len(changes) != 2 {
		t.Errorf("%+v", changes)
	}
}

func TestNetChanges(t *testing.T) {
	t.Parallel()
	change := func(m rule.Move, before, after *rule.Values, last int64) []rule.NetChange {
		return []rule.NetChange{{Type: rule.TypeObservation, Product: 7, Thing: 1, Move: m, Before: before, After: after, Last: last}}
	}
	gate := func(before, after rule.Event, last int64) []rule.NetChange {
		return []rule.NetChange{{Type: rule.TypeSecurityGate, Product: 7, Thing: 7, Move: rule.MoveGate, GateBefore: before, Gate: after, Last: last}}
	}
	step := func(e rule.Event, before, after *rule.Values) [3]any { return [3]any{e, before, after} }
	for name, c := range map[string]struct {
		list []rule.Notification
		sent []int64
		want []rule.NetChange
	}{
		"nothing":            {},
		"new":                {about(step(rule.EventNew, nil, high)), nil, change(rule.MoveNew, nil, high, 1)},
		"new, changed":       {about(step(rule.EventNew, nil, high), step(rule.EventChanged, high, medium)), nil, change(rule.MoveNew, nil, medium, 2)},
		"new, dropped":       {about(step(rule.EventNew, nil, high), step(rule.EventDropped, high, resolved)), nil, nil},
		"worse":              {about(step(rule.EventChanged, high, critical)), nil, change(rule.MoveWorse, high, critical, 1)},
		"better":             {about(step(rule.EventChanged, high, medium)), nil, change(rule.MoveBetter, high, medium, 1)},
		"there and back":     {about(step(rule.EventChanged, high, critical), step(rule.EventChanged, critical, high)), nil, nil},
		"dropped":            {about(step(rule.EventDropped, high, resolved)), nil, change(rule.MoveDropped, high, resolved, 1)},
		"changed, dropped":   {about(step(rule.EventChanged, high, critical), step(rule.EventDropped, critical, resolved)), nil, change(rule.MoveDropped, high, resolved, 2)},
		"dropped, new again": {about(step(rule.EventDropped, high, resolved), step(rule.EventNew, nil, high)), nil, nil},
		"dropped, new worse": {about(step(rule.EventDropped, high, resolved), step(rule.EventNew, nil, critical)), nil, change(rule.MoveWorse, high, critical, 2)},
		"what a filter hid in between": {
			about(step(rule.EventChanged, high, critical), step(rule.EventChanged, medium, high)), nil, nil,
		},
		"sent at once": {about(step(rule.EventChanged, high, critical)), []int64{1}, nil},
		"sent at once, then better": {
			about(step(rule.EventChanged, high, critical), step(rule.EventChanged, critical, medium)),
			[]int64{1},
			change(rule.MoveBetter, critical, medium, 2),
		},
		"waits, then sent at once":        {about(step(rule.EventNew, nil, high), step(rule.EventChanged, high, critical)), []int64{2}, nil},
		"back to what was sent":           {about(step(rule.EventNew, nil, critical), step(rule.EventChanged, critical, high), step(rule.EventChanged, high, critical)), []int64{1}, nil},
		"new was sent, dropped since":     {about(step(rule.EventNew, nil, critical), step(rule.EventDropped, critical, resolved)), []int64{1}, change(rule.MoveDropped, critical, resolved, 2)},
		"dropped was sent, new since":     {about(step(rule.EventDropped, critical, resolved), step(rule.EventNew, nil, high)), []int64{1}, change(rule.MoveNew, nil, high, 2)},
		"gate failed":                     {gates(rule.NoEvent, rule.EventFailed), nil, gate(rule.EventNoResult, rule.EventFailed, 1)},
		"gate passed, failed, passed":     {gates(rule.EventFailed, rule.EventPassed, rule.EventFailed, rule.EventPassed), nil, gate(rule.EventFailed, rule.EventPassed, 3)},
		"gate failed, passed as before":   {gates(rule.EventPassed, rule.EventFailed, rule.EventPassed), nil, nil},
		"gate removed that never was":     {gates(rule.NoEvent, rule.EventPassed, rule.EventNoResult), nil, nil},
		"gate failed at once, passed":     {gates(rule.EventPassed, rule.EventFailed, rule.EventPassed), []int64{1}, gate(rule.EventFailed, rule.EventPassed, 2)},
		"gate passed, then failed (sent)": {gates(rule.EventFailed, rule.EventPassed, rule.EventFailed), []int64{2}, nil},
	} {
		got := netChanges(c.list, ids(c.sent...))
		if diff := gocmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWorse(t *testing.T) {
	t.Parallel()
	// Each is worse than the next one.
	order := []*rule.Values{
		state(rule.Critical, rule.Resolved, nil, false),
		state(rule.High, rule.Resolved, nil, true),
		state(rule.High, rule.Open, new(1), false),
		state(rule.High, rule.InReview, new(1), false),
		state(rule.High, rule.Open, new(2), false),
		state(rule.High, rule.Open, nil, false),
		state(rule.High, rule.Resolved, new(1), false),
		state(rule.High, rule.NotAffected, new(1), false),
		state(rule.SeverityUnknown, rule.Open, new(1), true),
	}
	for i, a := range order {
		for j, b := range order {
			if got := rule.Worse(*a, *b); got != (j < i) {
				t.Errorf("from %+v to %+v is worse: %v", a, b, got)
			}
		}
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	var list []rule.Notification
	add := func(n rule.Notification) {
		n.ID = int64(len(list) + 1)
		list = append(list, n)
	}
	observation := func(product, thing int64, e rule.Event, before, after *rule.Values) {
		add(rule.Notification{Type: rule.TypeObservation, Event: e, Product: product, Thing: thing, Before: before, After: after})
	}
	for i := range int64(30) { // of product 2, all High
		observation(2, 100+i, rule.EventNew, nil, high)
	}
	observation(3, 1, rule.EventDropped, critical, state(rule.Critical, rule.Resolved, nil, false))
	observation(1, 2, rule.EventChanged, high, medium)
	observation(1, 3, rule.EventChanged, high, critical)
	observation(1, 4, rule.EventNew, nil, state(rule.Critical, rule.Open, nil, true))
	add(rule.Notification{Type: rule.TypeObservationTitle, Event: rule.EventNew, Thing: 4, After: high})
	add(rule.Notification{Type: rule.TypeSecurityGate, Event: rule.EventPassed, Product: 1, Thing: 1, GateBefore: rule.EventFailed})
	add(rule.Notification{Type: rule.TypeSecurityGate, Event: rule.EventFailed, Product: 4, Thing: 4})
	add(rule.Notification{Type: rule.TypeException, Name: "KeyError", Occurrences: 1})
	add(rule.Notification{Type: rule.TypeTask, Name: "KeyError", Occurrences: 3})
	add(rule.Notification{Type: rule.TypeTask, Name: "KeyError", Occurrences: 2, Product: 1})
	add(rule.Notification{Type: rule.TypeTask, Name: "not sent", Occurrences: 99})

	d := rule.NewNetDigest(pointers(list), ids(int64(len(list))))
	type product struct {
		Product int64
		Counts  map[rule.Move]int
		Gate    rule.Event
		Named   []int64
	}
	var got []product
	for _, p := range d.Products {
		short := product{Product: p.Product, Counts: p.Counts}
		if p.Gate != nil {
			short.Gate = p.Gate.Gate
		}
		for _, c := range p.Named {
			short.Named = append(short.Named, c.Thing)
		}
		got = append(got, short)
	}
	var first18 []int64
	for i := range int64(18) {
		first18 = append(first18, 100+i)
	}
	want := []product{
		{4, map[rule.Move]int{rule.MoveGate: 1}, rule.EventFailed, nil},
		{1, map[rule.Move]int{rule.MoveNew: 1, rule.MoveWorse: 1, rule.MoveBetter: 1, rule.MoveGate: 1}, rule.EventPassed, []int64{4, 3}},
		{2, map[rule.Move]int{rule.MoveNew: 30}, "", first18},
		{0, map[rule.Move]int{rule.MoveNew: 1}, "", nil},
		{3, map[rule.Move]int{rule.MoveDropped: 1}, "", nil},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("products (-want +got):\n%s", diff)
	}
	failures := []rule.Failure{
		{Type: rule.TypeTask, Name: "KeyError", Count: 5, Last: int64(len(list) - 1)},
		{Type: rule.TypeException, Name: "KeyError", Count: 1, Last: int64(len(list) - 3)},
	}
	if diff := gocmp.Diff(failures, d.Failures); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	if d.Empty() || !rule.NewNetDigest(pointers(list), func(*rule.Notification) bool { return true }).Empty() {
		t.Error("a digest is empty where everything was sent, and only there")
	}
	if rule.NewNetDigest(pointers(list[len(list)-1:]), nil).Empty() {
		t.Error("a digest of one failure is empty")
	}
}

// TestNetDigestsOfProducts: what is summed up once says of some products what a digest of their notifications says, also
// of observations that moved to another product, and of failures with one name.
func TestNetDigestsOfProducts(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	states := []*rule.Values{nil, critical, high, medium}
	for range 200 {
		var list []rule.Notification
		for id := range int64(random.IntN(400)) {
			n := rule.Notification{ID: id + 1, Product: random.Int64N(6)}
			switch random.IntN(8) {
			case 0:
				n.Type, n.Thing, n.GateBefore = rule.TypeSecurityGate, n.Product, rule.EventPassed
				n.Event = []rule.Event{rule.EventPassed, rule.EventFailed}[random.IntN(2)]
			case 1:
				n.Type, n.Name, n.Occurrences = rule.TypeTask, []string{"a", "b"}[random.IntN(2)], 1+random.IntN(3)
			default:
				n.Type, n.Thing = rule.TypeObservation, random.Int64N(200)
				if random.IntN(10) > 0 { // it stays in its product
					n.Product = n.Thing % 6
				}
				n.Before, n.After = states[random.IntN(4)], states[1+random.IntN(3)]
				n.Event = []rule.Event{rule.EventNew, rule.EventChanged, rule.EventDropped}[random.IntN(3)]
			}
			list = append(list, n)
		}
		sent := func(n *rule.Notification) bool { return n.ID%7 == 0 }
		digests := rule.NewNetDigests(pointers(list), sent)
		for range 5 {
			products := map[int64]bool{}
			for p := range int64(6) {
				if random.IntN(2) == 0 {
					products[p] = true
				}
			}
			want := rule.NewNetDigest(pointers(slices.DeleteFunc(slices.Clone(list), func(n rule.Notification) bool {
				return !products[n.Product]
			})), sent)
			got := digests.In(products)
			slices.Sort(want.Notifications)
			slices.Sort(got.Notifications)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("the digest of the products %v (-want +got):\n%s", products, diff)
			}
		}
	}
}

// FuzzNetChanges makes notifications with the functions that decide about them, and replays them to a reader: one who
// knows what was known before and applies the net changes knows what one knows who reads each notification.
func FuzzNetChanges(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, uint64(0))
	f.Add([]byte{3, 0, 3, 200, 3, 0, 19, 4, 4, 4, 19, 9}, uint64(0b1010))
	f.Fuzz(func(t *testing.T, script []byte, sentBits uint64) {
		w := newWorld(script)
		skip := len(w.list) / 3 // what the slot before covered
		for before, after := range map[int]int{0: len(w.list), skip: len(w.list), len(w.list) - skip: len(w.list)} {
			list := w.list[before:after]
			sent := func(n *rule.Notification) bool { return sentBits>>(uint64(n.ID)%64)&1 == 1 } // #nosec G115 -- counts from 1
			checkNet(t, list, sent)
			checkNet(t, list, nil)
		}
	})
}

// world is a few observations, titles and gates that change as a script says.
type world struct {
	list       []rule.Notification
	remembered map[[2]int64]*rule.Values
	gates      map[int64]rule.Event
}

func newWorld(script []byte) *world {
	w := &world{remembered: map[[2]int64]*rule.Values{}, gates: map[int64]rule.Event{}}
	for i := 0; i+1 < len(script); i += 2 {
		id, to := int64(script[i]%4), script[i+1]
		n := rule.Notification{ID: int64(len(w.list) + 1), Product: id / 2, Thing: id}
		switch script[i] / 4 % 4 {
		case 0, 1:
			n.Type = rule.TypeObservation
			w.change(n, to, rule.Outcome)
		case 2:
			n.Type = rule.TypeObservationTitle
			w.change(n, to, rule.DecideTitle)
		case 3:
			n.Type, n.Event, n.GateBefore = rule.TypeSecurityGate, []rule.Event{rule.EventPassed, rule.EventFailed, rule.EventNoResult}[to%3], w.gates[id]
			if n.Event == n.GateBefore || n.Event == rule.EventNoResult && n.GateBefore == rule.NoEvent {
				continue
			}
			w.gates[id] = n.Event
			w.list = append(w.list, n)
		}
	}
	return w
}

func (w *world) change(n rule.Notification, to byte, decide func(bool, *rule.Values, rule.Values) (rule.Event, *rule.Values)) {
	key := [2]int64{int64(len(n.Type)), n.Thing}
	now := values(to, to/8, int(to/64))
	now.KnownExploited = new(to%7 == 0)
	event, known := decide(to%4 != 0, w.remembered[key], now)
	if event == rule.NoEvent {
		return
	}
	n.Event, n.Before, n.After = event, w.remembered[key], &now
	w.list = append(w.list, n)
	w.remembered[key] = known
}

// checkNet compares net changes with a walk over the notifications of each thing, from its end.
func checkNet(t *testing.T, list []rule.Notification, sent func(*rule.Notification) bool) {
	t.Helper()
	got := map[string]rule.NetChange{}
	changes := netChanges(list, sent)
	for _, c := range changes {
		got[fmt.Sprint(c.Type, c.Thing)] = c
	}
	if len(got) != len(changes) {
		t.Fatalf("a thing is named twice: %+v", changes)
	}
	for _, of := range things(list) {
		key := fmt.Sprint(of[0].Type, of[0].Thing)
		begin, last := knownBefore(of[0]), of[len(of)-1]
		for i := len(of) - 1; i >= 0; i-- {
			if sent != nil && sent(&of[i]) {
				begin = knownAfter(of[i])
				break
			}
		}
		c, named := got[key]
		delete(got, key)
		if named == (begin == knownAfter(last)) {
			t.Fatalf("%s went from %s to %s, named: %v", key, begin, knownAfter(last), named)
		}
		if !named {
			continue
		}
		from, to := known(c.Before, c.GateBefore), known(c.After, c.Gate)
		if c.Move == rule.MoveDropped {
			to = known(nil, "")
		}
		if from != begin || to != knownAfter(last) || c.Last != last.ID {
			t.Fatalf("%s went from %s to %s, but is %+v", key, begin, knownAfter(last), c)
		}
	}
	if len(got) > 0 {
		t.Fatalf("changes of nothing: %+v", got)
	}
}

// things are the notifications of each thing.
func things(list []rule.Notification) map[string][]rule.Notification {
	out := map[string][]rule.Notification{}
	for _, n := range list {
		key := fmt.Sprint(n.Type, n.Thing)
		out[key] = append(out[key], n)
	}
	return out
}

func knownBefore(n rule.Notification) string { return known(n.Before, n.GateBefore) }

func knownAfter(n rule.Notification) string {
	if n.Event == rule.EventDropped {
		return known(nil, "")
	}
	gate := n.Event
	if n.Type != rule.TypeSecurityGate {
		gate = ""
	}
	return known(n.After, gate)
}

// known is what a reader knows, as a text.
func known(s *rule.Values, gate rule.Event) string {
	if s == nil {
		if gate == rule.NoEvent {
			gate = rule.EventNoResult
		}
		return string(gate)
	}
	priority := "none"
	if s.Priority != nil {
		priority = fmt.Sprint(*s.Priority)
	}
	return fmt.Sprint(s.Severity, s.Status, priority, s.Exploited())
}

// BenchmarkDigest nets 100,000 notifications about 40,000 observations in 500 products.
func BenchmarkDigest(b *testing.B) {
	states := []*rule.Values{critical, high, medium, resolved}
	list := make([]rule.Notification, 100_000)
	for i := range list {
		list[i] = rule.Notification{
			ID: int64(i), Type: rule.TypeObservation, Event: rule.EventChanged, Product: int64(i % 500), Thing: int64(i % 40_000),
			ParserType: "SCA", Before: states[i%4], After: states[(i+1+i/40_000)%4],
		}
	}
	for b.Loop() {
		if rule.NewNetDigest(pointers(list), nil).Empty() {
			b.Fatal("empty")
		}
	}
}
