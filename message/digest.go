package message

import (
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// How many notifications a digest of waiting deliveries names: together at most the 30 items that Slack and Teams show.
const (
	MaxNamed = 20 // gates, exceptions and tasks
	MaxWorst = 10 // observations and titles
)

// Digest builds one message of many deliveries for one target: gates, exceptions and tasks by name, the worst of the
// rest, and how many more there are. last is the id of the last delivery that the first attempt sends: the id
// identifies the message, in later attempts too.
func (b Builder) Digest(d *dbmodel.WaitingDigest, last int64, to Recipient) *channel.Message {
	m := b.BriefDigest(d, last, to)
	for i := range d.Named[:min(len(d.Named), MaxNamed)] {
		m.Items = append(m.Items, b.item(&d.Named[i]))
	}
	for i := range d.Worst[:min(len(d.Worst), MaxWorst)] {
		m.Items = append(m.Items, b.item(&d.Worst[i]))
	}
	m.More = moreInInbox(count(d).total - len(m.Items))
	return m
}

// BriefDigest is Digest with nothing but counts and a link, for a receiver that refuses the whole one.
func (b Builder) BriefDigest(d *dbmodel.WaitingDigest, last int64, to Recipient) *channel.Message {
	c := count(d)
	name := ""
	if c.ofProducts == c.total {
		name, _ = onlyProduct(d)
	}
	m := &channel.Message{
		Headline: c.headline(d.Products, name),
		Tone:     c.tone(),
		Facts:    c.facts(),
		Action:   channel.Link{Label: "Open inbox", URL: b.page("")},
		ID:       "digest-" + strconv.FormatInt(last, 10),
	}
	where, known := digestPlace(to)
	if !known {
		where = c.possiblePlaces(d)
	}
	b.addMailFields(m, to, where)
	return m
}

// moreInInbox says how many notifications a message leaves out; empty for none.
func moreInInbox(n int) string {
	switch {
	case n <= 0:
		return ""
	case n == 1:
		return "1 more is in Tocsin's inbox."
	}
	return strconv.Itoa(n) + " more are in Tocsin's inbox."
}

// item is the line of a digest about a notification.
func (b Builder) item(n *dbmodel.Notification) channel.Item {
	it := channel.Item{Name: channel.Line(n.Name, maxHeadline), Product: productName(n), URL: b.action(n).URL}
	switch n.Type {
	case rule.TypeObservation, rule.TypeObservationTitle:
		it.Name = channel.Truncate(title(n), maxHeadline)
		it.Label, it.Event = string(n.AfterSeverity), itemEvent(n)
		if n.Type == rule.TypeObservationTitle && n.Facts.Products > 1 {
			it.Product = plural(n.Facts.Products, "product")
		}
	case rule.TypeSecurityGate:
		it.Label = strings.Replace(gateLead(n.Event), "Security gate", "Gate", 1)
		it.Name, it.Product = productName(n), channel.Line(n.Facts.ProductGroupName, maxProduct)
	case rule.TypeException:
		it.Label, it.Name = "Exception", fit("", joined(": ", channel.Line(n.Name, maxName), firstLine(n.Message)), "")
	case rule.TypeTask:
		it.Label, it.Name = "Task failed", joined(": ", channel.Line(n.Function, maxName), channel.Line(n.Name, maxName))
		if n.Own {
			it.Label, it.Name = "Failure", OwnFailure(n)
		}
		it.Name = fit("", it.Name, "")
	default:
		it.Label, it.Name = n.Type.Info().Short, channel.Truncate(title(n), maxHeadline)
	}
	if isFault(n.Type) && n.Suppressed > 0 {
		it.Event = "×" + strconv.Itoa(n.Suppressed+1)
	}
	return it
}

// itemEvent says what happened to an observation or title: "New", or what changed.
func itemEvent(n *dbmodel.Notification) string {
	switch n.Event {
	case rule.EventDropped:
		return lead(n)
	case rule.EventChanged:
		severity, change := leadChange(n.Before(), n.After())
		if change != "" {
			return capitalised(change)
		}
		if severity != string(n.AfterSeverity) {
			return severity
		}
		return "Changed"
	case rule.EventNew, rule.NoEvent, rule.EventPassed, rule.EventFailed, rule.EventNoResult:
	}
	return "New"
}

// possiblePlaces returns one place whose text names all places in which the contact of a digest can be set.
func (c *counts) possiblePlaces(d *dbmodel.WaitingDigest) place {
	var parts []string
	page := "settings"
	if c.ofProducts > 0 {
		if name, id := onlyProduct(d); name != "" {
			parts, page = append(parts, "of "+name), productPage(id)+emailField
		} else {
			parts, page = append(parts, "of "+plural(max(d.Products, 1), "product")), "products"
		}
	}
	if c.ofTitles > 0 {
		parts = append(parts, "of observation titles")
	}
	if c.exceptions+c.tasks > 0 {
		parts = append(parts, "for exceptions")
	}
	return place{strings.TrimSpace("the notification settings " + strings.Join(parts, " and ")), page}
}

// onlyProduct returns the one product that everything but titles, exceptions and tasks is about; an empty name where
// there is no such product.
func onlyProduct(d *dbmodel.WaitingDigest) (name string, id int64) {
	if d.Products != 1 {
		return "", 0
	}
	for _, list := range [][]dbmodel.Notification{d.Named, d.Worst} {
		for i := range list {
			n := &list[i]
			if name := productName(n); n.ProductID != nil && name != "" && !isFault(n.Type) {
				return name, *n.ProductID
			}
		}
	}
	return "", 0
}
