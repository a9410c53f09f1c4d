package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// settingFields are the notification settings of a product, or of a group, for a form.
type settingFields struct {
	own       *dbmodel.NotificationSettings
	group     *dbmodel.NotificationSettings // of a product in a group; else nil
	applied   rule.Applied
	inherited rule.Applied // without the own settings
	holder    rule.Holder
	contacts  rule.Contacts // its own
	names     contactNames
	groupIs   linkTo // "group Payments"
	// paused says of each whether notification_paused_until is in the future, by the database's clock.
	ownPaused, groupPaused bool
	now                    time.Time // the database's
}

// fields returns the form.
func (f *settingFields) fields() []formField {
	a, b := f.applied, f.inherited
	list := []formField{
		{
			Name: "observation_notification_min_severity", Label: "Minimum severity", Kind: choiceField,
			Options: choices(rule.Severities, "Not set", f.own.MinSeverity),
			Help:    "Observations of this severity and worse are notified.",
			Applies: f.where(severityWords(a.Conditions), a.From.MinSeverity, severityWords(b.Conditions), b.From.MinSeverity),
		},
		{
			Name: "observation_notification_statuses", Label: "Statuses", Kind: choicesField,
			Options: choices(rule.Statuses, "", f.own.Statuses...),
			Help:    "Observations in one of these are notified; without any those that are active: Open, Affected, In review.",
			Applies: f.where(statusWords(a.Conditions), a.From.Statuses, statusWords(b.Conditions), b.From.Statuses),
		},
		{
			Name: "observation_notification_min_priority", Label: "Minimum priority", Kind: numberField, Min: rule.MinPriority,
			Max: rule.MaxPriority, Value: numeral(f.own.MinPriority),
			Help:    "1 is the most urgent, 99 the least. Observations with this priority and more urgent ones are notified.",
			Applies: f.where(priorityWords(a.Conditions), a.From.MinPriority, priorityWords(b.Conditions), b.From.MinPriority),
		},
		{
			Name: "observation_notification_known_exploited", Label: "Known exploited", Kind: checkField,
			Value: strconv.FormatBool(f.own.KnownExploited),
			Help: "Observations that are known to be exploited are notified whatever their severity and priority, " +
				"as long as their status fits; becoming known exploited is notified as a change.",
			Applies: f.where(exploitedWords(a.Conditions), a.From.KnownExploited, exploitedWords(b.Conditions),
				b.From.KnownExploited),
		},
	}
	for _, c := range rule.SettingChannels {
		field := contactField(notificationPrefix, c, f.names.of(f.contacts, c))
		field.Applies = f.where(f.names.of(a.Contacts, c), f.source(a.Contacts[c]), f.names.of(b.Contacts, c),
			f.source(b.Contacts[c]))
		list = append(list, field)
	}
	for i := range list {
		if f.group != nil && list[i].Applies.Inherited == "" { // else it says what that is
			list[i].Help += " Empty: as " + f.groupIs.Text + " says."
		}
	}
	return append(list, f.pauseFrom(), f.pause(), pauseZoneField())
}

// source says where contacts come from; FromProduct stands for the holder itself, also where that is a group.
func (f *settingFields) source(contacts []rule.Contact) rule.SettingSource {
	switch {
	case len(contacts) == 0:
		return rule.FromNowhere
	case contacts[0].Holder == f.holder:
		return rule.FromProduct
	}
	return contacts[0].Holder.SettingSource()
}

// where says which value applies and where it comes from; without says the same as it would be without the own value.
func (f *settingFields) where(
	words string, from rule.SettingSource, without string, withoutFrom rule.SettingSource,
) *applied {
	a := &applied{Words: words, Own: from == rule.FromProduct}
	if words == "" {
		a.Words = "Not set"
	}
	switch from {
	case rule.FromProduct:
		a.From.Text = "set here"
	case rule.FromGroup:
		a.From = f.fromGroup()
	case rule.FromSettings, rule.FromSubscription, rule.FromNowhere:
	}
	if a.Own && withoutFrom == rule.FromGroup {
		a.Inherited = without + ", from " + f.groupIs.Text
	}
	return a
}

func (f *settingFields) fromGroup() linkTo { return linkTo{f.groupIs.Path, "from " + f.groupIs.Text} }

// pauseFrom is the field of notification_paused_from.
func (f *settingFields) pauseFrom() formField {
	out := formField{
		Name: "notification_paused_from", Label: "Paused from", Kind: timeField,
		Help:    "When the pause begins. Empty: at once.",
		Applies: &applied{Words: "Not set", Own: f.own.PausedFrom != nil},
	}
	if f.own.PausedFrom != nil {
		out.Value = f.own.PausedFrom.UTC().Format(input.FormTimeLayout)
		out.Applies.Words, out.Applies.From = f.own.PausedFrom.UTC().Format("2006-01-02 15:04 UTC"), linkTo{Text: "set here"}
	}
	return out
}

