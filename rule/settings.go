package rule

import "strings"

// Conditions are the settings that say which observations or titles are worth knowing. The zero value sets nothing.
type Conditions struct {
	MinSeverity Severity   // empty: not set
	Statuses    []Status   // empty: not set
	MinPriority *int       // nil: not set
	ParserType  ParserType // of titles only; empty: not set
}

// IsSet reports whether at least one condition is set. Where none is, nothing matches.
func (c Conditions) IsSet() bool {
	return c.MinSeverity != "" || len(c.Statuses) > 0 || c.MinPriority != nil || c.ParserType != ""
}

// Contacts are the settings that say who is told. Webhooks are ids of targets, 0 where none is set.
type Contacts struct {
	EmailTo string // comma-separated addresses
	MSTeams int64
	Slack   int64
}

// Source says where a setting that applies comes from.
type Source string

// Sources.
const (
	FromNowhere  Source = ""
	FromProduct  Source = "product"
	FromGroup    Source = "product_group"
	FromSettings Source = "settings"
)

// Settings are what a product, or a product group, says about its notifications.
type Settings struct {
	Conditions Conditions
	Contacts   Contacts
	Paused     bool // notification_paused_until is in the future
}

// Applied are the settings that apply to a product, each with the place it comes from.
type Applied struct {
	Conditions Conditions
	Contacts   Contacts
	Paused     bool
	From       Sources
}

// Sources says for each setting of Applied where it comes from.
type Sources struct {
	MinSeverity, Statuses, MinPriority, ParserType, EmailTo, MSTeams, Slack Source
}

// Effective takes each setting from the product or, where that is empty, from its group. group is nil for a product
// without one.
func Effective(product Settings, group *Settings) Applied {
	if group == nil {
		group = &Settings{}
	}
	var a Applied
	p, g := product, group
	a.Conditions.MinSeverity, a.From.MinSeverity = pick(p.Conditions.MinSeverity, g.Conditions.MinSeverity)
	a.Conditions.MinPriority, a.From.MinPriority = pick(p.Conditions.MinPriority, g.Conditions.MinPriority)
	a.Contacts.EmailTo, a.From.EmailTo = pick(strings.TrimSpace(p.Contacts.EmailTo), strings.TrimSpace(g.Contacts.EmailTo))
	a.Contacts.MSTeams, a.From.MSTeams = pick(p.Contacts.MSTeams, g.Contacts.MSTeams)
	a.Contacts.Slack, a.From.Slack = pick(p.Contacts.Slack, g.Contacts.Slack)
	switch {
	case len(p.Conditions.Statuses) > 0:
		a.Conditions.Statuses, a.From.Statuses = p.Conditions.Statuses, FromProduct
	case len(g.Conditions.Statuses) > 0:
		a.Conditions.Statuses, a.From.Statuses = g.Conditions.Statuses, FromGroup
	}
	a.Paused = p.Paused || g.Paused
	return a
}

// Global makes Applied of the settings that hold for all titles.
func Global(c Conditions, to Contacts) Applied {
	from := func(set bool) Source {
		if set {
			return FromSettings
		}
		return FromNowhere
	}
	return Applied{Conditions: c, Contacts: to, From: Sources{
		MinSeverity: from(c.MinSeverity != ""),
		Statuses:    from(len(c.Statuses) > 0),
		MinPriority: from(c.MinPriority != nil),
		ParserType:  from(c.ParserType != ""),
		EmailTo:     from(strings.TrimSpace(to.EmailTo) != ""),
		MSTeams:     from(to.MSTeams != 0),
		Slack:       from(to.Slack != 0),
	}}
}

// pick returns the first value that is not empty, and whose it is.
func pick[T comparable](product, group T) (T, Source) {
	var empty T
	switch {
	case product != empty:
		return product, FromProduct
	case group != empty:
		return group, FromGroup
	}
	return empty, FromNowhere
}
