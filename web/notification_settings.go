package web

import (
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// notificationPrefix begins the names of the contacts of products and product groups.
const notificationPrefix = "notification_"

// NotificationFields are the settings that products and product groups share, as they come in.
type NotificationFields struct {
	Contacts    input.Contacts             `json:"-" contacts:"notification_"`
	PausedFrom  input.Field[time.Time]     `json:"notification_paused_from" doc:"When the pause begins; null: at once"`
	PausedUntil input.Field[time.Time]     `json:"notification_paused_until" doc:"Until then notifications are stored without deliveries"`
	MinSeverity input.Field[rule.Severity] `json:"observation_notification_min_severity"`
	Statuses    input.Field[[]rule.Status] `json:"observation_notification_statuses"`
	MinPriority input.Priority             `json:"observation_notification_min_priority"`

	KnownExploited input.Field[input.OnlyTrue] `json:"observation_notification_known_exploited" doc:"true: what is known to be exploited is notified whatever its severity and priority"`
}

// TransformSchema implements huma.SchemaTransformer, also for the types that embed it.
func (f NotificationFields) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	input.ContactsSchema(s, reflect.TypeOf(f))
	return s
}

// NotificationAnswer is the same as it is shown. A type that embeds it shows its contacts in its own MarshalJSON.
type NotificationAnswer struct {
	contacts    shownContacts
	PausedFrom  *time.Time    `json:"notification_paused_from"`
	PausedUntil *time.Time    `json:"notification_paused_until"`
	MinSeverity rule.Severity `json:"observation_notification_min_severity"`
	Statuses    []rule.Status `json:"observation_notification_statuses" nullable:"false"`
	MinPriority *int          `json:"observation_notification_min_priority"`

	KnownExploited *bool `json:"observation_notification_known_exploited" doc:"true, or null: not set"`
}

// TransformSchema implements huma.SchemaTransformer, also for the types that embed it.
func (NotificationAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	shownContactsSchema(s, notificationPrefix)
	return s
}

func showNotificationSettings(
	n *dbmodel.NotificationSettings, holder rule.Holder, c holdersContacts,
) NotificationAnswer {
	out := NotificationAnswer{
		contacts: c.shown(notificationPrefix, holder), PausedFrom: utc(n.PausedFrom), PausedUntil: utc(n.PausedUntil),
		MinSeverity: n.MinSeverity, Statuses: filled(n.Statuses), MinPriority: n.MinPriority,
	}
	if n.KnownExploited {
		out.KnownExploited = new(true)
	}
	return out
}

// merge puts what was sent, but for contacts, into n. A pause that is cleared has no beginning either.
func (f *NotificationFields) merge(n *dbmodel.NotificationSettings, faults *input.Faults) {
	input.Apply(f.PausedFrom, &n.PausedFrom, nil, input.Pointer)
	input.Apply(f.PausedUntil, &n.PausedUntil, nil, input.Pointer)
	switch from, until := n.PausedFrom, n.PausedUntil; {
	case until == nil && f.PausedUntil.Set && (!f.PausedFrom.Set || f.PausedFrom.Empty):
		n.PausedFrom = nil
	case from != nil && (until == nil || !from.Before(*until)):
		faults.AddOnce("notification_paused_from", "must be before notification_paused_until")
	}
	input.Apply(f.MinSeverity, &n.MinSeverity, "", input.Same)
	input.Apply(f.Statuses, &n.Statuses, nil, input.Same)
	input.Apply(f.MinPriority.Field, &n.MinPriority, nil, input.Pointer)
	input.Apply(f.KnownExploited, &n.KnownExploited, false, func(v input.OnlyTrue) bool { return bool(v) })
}

// contacts are the contacts that were sent for a holder.
func (f *NotificationFields) contacts(holder rule.Holder) []*contactChange {
	return contactsSent(notificationPrefix, holder, f.Contacts)
}

func productHolder(id int64) rule.Holder { return rule.Holder{Kind: rule.HolderProduct, ID: id} }

func groupHolder(id int64) rule.Holder { return rule.Holder{Kind: rule.HolderGroup, ID: id} }

// utc is a time as it is answered.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// filled is a list that JSON shows as [] where it is empty.
func filled[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
