package rule

// Conditions are the settings that say which observations or titles are worth knowing. The zero value sets nothing.
type Conditions struct {
	MinSeverity Severity   // empty: not set
	Statuses    []Status   // empty: not set
	MinPriority *int       // nil: not set
	ParserType  ParserType // of titles only; empty: not set

	// KnownExploited widens the others, and is of observations only: an observation that is known to be exploited, with
	// a status that fits, matches whatever its severity and priority. Where no other condition is set, no other
	// observation matches.
	KnownExploited bool
}

// IsSet reports whether at least one condition is set. Where none is, nothing matches.
func (c Conditions) IsSet() bool {
	return c.narrows() || c.KnownExploited
}

// narrows reports whether a condition other than KnownExploited is set.
func (c Conditions) narrows() bool {
	return c.MinSeverity != "" || len(c.Statuses) > 0 || c.MinPriority != nil || c.ParserType != ""
}

// SettingSource says where a setting that applies comes from.
type SettingSource string

// Sources.
const (
	FromNowhere      SettingSource = ""
	FromProduct      SettingSource = "product"
	FromGroup        SettingSource = "product_group"
	FromSettings     SettingSource = "settings"
	FromSubscription SettingSource = "subscription"
)

// Settings are what a product, or a product group, says about its notifications.
type Settings struct {
	Conditions Conditions
	Contacts   Contacts
	Paused     bool // now: its pause has begun and is not over
}

// Applied are the settings that apply to a product or, as Global makes them, to all titles, each with the place it
// comes from.
type Applied struct {
	Conditions Conditions
	Contacts   Contacts
	Paused     bool
	From       SettingSources
	// Subscriptions are those that hold for the product, ordered by id. Effective and Global leave the list empty.
	Subscriptions []*Subscription
	// IgnoreSchedules makes all that a subscription takes go at once, whatever its schedule.
	IgnoreSchedules bool
}

// SettingSources says for each condition of Applied where it comes from. Contacts name their holder.
type SettingSources struct {
	MinSeverity, Statuses, MinPriority, ParserType, KnownExploited SettingSource
}

// Effective takes each setting from the product or, where that is empty, from its group. group is nil for a product
// without one.
func Effective(product Settings, group *Settings) Applied {
	if group == nil {
		group = &Settings{}
	}
	p, g := product.Conditions, group.Conditions
	a := Applied{Contacts: Contacts{}, Paused: product.Paused || group.Paused}
	a.Conditions.MinSeverity, a.From.MinSeverity = pick(p.MinSeverity, g.MinSeverity)
	a.Conditions.MinPriority, a.From.MinPriority = pick(p.MinPriority, g.MinPriority)
	a.Conditions.KnownExploited, a.From.KnownExploited = pick(p.KnownExploited, g.KnownExploited)
	switch {
	case len(p.Statuses) > 0:
		a.Conditions.Statuses, a.From.Statuses = p.Statuses, FromProduct
	case len(g.Statuses) > 0:
		a.Conditions.Statuses, a.From.Statuses = g.Statuses, FromGroup
	}
	for _, c := range Channels {
		switch {
		case len(product.Contacts[c]) > 0:
			a.Contacts[c] = product.Contacts[c]
		case len(group.Contacts[c]) > 0:
			a.Contacts[c] = group.Contacts[c]
		}
	}
	return a
}

// Global makes Applied of the settings that hold for all titles.
func Global(c Conditions, to Contacts) Applied {
	from := func(set bool) SettingSource {
		if set {
			return FromSettings
		}
		return FromNowhere
	}
	return Applied{Conditions: c, Contacts: to, From: SettingSources{
		MinSeverity: from(c.MinSeverity != ""),
		Statuses:    from(len(c.Statuses) > 0),
		MinPriority: from(c.MinPriority != nil),
		ParserType:  from(c.ParserType != ""),
	}}
}

// pick returns the first value that is not empty, and whose it is.
func pick[T comparable](product, group T) (T, SettingSource) {
	var empty T
	switch {
	case product != empty:
		return product, FromProduct
	case group != empty:
		return group, FromGroup
	}
	return empty, FromNowhere
}
