package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/tasks"
)

const (
	producers    = 6  // tell events at once, each of its own products and observations, so that their order is known
	productsEach = 3  // of a producer
	findingsEach = 40 // observations of a producer that change again and again
)

// plan is all that a seed determines: the events of each producer, and what is done meanwhile. Distances are counted in
// accepted calls, so that the same is done at the same place again, however fast the machine is.
type plan struct {
	seed     uint64
	calls    int // of all producers
	aof      bool
	places   places
	told     [][]call // by producer
	acts     []act    // by at
	calmFrom int      // from here on nothing is done
}

// act is one thing that is done, and undone later.
type act struct {
	kind      string
	n         int // which of several
	at, until int // accepted calls
}

func newPlan(seed uint64, calls int, long bool) *plan {
	p := &plan{seed: seed, calls: calls, calmFrom: calls - calls/8}
	r := p.random("places")
	p.aof = r.IntN(2) == 0
	p.places = newPlaces(r)
	p.told = make([][]call, producers)
	for i := range p.told {
		g := newTeller(p.random(fmt.Sprint("producer ", i)), int64(i+1))
		for range calls / producers {
			p.told[i] = append(p.told[i], g.next())
		}
	}
	p.calls = calls / producers * producers
	p.acts = append(p.faults(p.random("faults"), long), p.spells(p.random("receivers"))...)
	slices.SortStableFunc(p.acts, func(a, b act) int { return a.at - b.at })
	return p
}

// random is a source of its own for each part of the plan, so that a change of one leaves the others as they are.
func (p *plan) random(part string) *rand.Rand {
	var sum uint64
	for _, c := range []byte(part) {
		sum = sum*131 + uint64(c)
	}
	return rand.New(rand.NewPCG(p.seed, sum))
}

