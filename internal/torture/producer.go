package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// object is a JSON object.
type object = map[string]any

// call is one call of the HTTP interface; the fields that are set determine which one.
type call struct {
	observations []dbmodel.Observation
	lines        bool // as NDJSON
	evaluate     int64
	gate         int64 // of this product
	passed       *bool
	exception    object // no other exception has its class
	task         bool   // the exception of a background task
}

// producer draws the calls of one producer.
type producer struct {
	r          *rand.Rand
	number     int64
	findings   []dbmodel.Observation // as last reported; without a severity: not yet
	imported   int64
	exceptions []call
}

func newProducer(r *rand.Rand, number int64) *producer {
	g := &producer{r: r, number: number}
	for i := range int64(findingsEach) {
		o := dbmodel.Observation{ID: number*1_000_000 + i, ProductID: g.product()}
		o.Title = fmt.Sprintf("Finding %d of producer %d", i, number)
		if i%4 == 0 {
			o.Title = fmt.Sprintf("CVE-2026-%04d", i%3) // observations of other producers share it
		}
		g.findings = append(g.findings, o)
	}
	return g
}

func (g *producer) next() call {
	reported := slices.DeleteFunc(slices.Clone(g.findings), func(o dbmodel.Observation) bool { return o.Severity == "" })
	switch n := g.r.IntN(100); {
	case n < 36 || len(reported) == 0:
		return call{observations: g.change(1)}
	case n < 44:
		return call{observations: g.change(3 + g.r.IntN(12))}
	case n < 46:
		return call{observations: append(g.imports(100+g.r.IntN(500)), g.change(5)...), lines: true}
	case n < 50:
		return call{observations: reported[:1+g.r.IntN(min(len(reported), 5))]} // unchanged
	case n < 54:
		return call{evaluate: reported[g.r.IntN(len(reported))].ID}
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

func (g *producer) product() int64 {
	return (g.number-1)*productsEach + int64(1+g.r.IntN(productsEach))
}

// change returns new states of n different observations.
func (g *producer) change(n int) []dbmodel.Observation {
	var out []dbmodel.Observation
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

// imports returns n observations that are reported once; about one in a hundred matches.
func (g *producer) imports(n int) []dbmodel.Observation {
	out := make([]dbmodel.Observation, n)
	for i := range out {
		g.imported++
		id := g.number*1_000_000 + 1_000 + g.imported
		out[i] = dbmodel.Observation{
			ID: id, ProductID: g.product(), Title: fmt.Sprint("Imported ", id),
			Severity: rule.Low, Status: rule.NotSecurity, ParserType: "SCA",
		}
		if g.r.IntN(100) == 0 {
			out[i].Severity, out[i].Status, out[i].Priority = rule.Critical, rule.Open, new(1)
		}
	}
	return out
}

func (g *producer) newException() call {
	class := fmt.Sprintf("Fault%dOf%d", len(g.exceptions), g.number)
	if g.r.IntN(2) == 0 {
		return call{exception: object{"class": class, "message": "it broke", "function": "GET /broken"}}
	}
	x := object{
		"class": class, "message": "it broke", "function": "import",
		"arguments": object{"file": "a.json"}, "product_id": g.product(),
	}
	if g.r.IntN(2) == 0 {
		x["observation_id"] = g.findings[0].ID
	}
	return call{exception: x, task: true}
}
