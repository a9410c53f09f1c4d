package secobserve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// key is a hash of values and of what is kept from them: while it stays the same, nothing needs to be stored.
func (p *pass) key(values ...any) (string, error) {
	text, err := json.Marshal(append(values, p.Keep))
	if err != nil {
		return "", fmt.Errorf("write settings as JSON: %w", err)
	}
	return p.Vault.SettingsKey(string(text)), nil
}

// values are the settings of a product or a group as they count.
func (n *notification) values() []any {
	return []any{n.EmailTo.V, n.Teams.V, n.Slack.V, n.MinSeverity.V, n.Statuses.V, n.MinPriority.V}
}

// contact is what SecObserve has for the contacts of a holder by one channel.
type contact struct {
	channel rule.Channel
	field   string
	text    string
}

func (n *notification) contacts() []contact {
	return []contact{
		{rule.Email, "notification_email_to", n.EmailTo.V},
		{rule.MSTeams, "notification_ms_teams_webhook", n.Teams.V},
		{rule.Slack, "notification_slack_webhook", n.Slack.V},
	}
}

// storeContacts replaces the contacts of a holder. Those that Tocsin refuses are left out; faults says which fields
// have some, without the addresses.
func (p *pass) storeContacts(
	ctx context.Context, tx bun.Tx, holder rule.Holder, list []contact,
) (faults []string, err error) {
	if p.Keep.Contacts {
		return nil, nil
	}
	for _, c := range list {
		addresses := []string{c.text}
		if c.channel.Info().ByAddress {
			addresses = rule.Addresses(c.text)
		}
		var good []string
		for _, a := range addresses {
			if a == "" {
				continue
			}
			if err := p.CheckAddress(c.channel, a); err != nil {
				faults = append(faults, c.field+": an address "+err.Error())
				continue
			}
			good = append(good, a)
		}
		contacts, err := dbmodel.NewContacts(ctx, tx, p.Vault, c.channel, good)
		if err != nil {
			return nil, fmt.Errorf("store the targets of %s: %w", c.field, err)
		}
		if err := dbmodel.SetContacts(ctx, tx, holder, c.channel, contacts); err != nil {
			return nil, fmt.Errorf("store %s: %w", c.field, err)
		}
	}
	return faults, nil
}

// storeConditions puts the conditions of a product or a group into what is stored.
func (p *pass) storeConditions(from *notification, to *dbmodel.NotificationSettings) (faults []string) {
	if p.Keep.Conditions {
		return nil
	}
	c := rule.Conditions{MinSeverity: to.MinSeverity, Statuses: to.Statuses, MinPriority: to.MinPriority}
	faults = applyConditions(&c, from.MinSeverity.V, from.Statuses.V, from.MinPriority.V)
	to.MinSeverity, to.Statuses, to.MinPriority = c.MinSeverity, c.Statuses, c.MinPriority
	return faults
}

// storeSettings stores the settings of the installation where they differ from those that were last stored.
func (p *pass) storeSettings(ctx context.Context) error {
	s := p.there.settings
	key, err := p.key(s.EmailFrom.V, s.ExceptionEmail.V, s.ExceptionTeams.V, s.ExceptionSlack.V, s.ExceptionLimit.V,
		s.MinSeverity.V, s.Statuses.V, s.MinPriority.V, s.ParserType.V, s.TitleEmail.V, s.TitleTeams.V, s.TitleSlack.V,
		s.Frontend.V)
	if err != nil {
		return err
	}
	if key == p.state.Settings {
		return p.fillLinks(ctx)
	}
	return p.commit(ctx, "the settings", func(ctx context.Context, tx bun.Tx) error {
		stored, err := dbmodel.SettingsForUpdate(ctx, tx)
		if err != nil {
			return err
		}
		faults := p.applySettings(s, stored)
		if !p.Keep.Settings {
			for holder, list := range s.contacts() {
				found, err := p.storeContacts(ctx, tx, rule.Holder{Kind: holder}, list)
				if err != nil {
					return err
				}
				faults = append(faults, found...)
			}
		}
		p.setLinks(stored)
		if err := dbmodel.SaveSettings(ctx, tx, stored); err != nil {
			return err
		}
		p.state.Settings = key
		item := dbmodel.SecObserveRefusal{Kind: "settings", ID: 1, Name: "Settings"}
		if err := p.settle(ctx, tx, item, faults); err != nil {
			return err
		}
		return dbmodel.SaveSecObserve(ctx, tx, p.state)
	})
}

