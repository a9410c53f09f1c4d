package rule

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// HolderKind says what has contacts.
type HolderKind string

// Kinds of holders.
const (
	HolderProduct      HolderKind = "product"
	HolderGroup        HolderKind = "product_group"
	HolderTitles       HolderKind = "observation_titles"
	HolderExceptions   HolderKind = "exceptions"
	HolderSubscription HolderKind = "subscription"
)

// Holder is what has contacts: a product, a product group, a subscription, or a part of the settings, which
// has no id.
type Holder struct {
	Kind HolderKind
	ID   int64
}

// SettingSource returns the word for where the holder's contacts are set.
func (h Holder) SettingSource() SettingSource {
	switch h.Kind {
	case HolderProduct:
		return FromProduct
	case HolderGroup:
		return FromGroup
	case HolderTitles, HolderExceptions:
		return FromSettings
	case HolderSubscription:
		return FromSubscription
	}
	return FromNowhere
}

// Contact is an address as it is configured somewhere.
type Contact struct {
	Holder  Holder
	Channel Channel
	// Target is the id of the target that all contacts with this channel and address share; a signed webhook has one of
	// its own. 0: the user has no email address.
	Target  int64
	Address string // without the space around it; empty for URLs, which are secrets
	Written string // Address with that space, as the list of the setting has it
	Gone    bool   // its receiver answered that it takes nothing any more
}

// Contacts lists contacts by channel. Those of one channel have one holder, and the order in which they are written.
type Contacts map[Channel][]Contact

// All returns all contacts in the order of Channels.
func (c Contacts) All() []Contact {
	var out []Contact
	for _, channel := range Channels {
		out = append(out, c[channel]...)
	}
	return out
}

// Reason says why a contact is passed over, as a clause without a full stop; empty: it is not.
type Reason string

// Reasons.
const (
	Paused        Reason = "notifications are paused"
	NoEmailFrom   Reason = "the setting email_from is empty: without it no email is sent"
	AddressLost   Reason = "the address cannot be read, because the key that sealed it is lost: set it anew"
	NoAddress     Reason = "its user has no email address"
	ReceiverGone  Reason = "its receiver is gone (410): test it again, or change its address"
	Disabled      Reason = "the subscription is disabled"
	Unseen        Reason = "its user does not see such notifications"
	FilteredOut   Reason = "the filter of the subscription does not take it"
	Waits         Reason = "it waits for the schedule of the subscription"
	ReachedBefore Reason = "the same address receives it already"
	notConfigured Reason = "this channel is not configured"
	// NotThen is for a contact that is a recipient by the settings of today, and was none when the notification was
	// stored.
	NotThen Reason = "it was set after this had happened, or notifications were paused then"
)

// PausedBy is Paused with the words for the product or group that is paused: "product Payments API".
func PausedBy(what string) Reason { return Reason("notifications of " + what + " are paused") }

// Sentence is the reason as a sentence; empty for none.
func (r Reason) Sentence() string {
	if r == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(string(r))
	return string(unicode.ToUpper(first)) + string(r[size:]) + "."
}

// Ability says what can be sent. A nil func stands for yes: a delivery that cannot be sent is then stored all the same,
// and fails with its reason once it is tried.
type Ability struct {
	EmailFrom  string                  // the setting; empty: no email is sent
	Configured func(Channel) bool      // there is a sender for the channel
	Readable   func(target int64) bool // the address of the target can be opened
}

// Hindrance says why no notification at all can be delivered to a contact; empty: nothing hinders it.
func (a Ability) Hindrance(c Contact) Reason {
	info := c.Channel.Info()
	switch {
	case c.Target == 0:
		return NoAddress
	case c.Gone:
		return ReceiverGone
	case a.Readable != nil && !a.Readable(c.Target):
		return AddressLost
	case info.ByAddress && a.EmailFrom == "":
		return NoEmailFrom
	case a.Configured != nil && !a.Configured(c.Channel):
		return info.NotConfigured
	}
	return ""
}

// Recipient is a contact that receives a notification or, with a reason, is passed over.
type Recipient struct {
	Contact
	Reason Reason
	User   int64 // the user whose subscription it comes from; 0: it comes from a product, a group, settings or a team
	Masked bool  // it receives the notification without the parts that only administrators read
	// ForAdministrators: it comes from a team's subscription to everything, which is for administrators to see.
	ForAdministrators bool
}

// Recipients returns the contacts that receive a notification under the settings that apply and, each with the
// reason, those that are passed over: first the contacts of the settings, then those of the teams' subscriptions,
// then those of users. The settings' contacts are listed once for each target. Of several contacts that have the same
// target and no other reason to be passed over, the first one receives the notification, unmasked where one of them
// is not Masked; the others are passed over as ReachedBefore. A nil notification stands for any: then filters and
// schedules do not count.
func Recipients(a Applied, n *Notification, ability Ability) []Recipient {
	all := a.Contacts.All()
	out := make([]Recipient, 0, len(all))
	reached := make(map[int64]int, len(all)) // by target, the index in out of the contact that stands for it
	add := func(r Recipient) {
		if r.Reason == "" && a.Paused {
			r.Reason = Paused
		}
		if r.Reason == "" {
			r.Reason = ability.Hindrance(r.Contact)
		}
		if i, found := reached[r.Target]; found && r.Reason == "" {
			r.Reason = ReachedBefore
			out[i].Masked = out[i].Masked && r.Masked
		} else if r.Reason == "" {
			reached[r.Target] = len(out)
		}
		out = append(out, r)
	}
	listed := make(map[int64]bool, len(all))
	for _, c := range all {
		if !listed[c.Target] {
			listed[c.Target] = true
			add(Recipient{Contact: c})
		}
	}
	teamsFirst := func(x, y *Subscription) int { return compareTrue(x.User == 0, y.User == 0) }
	for _, s := range slices.SortedStableFunc(slices.Values(a.Subscriptions), teamsFirst) {
		reason := s.hindrance(n)
		if reason == Waits && a.IgnoreSchedules {
			reason = ""
		}
		for _, c := range s.Contacts {
			add(Recipient{
				Contact: c, Reason: reason, User: s.User, Masked: !s.Whole, ForAdministrators: s.Whole && s.User == 0,
			})
		}
	}
	return out
}
