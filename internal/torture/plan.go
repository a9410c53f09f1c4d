package torture

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

const (
	producers    = 6  // report events at once, each for its own products and observations, so that their order is known
	productsEach = 3  // of a producer
	findingsEach = 40 // observations of a producer that change again and again
)

// plan is all that a seed determines: the settings, the calls of each producer, and the acts that happen meanwhile.
type plan struct {
	seed         uint64
	total        int // calls of all producers
	aof          bool
	installation installation
	calls        [][]call // by producer
	acts         []act    // by at
	calmFrom     int      // accepted calls after which every act has ended
}

// act is a fault, or a spell of a receiver.
type act struct {
	kind      string
	n         int // the index of the server, slot or receiver
	at, until int // accepted calls
}

func newPlan(seed uint64, calls int, long bool) *plan {
	p := &plan{seed: seed, total: calls, calmFrom: calls - calls/8}
	r := p.random("places")
	p.aof = r.IntN(2) == 0
	p.installation = newInstallation(r)
	p.calls = make([][]call, producers)
	for i := range p.calls {
		g := newProducer(p.random(fmt.Sprint("producer ", i)), int64(i+1))
		for range calls / producers {
			p.calls[i] = append(p.calls[i], g.next())
		}
	}
	p.total = calls / producers * producers
	p.acts = slices.Concat(p.faults(p.random("faults"), long), p.spells(p.random("receivers")), p.slots(p.random("slots")))
	slices.SortStableFunc(p.acts, func(a, b act) int { return a.at - b.at })
	return p
}

// random returns the random source of a part of the plan. Each part has its own, so that a change of one part leaves
// the others as they are.
func (p *plan) random(part string) *rand.Rand {
	var sum uint64
	for _, c := range []byte(part) {
		sum = sum*131 + uint64(c)
	}
	return rand.New(rand.NewPCG(p.seed, sum)) // #nosec G404 -- it must repeat itself
}

// faults deals the kinds of faults like cards: each occurs once before one occurs twice. A long plan leaves some kinds
// out, because a fault may hide an error that another one causes.
func (p *plan) faults(r *rand.Rand, long bool) []act {
	deck := deckOf(r, long)
	var acts []act
	busy := map[string]int{} // by thing: until when it has a fault
	var hand []string
	first := p.total / 40
	gap := (p.calmFrom - first) * 9 / 10 / len(deck) // so that a short run deals all kinds
	if long {
		gap = 80
	}
	for at := first; at < p.calmFrom; at += gap/2 + r.IntN(gap) {
		if len(hand) == 0 {
			hand = slices.Clone(deck)
			r.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
		}
		name := hand[0]
		k := faultKinds[name]
		a := act{kind: name, n: r.IntN(max(k.of, 1)), at: at}
		a.until = min(at+k.least+r.IntN(k.most-k.least+1), p.calmFrom)
		hand = hand[1:]
		thing := fmt.Sprint(k.thing, a.n)
		switch {
		case at+k.least > p.calmFrom:
			continue // too late for it
		case busy[thing] > at:
			hand = append(hand, name) // later
			continue
		}
		busy[thing] = a.until + 10
		acts = append(acts, a)
	}
	return acts
}

// deckOf returns the kinds of faults of a plan, sorted.
func deckOf(r *rand.Rand, long bool) (deck []string) {
	for _, name := range slices.Sorted(maps.Keys(faultKinds)) {
		k := faultKinds[name]
		if k.long && !long || long && r.IntN(4) == 0 {
			continue
		}
		deck = append(deck, name)
	}
	return deck
}

// spells returns the times in which a receiver misbehaves.
func (p *plan) spells(r *rand.Rand) []act {
	var acts []act
	busy := map[int]int{}
	var hand []string
	for at := p.total / 25; at < p.calmFrom; at += 30 + r.IntN(90) {
		if len(hand) == 0 {
			hand = slices.Clone(manners)
			r.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
		}
		n := slices.Index(receivers, p.installation.busy(r))
		a := act{kind: hand[0], n: n, at: at, until: min(at+50+r.IntN(300), p.calmFrom)}
		if busy[a.n] <= at {
			busy[a.n] = a.until
			hand, acts = hand[1:], append(acts, a)
		}
	}
	return acts
}

// slotsCome is an act: the slots of all schedules come.
const slotsCome = "slots come"

// slots returns the times in which slots come.
func (p *plan) slots(r *rand.Rand) (acts []act) {
	for at := p.total / 10; at < p.calmFrom; at += 100 + r.IntN(300) {
		acts = append(acts, act{kind: slotsCome, at: at, until: at})
	}
	return acts
}

func (a act) String() string {
	if slices.Contains(manners, a.kind) {
		return receivers[a.n] + " " + a.kind
	}
	if faultKinds[a.kind].of > 0 {
		return fmt.Sprintf("%s (%d)", a.kind, a.n)
	}
	return a.kind
}
