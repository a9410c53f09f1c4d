package rule

import (
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

// Source is the place where the holder's contacts are set.
func (h Holder) Source() Source {
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
	Target  int64  // the one target that all contacts with this channel and address share
	Address string // as it was written; empty for URLs, which are secrets
	Written string // Address with the space around it in the list that it was written in
}

// Contacts are those of one holder, in the order in which they are written.
type Contacts map[Channel][]Contact

// All returns all contacts in the order of Channels.
func (c Contacts) All() []Contact {
	var out []Contact
	for _, channel := range Channels {
		out = append(out, c[channel]...)
	}
	return out
}

// Target returns the first target of a channel, 0 where there is none.
func (c Contacts) Target(channel Channel) int64 {
	if len(c[channel]) == 0 {
		return 0
	}
	return c[channel][0].Target
}

// Reason says why a contact is passed over, as a clause that ends without a full stop; empty: it is not.
type Reason string

// Reasons.
const (
	Paused        Reason = "notifications are paused"
	NoSender      Reason = "the setting email_from is empty: without it no email is sent"
	AddressLost   Reason = "the address cannot be read, because the key that sealed it is lost: set it anew"
	notConfigured Reason = "this channel is not configured"
	// NotThen is of a contact that is a recipient by the settings of today, and was none of a notification before.
	NotThen Reason = "it was set after this had happened, or notifications were paused then"
)

// PausedBy is Paused where it is known by which product or group.
func PausedBy(what string) Reason { return Reason("notifications of " + what + " are paused") }

// Sentence is the reason as a sentence; empty for none.
func (r Reason) Sentence() string {
	if r == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(string(r))
	return string(unicode.ToUpper(first)) + string(r[size:]) + "."
}

// Ability is what is known about sending. Where a func is nil nothing stands in the way: a delivery is stored, and fails
// with the reason once it is tried.
type Ability struct {
	EmailFrom  string                  // the setting; empty: no email is sent
	Configured func(Channel) bool      // there is a sender for the channel
	Readable   func(target int64) bool // the address of the target can be opened
}

// Hindrance says why nothing can be delivered to a contact, whatever happens.
func (a Ability) Hindrance(c Contact) Reason {
	info := c.Channel.Info()
	switch {
	case a.Readable != nil && !a.Readable(c.Target):
		return AddressLost
	case info.Addresses && a.EmailFrom == "":
		return NoSender
	case a.Configured != nil && !a.Configured(c.Channel):
		return info.NotConfigured
	}
	return ""
}

// Recipient is a contact that receives a notification or, with a reason, is passed over.
type Recipient struct {
	Contact
	Reason Reason
}

// Recipients says who receives a notification under the settings that apply, and why others do not. Of several contacts
// with the same target the first one stands for all.
func Recipients(a Applied, ability Ability) []Recipient {
	all := a.Contacts.All()
	out := make([]Recipient, 0, len(all))
	seen := make(map[int64]bool, len(all))
	for _, c := range all {
		if seen[c.Target] {
			continue
		}
		seen[c.Target] = true
		r := Recipient{Contact: c, Reason: ability.Hindrance(c)}
		if a.Paused {
			r.Reason = Paused
		}
		out = append(out, r)
	}
	return out
}
