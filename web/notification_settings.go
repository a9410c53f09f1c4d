package web

import (
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// NotificationFields are the settings that products and product groups share, as they come in.
type NotificationFields struct {
	EmailTo     input.Field[input.Addresses] `json:"notification_email_to" doc:"Email addresses with commas between them"`
	MSTeams     input.Field[input.Webhook]   `json:"notification_ms_teams_webhook"`
	Slack       input.Field[input.Webhook]   `json:"notification_slack_webhook"`
	PausedUntil input.Field[time.Time]       `json:"notification_paused_until" doc:"Until then notifications are stored without deliveries"`
	MinSeverity input.Field[rule.Severity]   `json:"observation_notification_min_severity"`
	Statuses    input.Field[[]rule.Status]   `json:"observation_notification_statuses"`
	MinPriority input.Field[int]             `json:"observation_notification_min_priority" minimum:"1" maximum:"99"`
}

// NotificationAnswer is the same as it is shown.
type NotificationAnswer struct {
	EmailTo     string        `json:"notification_email_to"`
	MSTeams     string        `json:"notification_ms_teams_webhook" doc:"Redacted"`
	Slack       string        `json:"notification_slack_webhook" doc:"Redacted"`
	PausedUntil *time.Time    `json:"notification_paused_until"`
	MinSeverity rule.Severity `json:"observation_notification_min_severity"`
	Statuses    []rule.Status `json:"observation_notification_statuses" nullable:"false"`
	MinPriority *int          `json:"observation_notification_min_priority"`
}

func showNotificationSettings(n *dbmodel.NotificationSettings, holder rule.Holder, c holdersContacts) NotificationAnswer {
	return NotificationAnswer{
		EmailTo: c.of(holder, rule.Email), MSTeams: c.of(holder, rule.MSTeams), Slack: c.of(holder, rule.Slack),
		PausedUntil: utc(n.PausedUntil), MinSeverity: n.MinSeverity, Statuses: filled(n.Statuses), MinPriority: n.MinPriority,
	}
}

// merge puts what was sent, but for contacts, into n.
func (f *NotificationFields) merge(n *dbmodel.NotificationSettings) {
	input.Apply(f.PausedUntil, &n.PausedUntil, nil, input.Pointer)
	input.Apply(f.MinSeverity, &n.MinSeverity, "", input.Same)
	input.Apply(f.Statuses, &n.Statuses, nil, input.Same)
	input.Apply(f.MinPriority, &n.MinPriority, nil, input.Pointer)
}

// contacts are the contacts that were sent for a holder.
func (f *NotificationFields) contacts(holder rule.Holder) []*contactChange {
	const prefix = "notification_"
	return []*contactChange{
		contactsSent(prefix, holder, rule.Email, f.EmailTo),
		contactsSent(prefix, holder, rule.MSTeams, f.MSTeams),
		contactsSent(prefix, holder, rule.Slack, f.Slack),
	}
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
