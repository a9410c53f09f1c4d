package web

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// NotificationFields are the settings that products and product groups share, as they come in.
type NotificationFields struct {
	EmailTo     input.Field[input.Addresses] `json:"notification_email_to" doc:"Email addresses with commas between them"`
	MSTeams     input.Field[input.Webhook]   `json:"notification_ms_teams_webhook"`
	Slack       input.Field[input.Webhook]   `json:"notification_slack_webhook"`
	PausedUntil input.Field[time.Time]       `json:"notification_paused_until" doc:"Until then notifications are stored and nobody is told"`
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

func (s *server) showNotificationSettings(n *dbmodel.NotificationSettings, webhooks webhookNames) NotificationAnswer {
	return NotificationAnswer{
		EmailTo: n.EmailTo, MSTeams: webhooks.name(n.MSTeamsTargetID), Slack: webhooks.name(n.SlackTargetID),
		PausedUntil: utc(n.PausedUntil), MinSeverity: n.MinSeverity, Statuses: filled(n.Statuses), MinPriority: n.MinPriority,
	}
}

// mergeNotificationSettings puts what was sent into n. Faults are those that only show next to what is stored.
func (s *server) mergeNotificationSettings(ctx context.Context, tx bun.Tx, in *NotificationFields, n *dbmodel.NotificationSettings, faults *input.Faults) error {
	err := s.mergeWebhooks(ctx, tx, faults,
		webhookChange{"notification_ms_teams_webhook", rule.MSTeams, in.MSTeams, &n.MSTeamsTargetID},
		webhookChange{"notification_slack_webhook", rule.Slack, in.Slack, &n.SlackTargetID})
	input.Apply(in.EmailTo, &n.EmailTo, "", func(a input.Addresses) string { return string(a) })
	input.Apply(in.PausedUntil, &n.PausedUntil, nil, input.Pointer)
	input.Apply(in.MinSeverity, &n.MinSeverity, "", input.Same)
	input.Apply(in.Statuses, &n.Statuses, nil, input.Same)
	input.Apply(in.MinPriority, &n.MinPriority, nil, input.Pointer)
	return err
}

// webhookChange is a webhook's field, what was sent for it, and where its target is stored.
type webhookChange struct {
	name     string
	channel  rule.Channel
	sent     input.Field[input.Webhook]
	targetID **int64
}

// mergeWebhooks stores the targets of webhooks. The redacted form of the stored one changes nothing.
func (s *server) mergeWebhooks(ctx context.Context, tx bun.Tx, faults *input.Faults, changes ...webhookChange) error {
	for _, c := range changes {
		switch {
		case !c.sent.Set:
			continue
		case c.sent.Empty:
			*c.targetID = nil
			continue
		}
		address := string(c.sent.Value)
		if strings.Contains(address, "…") {
			stored, err := s.webhookNames(ctx, tx, *c.targetID)
			if err != nil {
				return err
			}
			if *c.targetID == nil || stored.name(*c.targetID) != address {
				faults.AddOnce(c.name, "is not the shortened form of the stored address: give the whole one, or leave the field out")
			}
			continue
		}
		if err := channel.CheckWebhookURL(address, s.networks); err != nil {
			faults.AddOnce(c.name, err.Error())
			continue
		}
		ids, err := dbmodel.EnsureTargets(ctx, tx, s.vault, c.channel, []string{address})
		if err != nil {
			return fmt.Errorf("store the target of %s: %w", c.name, err)
		}
		*c.targetID = &ids[0]
	}
	return nil
}

// webhookNames are redacted addresses of webhooks by the id of their target.
type webhookNames map[int64]string

func (n webhookNames) name(targetID *int64) string {
	if targetID == nil {
		return ""
	}
	return n[*targetID]
}

// webhookNames reads the redacted addresses of targets; nil stands for none.
func (s *server) webhookNames(ctx context.Context, db bun.IDB, targetIDs ...*int64) (webhookNames, error) {
	var ids []int64
	for _, id := range targetIDs {
		if id != nil {
			ids = append(ids, *id)
		}
	}
	targets, err := dbmodel.TargetsByID(ctx, db, ids)
	if err != nil {
		return nil, fmt.Errorf("load targets: %w", err)
	}
	out := make(webhookNames, len(targets))
	for id, t := range targets {
		out[id] = s.redacted(t.Channel, t.Address)
	}
	return out, nil
}

// redacted is how the address of a target is shown: email whole, webhooks redacted. One that was sealed with a lost key is
// "…": the rest of an answer is worth more than an error.
func (s *server) redacted(c rule.Channel, sealed []byte) string {
	address, err := s.vault.OpenAddress(c, sealed)
	switch {
	case err != nil:
		return "…"
	case c == rule.Email:
		return address
	}
	return channel.RedactURL(address)
}

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