// faults deals the kinds of faults like cards: each comes once before one comes twice. A long plan leaves some out, so that
// what the others alone allow is seen too.
func (p *plan) faults(r *rand.Rand, long bool) []act {
	var deck []string
	for _, name := range slices.Sorted(maps.Keys(faultKinds)) { // the order of a map is another one each time
		k := faultKinds[name]
		if k.long && !long || long && r.IntN(4) == 0 {
			continue
		}
		deck = append(deck, name)
	}
	var acts []act
	busy := map[string]int{} // until when each thing has its fault
	var hand []string
	first := p.calls / 40
	gap := (p.calmFrom - first) * 9 / 10 / len(deck) // so that a short run deals all of them
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

// spells are times in which a receiver behaves badly.
func (p *plan) spells(r *rand.Rand) []act {
	var acts []act
	busy := map[int]int{}
	var hand []string
	for at := p.calls / 25; at < p.calmFrom; at += 30 + r.IntN(90) {
		if len(hand) == 0 {
			hand = slices.Clone(manners)
			r.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
		}
		a := act{kind: hand[0], n: slices.Index(receivers, p.places.busy(r)), at: at, until: min(at+50+r.IntN(300), p.calmFrom)}
		if busy[a.n] <= at {
			busy[a.n] = a.until
			hand, acts = hand[1:], append(acts, a)
		}
	}
	return acts
}

// call is one call of the HTTP interface; which fields are set says which one.
type call struct {
	observations []tasks.Observation
	lines        bool // as NDJSON
	evaluate     int64
	gate         int64 // of this product
	passed       *bool
	exception    object // its class is a name that nothing else has
	task         bool   // in a background task
}

// teller makes the calls of one producer.
type teller struct {
	r          *rand.Rand
	number     int64
	findings   []tasks.Observation // as they were told last; those that were not have no severity
	imported   int64
	exceptions []call
}

func newTeller(r *rand.Rand, number int64) *teller {
	g := &teller{r: r, number: number}
	for i := range int64(findingsEach) {
		o := tasks.Observation{ID: number*1_000_000 + i, ProductID: g.product(), Title: fmt.Sprintf("Finding %d of producer %d", i, number)}
		if i%4 == 0 {
			o.Title = fmt.Sprintf("CVE-2026-%04d", i%3) // those of other producers bear it too
		}
		g.findings = append(g.findings, o)
	}
	return g
}

func (g *teller) next() call {
	told := slices.DeleteFunc(slices.Clone(g.findings), func(o tasks.Observation) bool { return o.Severity == "" })
	switch n := g.r.IntN(100); {
	case n < 36 || len(told) == 0:
		return call{observations: g.change(1)}
	case n < 44:
		return call{observations: g.change(3 + g.r.IntN(12))}
	case n < 46:
		return call{observations: append(g.imports(100+g.r.IntN(500)), g.change(5)...), lines: true}
	case n < 50:
		return call{observations: told[:1+g.r.IntN(min(len(told), 5))]} // once more the same
	case n < 54:
		return call{evaluate: told[g.r.IntN(len(told))].ID}
	case n < 70:
		passed := g.r.IntN(3)
		return call{gate: g.product(), passed: []*bool{nil, new(bool), new(true)}[passed]}
	case n < 85 || len(g.exceptions) == 0:
		c := g.newException()
		g.exceptions = append(g.exceptions, c)
		return c
	}
	return g.exceptions[g.r.IntN(len(g.exceptions))]
}

func (g *teller) product() int64 {
	return (g.number-1)*productsEach + int64(1+g.r.IntN(productsEach))
}

// change makes new states of so many different observations.
func (g *teller) change(n int) []tasks.Observation {
	var out []tasks.Observation
	for _, i := range g.r.Perm(len(g.findings))[:n] {
		o := &g.findings[i]
		o.Severity, o.Status = rule.Severities[g.r.IntN(len(rule.Severities))], rule.Statuses[g.r.IntN(5)]
		o.ParserType = rule.ParserTypes[g.r.IntN(len(rule.ParserTypes))]
		o.Priority = nil
		if g.r.IntN(3) > 0 {
			o.Priority = new(1 + g.r.IntN(20))
		}
		if g.r.IntN(5) == 0 {
			o.VulnerabilityID = fmt.Sprint("GHSA-", g.r.IntN(9))
		}
		out = append(out, *o)
	}
	return out
}

// imports makes observations that are told once, and of which few are worth knowing.
func (g *teller) imports(n int) []tasks.Observation {
	out := make([]tasks.Observation, n)
	for i := range out {
		g.imported++
		id := g.number*1_000_000 + 1_000 + g.imported
		out[i] = tasks.Observation{ID: id, ProductID: g.product(), Title: fmt.Sprint("Imported ", id), Severity: rule.Low, Status: rule.NotSecurity, ParserType: "SCA"}
		if g.r.IntN(100) == 0 {
			out[i].Severity, out[i].Status, out[i].Priority = rule.Critical, rule.Open, new(1)
		}
	}
	return out
}

func (g *teller) newException() call {
	class := fmt.Sprintf("Fault%dOf%d", len(g.exceptions), g.number)
	if g.r.IntN(2) == 0 {
		return call{exception: object{"class": class, "message": "it broke", "function": "GET /broken"}}
	}
	x := object{"class": class, "message": "it broke", "function": "import", "arguments": object{"file": "a.json"}, "product_id": g.product()}
	if g.r.IntN(2) == 0 {
		x["observation_id"] = g.findings[0].ID
	}
	return call{exception: x, task: true}
}

// TestPlanIsRepeatable makes a plan twice: a seed that fails must do the same again.
func TestPlanIsRepeatable(t *testing.T) {
	t.Parallel()
	text := func(seed uint64) string { return fmt.Sprintf("%+v", summary(newPlan(seed, 3000, true))) }
	first, again, other := text(7), text(7), text(8)
	if first != again {
		n := 0
		for n < min(len(first), len(again)) && first[n] == again[n] {
			n++
		}
		t.Errorf("one seed gives two plans:\n%.200s\n%.200s", first[max(n-100, 0):], again[max(n-100, 0):])
	}
	if first == other {
		t.Error("two seeds give one plan")
	}
}

// summary is a plan without pointers, whose texts are addresses.
func summary(p *plan) []string {
	out := []string{fmt.Sprintf("%d %v %+v", p.calls, p.aof, p.acts)}
	for _, list := range p.told {
		for _, c := range list {
			_, path, body := c.request()
			text, _ := json.Marshal(body) // a priority is a pointer
			out = append(out, path, string(text))
		}
	}
	return out
}
