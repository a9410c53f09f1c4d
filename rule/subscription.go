package rule

import (
	"slices"
	"time"
)

// AtOnce says which notifications of a scheduled subscription do not wait for its slot: those with a severity of at
// least MinSeverity and, where that is set, failed gates. The zero value lets everything wait.
type AtOnce struct{ MinSeverity Severity }

// Takes reports whether n goes at once. Its severity is that of n.After or, where that is nil, that of n.Before.
func (a AtOnce) Takes(n *Notification) bool {
	if a.MinSeverity == "" || n.HeldBack {
		return false
	}
	switch {
	case n.Type == TypeSecurityGate:
		return n.Event == EventFailed
	case !n.Type.hasValues():
		return false
	case n.After != nil:
		return n.After.Severity.Rank() <= a.MinSeverity.Rank()
	}
	return n.Before != nil && n.Before.Severity.Rank() <= a.MinSeverity.Rank()
}

// Subscription is the part of a subscription that decides whether its contacts receive a notification in its scope.
type Subscription struct {
	ID       int64
	Name     string
	User     int64 // the user whose subscription it is; 0: it is a team's
	Enabled  bool
	Whole    bool   // its recipients see all types, and nothing is masked for them
	Sees     []Type // where Whole is false: the types that they see
	Filter   Filter
	Schedule string // empty: all goes at once
	Timezone string
	NextSlot *time.Time // nil: none is to come
	Reported int64      // id of the last notification that a digest of it has taken into account
	Ends     bool       // its schedule was removed, or it was disabled: what waited goes in a last digest
	AtOnce   AtOnce
	Contacts []Contact // in the order in which they are written
}

// TeamTypes returns the types of notifications that a team's subscription to a product or a group sees.
func TeamTypes() []Type { return slices.Clone(MemberTypes) }

// PersonalTypes returns the types of notifications that the subscription of a user who is no administrator sees;
// memberTypes is the setting member_notification_types.
func PersonalTypes(memberTypes []Type) []Type {
	return slices.DeleteFunc(slices.Clone(memberTypes), func(t Type) bool { return !slices.Contains(MemberTypes, t) })
}

// WaitsFor returns the reason Waits in full: it names the digest of s that n waits for, or says that an earlier one has
// taken n into account. n is nil for any notification.
func (s *Subscription) WaitsFor(n *Notification) Reason {
	zone, err := loadZone(s.Timezone)
	switch {
	case n != nil && n.ID != 0 && n.ID <= s.Reported:
		return "it was due with an earlier digest of the subscription"
	case err != nil || s.NextSlot == nil:
		return Waits
	}
	return Reason("it is held for the digest of " + s.NextSlot.In(zone).Format("2006-01-02 15:04") + " " + zone.String())
}

// Takes reports whether s takes n, at once or with its next slot.
func (s *Subscription) Takes(n *Notification) bool {
	reason := s.hindrance(n)
	return reason == "" || reason == Waits
}

// hindrance says why s adds no recipient to n; n is nil for any notification.
func (s *Subscription) hindrance(n *Notification) Reason {
	switch {
	case !s.Enabled:
		return Disabled
	case n == nil:
		return ""
	case !s.Whole && !slices.Contains(s.Sees, n.Type):
		return Unseen
	case !s.Filter.Passes(n):
		return FilteredOut
	case s.Schedule != "" && !s.AtOnce.Takes(n):
		return Waits
	}
	return ""
}
