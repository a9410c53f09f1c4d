package web

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

const (
	noSenderAddress = "The setting email_from is empty: without it no email is sent."
	noMailServer    = "Email is not configured: set MAILGUN_DOMAIN and MAILGUN_API_KEY, or SMTP_URL."
)

// contact is somebody who is told, by the settings of this moment.
type contact struct {
	channel rule.Channel
	address channel.Secret
	shown   string // as it may be answered
	source  rule.Source
	fault   string // why its address cannot be used; empty: it can
}

// contactsOf lists who is told by settings, whether or not email can be sent.
func (s *server) contactsOf(ctx context.Context, db bun.IDB, a rule.Applied) ([]contact, error) {
	var out []contact
	for _, address := range rule.Addresses(a.Contacts.EmailTo) {
		out = append(out, contact{channel: rule.Email, address: channel.Secret(address), shown: address, source: a.From.EmailTo})
	}
	targets, err := dbmodel.TargetsByID(ctx, db, []int64{a.Contacts.MSTeams, a.Contacts.Slack})
	if err != nil {
		return nil, fmt.Errorf("load targets: %w", err)
	}
	for _, webhook := range []struct {
		id     int64
		source rule.Source
	}{{a.Contacts.MSTeams, a.From.MSTeams}, {a.Contacts.Slack, a.From.Slack}} {
		t := targets[webhook.id]
		if t == nil {
			continue
		}
		c := contact{channel: t.Channel, shown: s.redacted(t.Channel, t.Address), source: webhook.source}
		address, err := s.vault.OpenAddress(t.Channel, t.Address)
		if err != nil {
			c.fault = "The address cannot be read, because the key that sealed it is lost: set it anew."
		}
		c.address = channel.Secret(address)
		out = append(out, c)
	}
	return out, nil
}

// hindrance says why somebody cannot be told whatever happens; empty: nothing is in the way.
func (s *server) hindrance(c contact, settings *dbmodel.Settings) string {
	_, configured := s.senders[c.channel]
	switch {
	case c.fault != "":
		return c.fault
	case c.channel == rule.Email && settings.EmailFrom == "":
		return noSenderAddress
	case c.channel == rule.Email && !configured:
		return noMailServer
	}
	return ""
}