func (s *settings) contacts() map[rule.HolderKind][]contact {
	const title = "observation_title_notification_"
	return map[rule.HolderKind][]contact{
		rule.HolderTitles: {
			{rule.Email, title + "email_to", s.TitleEmail.V},
			{rule.MSTeams, title + "ms_teams_webhook", s.TitleTeams.V},
			{rule.Slack, title + "slack_webhook", s.TitleSlack.V},
		},
		rule.HolderExceptions: {
			{rule.Email, "exception_email_to", s.ExceptionEmail.V},
			{rule.MSTeams, "exception_ms_teams_webhook", s.ExceptionTeams.V},
			{rule.Slack, "exception_slack_webhook", s.ExceptionSlack.V},
		},
	}
}

// longestLimit is the longest exception_rate_limit, in seconds.
const longestLimit = 30 * 24 * 60 * 60

// applySettings puts the settings, but for contacts and links, into what is stored. One that is refused stays as it
// is.
func (p *pass) applySettings(from *settings, to *dbmodel.Settings) (faults []string) {
	if p.Keep.Settings {
		return nil
	}
	// Without a sender SecObserve sends no mail, often so that Tocsin does.
	p.state.Sender = ""
	if sender := strings.TrimSpace(from.EmailFrom.V); sender != "" && !p.Keep.Contacts {
		if err := p.CheckSender(sender); err != nil {
			faults = append(faults, "email_from: "+err.Error())
		} else {
			to.EmailFrom, p.state.Sender = sender, sender
		}
	}
	if limit := from.ExceptionLimit.V; limit != nil {
		if *limit < 0 || *limit > longestLimit {
			faults = append(faults, fmt.Sprintf("exception_rate_limit: must be from 0 to %d", longestLimit))
		} else {
			to.ExceptionRateLimit = *limit
		}
	}
	if p.Keep.Conditions {
		return faults
	}
	c := to.TitleConditions()
	faults = append(faults, applyConditions(&c, from.MinSeverity.V, from.Statuses.V, from.MinPriority.V)...)
	if t := rule.ParserType(from.ParserType.V); t == "" || t.Valid() {
		c.ParserType = t
	} else {
		faults = append(faults, fmt.Sprintf("parser_type: %.40q is not a parser type", from.ParserType.V))
	}
	to.TitleMinSeverity, to.TitleStatuses, to.TitleMinPriority = c.MinSeverity, c.Statuses, c.MinPriority
	to.TitleParserType = c.ParserType
	return faults
}

// frontend is where the pages of SecObserve are, without a slash at its end; empty where it is no web address.
func (s *settings) frontend() string {
	address := strings.TrimRight(strings.TrimSpace(s.Frontend.V), "/")
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return address
}

// links are the settings that lead to the pages of SecObserve below an address: where they are stored, and their
// values.
func links(s *dbmodel.Settings, frontend string) map[*string]string {
	return map[*string]string{
		&s.ObservationURL:      frontend + "/#/observations/{id}/show",
		&s.ProductURL:          frontend + "/#/products/{id}/show",
		&s.ObservationTitleURL: frontend + "/#/observations?filter=%7B%22title%22%3A%22{title}%22%7D",
	}
}

// setLinks fills the links that are empty, or that lead to where SecObserve was before. It reports whether one
// changed.
func (p *pass) setLinks(s *dbmodel.Settings) (changed bool) {
	frontend := p.there.settings.frontend()
	if frontend == "" {
		return false
	}
	old := links(s, p.state.Frontend)
	for to, link := range links(s, frontend) {
		if *to == "" || p.state.Frontend != "" && *to == old[to] && *to != link {
			*to, changed = link, true
		}
	}
	p.state.Frontend = frontend
	return changed
}

// fillLinks does the same where the settings are as they were: somebody may have emptied one.
func (p *pass) fillLinks(ctx context.Context) error {
	stored, err := dbmodel.LoadSettings(ctx, p.DB)
	if err != nil {
		return fmt.Errorf("load the settings: %w", err)
	}
	if !p.setLinks(stored) {
		return nil
	}
	return p.commit(ctx, "the links", func(ctx context.Context, tx bun.Tx) error {
		stored, err := dbmodel.SettingsForUpdate(ctx, tx)
		if err != nil {
			return err
		}
		p.setLinks(stored)
		return dbmodel.SaveSettings(ctx, tx, stored)
	})
}
