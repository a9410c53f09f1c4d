package message

import (
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

const maxFact = 1000 // characters

// factList collects facts and leaves empty ones out.
type factList []channel.Fact

func (l *factList) add(name, value string) {
	if value = channel.Line(value, maxFact); value != "" {
		*l = append(*l, channel.Fact{Name: name, Value: value})
	}
}

// facts returns what a reader needs to decide without a click. A title that the headline cuts is whole here.
func facts(n *dbmodel.Notification, headline string) []channel.Fact {
	var l factList
	switch n.Type {
	case rule.TypeObservation, rule.TypeObservationTitle:
		if t := title(n); !strings.Contains(headline, t) {
			l.add("Title", t)
		}
		l.add("Product", product(n))
		if n.Type == rule.TypeObservationTitle && n.Facts.Observations > 0 {
			l.add("Found in", plural(n.Facts.Observations, "observation")+" in "+plural(max(n.Facts.Products, 1), "product"))
		}
		valueFacts(&l, n)
		detailFacts(&l, n, headline)
	case rule.TypeSecurityGate:
		l.add("Product", product(n))
		if before := n.Facts.GateBefore; before != "" {
			l.add("Changed", arrow(gateState(before), gateState(n.Event)))
		}
	case rule.TypeException, rule.TypeTask:
		l.add("Product", product(n))
		if !n.Own || n.Type != rule.TypeTask { // a task of Tocsin itself has names that mean nothing to a reader
			l.add("Class", n.Name)
			l.add("Function", n.Function)
		}
		l.add("User", n.Username)
		l.add("Observation", n.Facts.ObservationTitle)
		l.add("Arguments", arguments(n.Arguments))
	default:
		l.add("Product", product(n))
		detailFacts(&l, n, headline)
	}
	return l
}

// valueFacts adds severity, status and priority; known exploited, the fourth value, is among the optional facts.
func valueFacts(l *factList, n *dbmodel.Notification) {
	l.add("Severity", string(n.AfterSeverity))
	l.add("Status", string(n.AfterStatus))
	if n.AfterPriority != nil {
		l.add("Priority", strconv.Itoa(*n.AfterPriority))
	}
}

// detailFacts adds the optional facts.
func detailFacts(l *factList, n *dbmodel.Notification, headline string) {
	f := &n.Facts
	l.add("Parser type", string(f.ParserType))
	if id := channel.Line(f.VulnerabilityID, maxFact); id != "" && !strings.Contains(headline, id) {
		l.add("Vulnerability", id)
	}
	if f.CVSSScore != nil {
		l.add("CVSS", strconv.FormatFloat(*f.CVSSScore, 'f', 1, 64))
	}
	if f.KnownExploited != nil {
		l.add("Known exploited", yesNo(*f.KnownExploited))
	}
	if f.EPSSScore != nil {
		l.add("EPSS", strconv.FormatFloat(*f.EPSSScore, 'f', -1, 64))
	}
	l.add("Fixed version", f.FixedVersion)
	l.add("Changed", changes(n))
	example := ""
	if n.Type == rule.TypeObservationTitle && f.Observations > 1 {
		example = ", for example" // the rest comes from one of the observations
	}
	l.add("Origin"+example, f.Origin.Text)
	l.add("Component"+example, f.Origin.Component)
	l.add("Image"+example, f.Origin.Image)
	l.add("File"+example, f.Origin.File)
	l.add("Endpoint"+example, f.Origin.Endpoint)
	l.add("Branch"+example, f.Branch)
	l.add("Service"+example, f.Service)
	l.add("Scanner"+example, f.Scanner)
	l.add("URL"+example, f.URL)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func gateState(e rule.Event) string {
	if e == rule.EventNoResult {
		return "no result"
	}
	return string(e)
}

// product returns the product with its group: "Payments API (Payments)".
func product(n *dbmodel.Notification) string {
	name := wholeProductName(n)
	if group := channel.Line(n.Facts.ProductGroupName, maxFact/3); name != "" && group != "" {
		return channel.Line(name, maxFact/2) + " (" + group + ")"
	}
	return name
}

// changes lists each changed value before and after; empty where n is about a new observation or title.
func changes(n *dbmodel.Notification) string {
	before, after := n.Before(), n.After()
	if before == nil || after == nil {
		return ""
	}
	var parts []string
	if before.Severity != after.Severity {
		parts = append(parts, "severity "+arrow(string(before.Severity), string(after.Severity)))
	}
	if before.Status != after.Status {
		parts = append(parts, "status "+arrow(string(before.Status), string(after.Status)))
	}
	if priority(before.Priority) != priority(after.Priority) {
		parts = append(parts, "priority "+arrow(priority(before.Priority), priority(after.Priority)))
	}
	switch {
	case becameExploited(before, after):
		parts = append(parts, "now known exploited")
	case becameExploited(after, before):
		parts = append(parts, "no longer known exploited")
	}
	if len(parts) == 0 && n.Event == rule.EventDropped {
		return "the settings that apply, not the observation itself"
	}
	return strings.Join(parts, ", ")
}
