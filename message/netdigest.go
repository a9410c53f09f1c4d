package message

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// MaxNetItems is how many notifications a net digest names. Slack and Teams show no more.
	MaxNetItems = 30
	// maxNetProducts is how many products a net digest lists with their own counts.
	maxNetProducts = 10
)

// LoadedNetDigest is a net digest, of a schedule or of a pause that is over, with all that its message says.
type LoadedNetDigest struct {
	Number        int64 // for the link to the inbox
	Content       *dbmodel.StoredNetDigest
	Notifications map[int64]*dbmodel.Notification // those that the message names
}

// NetDigest builds one message of net changes: counts by product, the worst by name, and a link to the inbox with
// exactly these notifications. last is the id of the last delivery that the message stands for: the id identifies the
// message.
func (b Builder) NetDigest(d LoadedNetDigest, last int64, to Recipient) *channel.Message {
	m := b.BriefNetDigest(d, last, to)
	m.Items = b.netItems(d)
	m.More = moreInInbox(d.total() - len(m.Items))
	return m
}

// BriefNetDigest is NetDigest with nothing but counts and a link, for a receiver that refuses the whole one.
func (b Builder) BriefNetDigest(d LoadedNetDigest, last int64, to Recipient) *channel.Message {
	m := &channel.Message{
		Headline: d.headline(), Tone: d.tone(), Facts: d.facts(),
		Action: channel.Link{
			Label: "Open these in the inbox", URL: b.page("?viewed=all&digest=" + strconv.FormatInt(d.Number, 10)),
		},
		ID: "digest-" + strconv.FormatInt(last, 10),
	}
	m.More = moreInInbox(d.total())
	b.addMailFields(m, to, d.place(to))
	return m
}

// total is the number of changes and of failures with different names.
func (d LoadedNetDigest) total() int {
	total := len(d.Content.Failures)
	for _, p := range d.Content.Products {
		for _, n := range p.Counts {
			total += n
		}
	}
	return total
}

// place returns the place of the contact through which d reaches a recipient.
func (d LoadedNetDigest) place(to Recipient) place {
	if p, known := digestPlace(to); known {
		return p
	}
	if products := d.Content.Products; len(products) == 1 && products[0].Product != 0 {
		only := products[0].Product
		return place{"the notification settings of " + d.name(only), productPage(only) + emailField}
	}
	return place{"the notification settings", "products"}
}

// netItems names notifications, each with its net change, product by product.
func (b Builder) netItems(d LoadedNetDigest) []channel.Item {
	var out []channel.Item
	add := func(id int64, change func(*dbmodel.Notification)) {
		n, found := d.Notifications[id] // not found: it was deleted, or its recipient may not see it any more
		if !found || len(out) == MaxNetItems {
			return
		}
		shown := *n
		change(&shown)
		out = append(out, b.item(&shown))
	}
	for _, p := range d.Content.Products {
		if p.Gate != nil {
			add(p.Gate.Last, func(n *dbmodel.Notification) { n.Event = p.Gate.Gate })
		}
		for _, c := range p.Named {
			add(c.Last, func(n *dbmodel.Notification) {
				n.SetValues(c.Before, c.After)
				switch c.Move {
				case rule.MoveNew:
					n.Event = rule.EventNew
				case rule.MoveDropped:
					n.Event = rule.EventDropped
				case rule.MoveWorse, rule.MoveBetter, rule.MoveGate:
					n.Event = rule.EventChanged
				}
			})
		}
	}
	for _, f := range d.Content.Failures {
		add(f.Last, func(n *dbmodel.Notification) { n.Suppressed = f.Count - 1 })
	}
	return out
}

// name returns the name of a product of the digest; 0 stands for titles.
func (d LoadedNetDigest) name(product int64) string {
	if product == 0 {
		return "Observation titles"
	}
	if name := channel.Line(d.Content.Names[product], maxProduct); name != "" {
		return name
	}
	return "product " + strconv.FormatInt(product, 10)
}

// headline is "Daily, Payments API and 2 more: 3 new Critical, 5 resolved".
func (d LoadedNetDigest) headline() string {
	start := d.Content.Occasion
	if n := len(d.Content.Products); n > 0 {
		start += ", " + d.name(d.Content.Products[0].Product)
		if n > 1 {
			start += fmt.Sprintf(" and %d more", n-1)
		}
	}
	return fit("", start, ": "+strings.Join(d.parts(), ", "))
}

// parts returns the counts over all products in words. New observations and titles are counted only for the two worst
// severities that they have.
func (d LoadedNetDigest) parts() []string {
	added, moves, resolved, gates := map[rule.Severity]int{}, map[rule.Move]int{}, 0, map[rule.Event]int{}
	for _, p := range d.Content.Products {
		for s, n := range p.New {
			added[s] += n
		}
		for m, n := range p.Counts {
			moves[m] += n
		}
		resolved += p.Resolved
		if p.Gate != nil {
			gates[p.Gate.Gate]++
		}
	}
	out := newInWords(added)
	out = out[:min(len(out), 2)]
	out = append(out, movesInWords(moves, resolved)...)
	for _, g := range gateResults {
		if n := gates[g.event]; n > 0 {
			out = append(out, plural(n, "security gate")+" "+g.words)
		}
	}
	var exceptions, tasks int
	for _, f := range d.Content.Failures {
		if f.Type == rule.TypeException {
			exceptions += f.Count
		} else {
			tasks += f.Count
		}
	}
	if exceptions > 0 {
		out = append(out, plural(exceptions, "exception"))
	}
	if tasks > 0 {
		out = append(out, plural(tasks, "failed background task"))
	}
	return out
}

// newInWords returns "3 new Critical", "1 new Low" and so on, the worst first.
func newInWords(added map[rule.Severity]int) []string {
	var out []string
	for _, s := range rule.Severities {
		if n := added[s]; n > 0 {
			out = append(out, fmt.Sprintf("%d new %s", n, s))
		}
	}
	return out
}

// movesInWords counts what got worse or better, and what was dropped.
func movesInWords(moves map[rule.Move]int, resolved int) []string {
	var out []string
	for _, m := range []rule.Move{rule.MoveWorse, rule.MoveBetter} {
		if n := moves[m]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, m))
		}
	}
	if resolved > 0 {
		out = append(out, fmt.Sprintf("%d resolved", resolved))
	}
	if n := moves[rule.MoveDropped] - resolved; n > 0 {
		out = append(out, fmt.Sprintf("%d no longer notified", n))
	}
	return out
}

// facts returns the counts product by product.
func (d LoadedNetDigest) facts() []channel.Fact {
	var l factList
	for i, p := range d.Content.Products {
		if i == maxNetProducts {
			l.add("Other products", strconv.Itoa(len(d.Content.Products)-i))
			break
		}
		parts := append(newInWords(p.New), movesInWords(p.Counts, p.Resolved)...)
		if p.Gate != nil {
			parts = append(parts, strings.ToLower(gateLead(p.Gate.Gate)))
		}
		l.add(d.name(p.Product), strings.Join(parts, ", "))
	}
	return l
}

// tone is loudest for an exception, a failed task or a failed gate; else it is that of the worst severity of
// the new observations and titles.
func (d LoadedNetDigest) tone() channel.Tone {
	if len(d.Content.Failures) > 0 {
		return channel.Attention
	}
	worst := rule.Severity("")
	for _, p := range d.Content.Products {
		if p.Gate != nil && p.Gate.Gate == rule.EventFailed {
			return channel.Attention
		}
		for s := range p.New {
			if worst == "" || s.Rank() < worst.Rank() {
				worst = s
			}
		}
	}
	return severityTone(worst)
}
