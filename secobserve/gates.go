package secobserve

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// lively is for how long after the last change in SecObserve the changes of gates are read in each pass: SecObserve
	// may store them a while after what caused them.
	lively = 5 * time.Minute
	// gatesEvery is how often they are read where nothing else has changed.
	gatesEvery = 30 * time.Minute
)

// gateChanges are the notifications of SecObserve about gates. A product shows the last value alone; these keep the
// values in between, too.
var gateChanges = url.Values{"type": {"Security gate"}}

// baseGates has the changes of gates reported that follow those which are there before the load.
func (p *pass) baseGates(ctx context.Context) error {
	q := url.Values{"ordering": {"-created"}, "type": gateChanges["type"]}
	rows, _, err := page[gateChange](ctx, p.Client, "notifications/", q, 1, 1)
	if err != nil || len(rows) == 0 {
		return err
	}
	p.gateBase = rows[0].ID.V
	if p.state.Gates == nil {
		p.state.Gates = &rows[0].Created.V
	}
	return nil
}

// gates reports each change of a security gate, in order.
func (p *pass) gates(ctx context.Context) error {
	if !p.gatesMayDiffer() {
		return nil
	}
	after, last := time.Time{}, p.state.Gates
	if last != nil {
		after = last.Add(-overlap)
	}
	rows, _, _, err := newest(ctx, p, "notifications/", gateChanges, "-created", p.sizes.gates, after,
		func(c *gateChange) time.Time { return c.Created.V })
	if err != nil {
		return err
	}
	changes := map[int64][]gateChange{}
	for _, c := range rows {
		if at := c.Created.V; last == nil || at.After(*last) {
			last = &at
		}
		if id := c.Product.V; id != nil && p.products[*id] != nil && c.ID.V > p.products[*id].GateChange {
			changes[*id] = append(changes[*id], c)
		}
	}
	differ, err := p.gateReports(ctx, changes)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(differ, batch) {
		if err := p.reportGates(ctx, chunk); err != nil {
			return err
		}
	}
	p.state.Gates, p.state.GatesRead = last, &p.began
	return p.saveState(ctx)
}

// gatesMayDiffer reports whether a gate differs, or may have changed forth and back since the last reading: what
// changes
// one leaves stamps, but for settings of gates.
func (p *pass) gatesMayDiffer() bool {
	read := p.state.GatesRead
	if read == nil || p.began.Before(*read) || p.began.Sub(*read) >= gatesEvery {
		return true
	}
	since := read.Add(-lively)
	if p.state.Approvals != nil && p.state.Approvals.After(since) {
		return true
	}
	return slices.ContainsFunc(p.there.products, func(r product) bool {
		known := p.products[r.ID.V]
		return r.LastChange.V.After(since) || known != nil && (rule.Gate(known.Gate, r.Gate.V) != rule.NoEvent ||
			known.LastChange == nil || !known.LastChange.Equal(r.LastChange.V))
	})
}

// gateReport is what is reported of the gate of one product.
type gateReport struct {
	product int64
	values  []*bool // in the order in which the gate had them
	change  int64   // the id of the last change
}

// gateReports returns what is to be reported of gates whose changes are given.
func (p *pass) gateReports(ctx context.Context, changes map[int64][]gateChange) (list []gateReport, err error) {
	for i := range p.there.products {
		r := &p.there.products[i]
		known := p.products[r.ID.V]
		if known == nil {
			continue
		}
		report := gateReport{product: r.ID.V, change: known.GateChange}
		value := known.Gate
		slices.SortFunc(changes[r.ID.V], func(a, b gateChange) int { return cmp.Compare(a.ID.V, b.ID.V) })
		for _, c := range changes[r.ID.V] {
			report.change = c.ID.V
			if to, valid := c.value(); valid {
				value = to
				report.values = append(report.values, to)
			}
		}
		now := r
		if len(report.values) > 0 && rule.Gate(value, r.Gate.V) != rule.NoEvent { // the list may be older than the changes
			now, err = one[product](ctx, p.Client, "products/"+strconv.FormatInt(r.ID.V, 10)+"/")
			if IsKind(err, Missing) {
				continue
			}
			if err != nil {
				return nil, err
			}
		}
		if rule.Gate(value, now.Gate.V) != rule.NoEvent { // its change is not stored there yet, or somebody deleted it
			report.values = append(report.values, now.Gate.V)
		}
		if len(report.values) > 0 || report.change != known.GateChange {
			list = append(list, report)
		}
	}
	return list, nil
}

// reportGates accepts what is reported of gates, in one transaction.
func (p *pass) reportGates(ctx context.Context, list []gateReport) error {
	err := p.commit(ctx, "security gates", func(ctx context.Context, tx bun.Tx) error {
		for _, r := range list {
			for _, value := range r.values {
				event, err := accept.NewSecurityGate(r.product, value)
				if err != nil {
					return err
				}
				done, err := p.accept(ctx, tx, event)
				if err != nil {
					return fmt.Errorf("product %d: %w", r.product, err)
				}
				p.events = append(p.events, done.Rows...)
			}
			if err := dbmodel.SaveGateChange(ctx, tx, r.product, r.change); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range list {
		known := *p.products[r.product]
		known.GateChange = r.change
		if len(r.values) > 0 {
			known.Gate = r.values[len(r.values)-1]
		}
		p.products[r.product] = &known
	}
	return nil
}