// pause is the field of notification_paused_until: a product is paused by itself or by its group, neither overrides
// the other.
func (f *settingFields) pause() formField {
	out := formField{
		Name: "notification_paused_until", Label: "Paused until", Kind: timeField,
		Help: "Until then notifications are stored and shown in the inbox, and no message is sent. " +
			"Then each recipient gets one message with what has changed. Empty: not paused.",
		Applies: &applied{Words: "Not paused", Own: f.own.PausedUntil != nil},
	}
	const shown = "2006-01-02 15:04 UTC"
	if f.own.PausedUntil != nil {
		out.Value = f.own.PausedUntil.UTC().Format(input.FormTimeLayout)
	}
	switch {
	case f.ownPaused:
		out.Applies.Words, out.Applies.From.Text = "Paused until "+f.own.PausedUntil.UTC().Format(shown), "set here"
	case f.groupPaused:
		out.Applies.Words, out.Applies.From = "Paused until "+f.group.PausedUntil.UTC().Format(shown), f.fromGroup()
	case f.own.PausedUntil != nil && f.own.PausedFrom != nil && f.own.PausedFrom.After(f.now):
		from, until := f.own.PausedFrom.UTC().Format(shown), f.own.PausedUntil.UTC().Format(shown)
		out.Applies.Words, out.Applies.From = "Paused from "+from+" until "+until, linkTo{Text: "set here"}
	case f.own.PausedUntil != nil:
		out.Applies.Words = "Not paused any more since " + f.own.PausedUntil.UTC().Format(shown)
		out.Applies.From.Text = "set here"
	}
	return out
}

func severityWords(c rule.Conditions) string {
	switch c.MinSeverity {
	case "":
		return ""
	case rule.Critical, rule.SeverityUnknown:
		return string(c.MinSeverity)
	default:
		return string(c.MinSeverity) + " or worse"
	}
}

func statusWords(c rule.Conditions) string {
	if len(c.Statuses) == 0 {
		return "Active ones: Open, Affected, In review"
	}
	return rule.Joined(c.Statuses)
}

func priorityWords(c rule.Conditions) string {
	switch {
	case c.MinPriority == nil:
		return ""
	case *c.MinPriority == rule.MinPriority:
		return "1"
	}
	return strconv.Itoa(*c.MinPriority) + " or more urgent"
}

func exploitedWords(c rule.Conditions) string {
	if !c.KnownExploited {
		return ""
	}
	return "Whatever the severity and priority"
}

// contactWords lists contacts in few words: "2 addresses, Slack"; empty: none.
func contactWords(c rule.Contacts) string {
	var out []string
	for _, channel := range rule.Channels {
		targets := map[int64]bool{}
		for _, contact := range c[channel] {
			targets[contact.Target] = true
		}
		switch info := channel.Info(); {
		case len(targets) == 0:
		case info.ByAddress:
			out = append(out, plural(len(targets), "address", "addresses"))
		default:
			out = append(out, info.Short)
		}
	}
	return strings.Join(out, ", ")
}

// conditionWords says in few words what is notified: "High or worse, priority 5 or more urgent"; empty: nothing.
func conditionWords(c rule.Conditions) string {
	if !c.IsSet() {
		return ""
	}
	var out []string
	if w := severityWords(c); w != "" {
		out = append(out, w)
	}
	if len(c.Statuses) > 0 {
		out = append(out, rule.Joined(c.Statuses))
	}
	if w := priorityWords(c); w != "" {
		out = append(out, "priority "+w)
	}
	if c.ParserType != "" {
		out = append(out, string(c.ParserType))
	}
	if c.KnownExploited {
		out = append(out, "known exploited")
	}
	return strings.Join(out, "; ")
}

// matchWords says what follows from changed settings: how many of the counted observations match them by now. It also
// returns how many of these were not notified yet.
func matchWords(
	counts []dbmodel.ObservationCount, conditions map[int64]rule.Conditions,
) (words string, unnotified int) {
	n, word := 0, "open observation"
	for _, c := range counts {
		if conditions[c.ProductID].Matches(rule.Observation{Values: c.Values}) {
			n += c.Count
			if !c.Notified {
				unnotified += c.Count
			}
			if !c.Values.Status.Active() {
				word = "observation"
			}
		}
	}
	verb := "match"
	if n == 1 {
		verb = "matches"
	}
	return fmt.Sprintf("Applies when an observation next changes. %s %s.", plural(n, word, word+"s"), verb), unnotified
}
