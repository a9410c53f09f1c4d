package message

import (
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// counts says how many notifications a digest has, summed up over its DigestGroups.
type counts struct {
	total      int
	ofProducts int // observations, gates and others, whose contacts are those of products
	ofTitles   int // titles, whose contacts are in the settings

	added   bySeverity // new observations and titles
	changed bySeverity
	dropped int

	gates      map[rule.Event]int
	gateTotal  int
	exceptions int
	tasks      int
	others     map[rule.Type]int // of all other types
}

// bySeverity holds a number of notifications for each severity.
type bySeverity map[rule.Severity]int

func count(d *dbmodel.WaitingDigest) *counts {
	c := &counts{added: bySeverity{}, changed: bySeverity{}, gates: map[rule.Event]int{}, others: map[rule.Type]int{}}
	for _, g := range d.Groups {
		c.total += g.Count
		switch g.Type {
		case rule.TypeObservation:
			c.ofProducts += g.Count
			c.addValues(g)
		case rule.TypeObservationTitle:
			c.ofTitles += g.Count
			c.addValues(g)
		case rule.TypeSecurityGate:
			c.ofProducts += g.Count
			c.gates[g.Event] += g.Count
			c.gateTotal += g.Count
		case rule.TypeException:
			c.exceptions += g.Count
		case rule.TypeTask:
			c.tasks += g.Count
		default:
			c.ofProducts += g.Count
			c.others[g.Type] += g.Count
		}
	}
	return c
}

// addValues adds a group of observations or titles to the counts by event and severity.
func (c *counts) addValues(g dbmodel.DigestGroup) {
	severity := g.Severity
	if !severity.Valid() {
		severity = rule.SeverityUnknown
	}
	switch g.Event {
	case rule.EventDropped:
		c.dropped += g.Count
	case rule.EventChanged:
		c.changed[severity] += g.Count
	case rule.EventNew, rule.NoEvent, rule.EventPassed, rule.EventFailed, rule.EventNoResult:
		c.added[severity] += g.Count
	}
}

// headline counts the two worst severities, and all that has no severity: "12 Critical, 40 High: 131 notifications from
// 3 products", where the total shows that there is more. product is the name of the one product that the whole digest
// is about, as in "61 new High in Payments API", or empty.
func (c *counts) headline(products int, product string) string {
	total := plural(c.total, "notification")
	if product == "" {
		parts, _ := c.parts("")
		out := joined(": ", strings.Join(parts, ", "), total)
		if products > 0 {
			out += " from " + plural(products, "product")
		}
		return out
	}
	parts, counted := c.parts(c.onlyEvent())
	if counted == c.total {
		return strings.Join(parts, ", ") + " in " + product
	}
	return strings.Join(parts, ", ") + ": " + total + " from " + product
}

// parts returns "12 Critical", "1 security gate failed" and so on, and how many notifications they count together.
// event is the word before the severities, "new" for example, or empty.
func (c *counts) parts(event string) (parts []string, counted int) {
	for _, s := range rule.Severities {
		if n := c.added[s] + c.changed[s]; n > 0 && len(parts) < 2 {
			parts = append(parts, joined(" ", strconv.Itoa(n), event, string(s)))
			counted += n
		}
	}
	if c.gateTotal > 0 {
		parts = append(parts, c.gatesInWords())
	}
	if c.exceptions > 0 {
		parts = append(parts, plural(c.exceptions, "exception"))
	}
	if c.tasks > 0 {
		parts = append(parts, plural(c.tasks, "failed background task"))
	}
	for _, t := range rule.Types {
		if n := c.others[t]; n > 0 {
			parts = append(parts, plural(n, strings.ToLower(t.Info().Name)))
			counted += n
		}
	}
	if c.dropped > 0 {
		parts = append(parts, strconv.Itoa(c.dropped)+" no longer notified")
	}
	return parts, counted + c.gateTotal + c.exceptions + c.tasks + c.dropped
}

// onlyEvent returns "new" or "changed" where that holds for everything that has a severity, else nothing.
func (c *counts) onlyEvent() string {
	switch {
	case len(c.added) > 0 && len(c.changed) == 0:
		return "new"
	case len(c.changed) > 0 && len(c.added) == 0:
		return "changed"
	}
	return ""
}

// gatesInWords counts the security gates, with their result where all have the same.
func (c *counts) gatesInWords() string {
	out := plural(c.gateTotal, "security gate")
	switch c.gateTotal {
	case c.gates[rule.EventFailed]:
		return out + " failed"
	case c.gates[rule.EventPassed]:
		return out + " passed"
	}
	return out
}

// facts returns the counts by event and severity.
func (c *counts) facts() []channel.Fact {
	var l factList
	l.add("New", c.added.inWords())
	l.add("Changed", c.changed.inWords())
	l.add("No longer notified", number(c.dropped))
	var gates []string
	for _, g := range gateResults {
		if n := c.gates[g.event]; n > 0 {
			gates = append(gates, strconv.Itoa(n)+" "+g.words)
		}
	}
	l.add("Security gates", strings.Join(gates, ", "))
	l.add("Exceptions", number(c.exceptions))
	l.add("Failed background tasks", number(c.tasks))
	for _, t := range rule.Types {
		l.add(t.Info().Plural, number(c.others[t]))
	}
	return l
}

// tone returns the loudest tone in the digest.
func (c *counts) tone() channel.Tone {
	if c.exceptions+c.tasks+c.gates[rule.EventFailed] > 0 {
		return channel.Attention
	}
	for _, s := range rule.Severities {
		if c.added[s]+c.changed[s] > 0 {
			return severityTone(s)
		}
	}
	if c.total > 0 && c.total == c.gates[rule.EventPassed] {
		return channel.Good
	}
	return channel.Default
}

// inWords returns "12 Critical, 40 High" and so on, worst first.
func (b bySeverity) inWords() string {
	var out []string
	for _, s := range rule.Severities {
		if n := b[s]; n > 0 {
			out = append(out, strconv.Itoa(n)+" "+string(s))
		}
	}
	return strings.Join(out, ", ")
}

// number returns n as text, empty for 0.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
