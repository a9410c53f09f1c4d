package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// contact is a recipient, or a contact that is passed over, by the settings of this moment.
type contact struct {
	rule.Recipient
	address channel.Secret
	shown   string // as it may be answered
	fails   bool   // its target took no message when it was tried last, which not everybody may see
}

// recipients says who would receive n, or with nil whatever is notified under the settings that apply, by what this
// process can send.
func (s *server) recipients(
	ctx context.Context, db bun.IDB, a rule.Applied, n *rule.Notification, settings *dbmodel.Settings,
) ([]contact, error) {
	all := a.Contacts.All()
	for _, sub := range a.Subscriptions {
		all = append(all, sub.Contacts...)
	}
	ids := make([]int64, len(all))
	for i, c := range all {
		ids[i] = c.Target
	}
	targets, err := dbmodel.TargetsByID(ctx, db, ids)
	if err != nil {
		return nil, fmt.Errorf("load targets: %w", err)
	}
	opened := make(map[int64]string, len(targets))
	for id, t := range targets {
		if address, err := s.vault.OpenAddress(t.Channel, t.Address); err == nil {
			opened[id] = address
		}
	}
	ability := rule.Ability{
		EmailFrom:  settings.EmailFrom,
		Configured: func(c rule.Channel) bool { return s.senders[c] != nil },
		Readable:   func(target int64) bool { return opened[target] != "" },
	}
	list := rule.Recipients(a, n, ability)
	out := make([]contact, 0, len(list))
	for _, r := range list {
		c := contact{Recipient: r, address: channel.Secret(r.Address), shown: r.Address}
		if t := targets[r.Target]; t != nil {
			c.fails = t.FailingSince != nil || t.FailureNotified
		}
		if r.Address == "" {
			c.address, c.shown = channel.Secret(opened[r.Target]), lostAddress
			if r.Target == 0 {
				c.shown = ""
			}
			if c.address != "" {
				c.shown = shownAddress(r.Channel, opened[r.Target])
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// lostAddress stands for an address that was sealed with a lost key: the rest of an answer is worth more than an error.
const lostAddress = "…"

// shownAddress is how an address is answered: URLs are secrets.
func shownAddress(c rule.Channel, address string) string {
	if c.Info().ByAddress {
		return address
	}
	return channel.RedactURL(address)
}

// redacted is shownAddress of the address of a target.
func (s *server) redacted(c rule.Channel, sealed []byte) string {
	address, err := s.vault.OpenAddress(c, sealed)
	if err != nil {
		return lostAddress
	}
	return shownAddress(c, address)
}

// contactNames are the contacts of settings as they are answered.
type contactNames map[int64]string // redacted URLs by the id of their target

// of returns all contacts of one channel, as the field of a form has them.
func (n contactNames) of(c rule.Contacts, channel rule.Channel) string {
	var out []string
	for _, contact := range c[channel] {
		if contact.Address != "" {
			out = append(out, contact.Written)
		} else {
			out = append(out, n[contact.Target])
		}
	}
	return strings.Join(out, ",")
}

// contactNames reads what is shown of contacts.
func (s *server) contactNames(ctx context.Context, db bun.IDB, holders ...rule.Contacts) (contactNames, error) {
	var ids []int64
	for _, contacts := range holders {
		for _, c := range contacts.All() {
			if c.Address == "" {
				ids = append(ids, c.Target)
			}
		}
	}
	targets, err := dbmodel.TargetsByID(ctx, db, ids)
	if err != nil {
		return nil, fmt.Errorf("load targets: %w", err)
	}
	out := make(contactNames, len(targets))
	for id, t := range targets {
		out[id] = s.redacted(t.Channel, t.Address)
	}
	return out, nil
}

// holdersContacts are the contacts of holders and what is shown of them.
type holdersContacts struct {
	contacts map[rule.Holder]rule.Contacts
	names    contactNames
}

func (h holdersContacts) of(holder rule.Holder, c rule.Channel) string {
	return h.names.of(h.contacts[holder], c)
}

// shown returns the contacts of a holder as settings whose names begin with prefix.
func (h holdersContacts) shown(prefix string, holder rule.Holder) shownContacts {
	out := shownContacts{}
	for _, c := range rule.SettingChannels {
		out[prefix+c.Info().Setting] = h.of(holder, c)
	}
	return out
}

// shownContacts are contacts in an answer, by the names of their settings.
type shownContacts map[string]string

// marshal returns the JSON object of v, which is no shownContacts, with the contacts as further members.
func (c shownContacts) marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil || len(c) == 0 {
		return out.Bytes(), err
	}
	out.Truncate(bytes.LastIndexByte(out.Bytes(), '}'))
	out.WriteByte(',')
	contacts, err := json.Marshal(map[string]string(c))
	out.Write(contacts[1:])
	return out.Bytes(), err
}

// shownContactsSchema adds the contacts whose names begin with prefix to the schema of an answer.
func shownContactsSchema(s *huma.Schema, prefix string) {
	for _, c := range rule.SettingChannels {
		info := c.Info()
		property := &huma.Schema{Type: huma.TypeString}
		if !info.ByAddress {
			property.Description = "Redacted"
		}
		name := prefix + info.Setting
		s.Properties[name], s.Required = property, append(s.Required, name)
	}
}

func (s *server) contactsOf(ctx context.Context, db bun.IDB, holders ...rule.Holder) (out holdersContacts, err error) {
	if out.contacts, err = dbmodel.ContactsOf(ctx, db, holders...); err != nil {
		return out, err
	}
	var all []rule.Contacts
	for _, c := range out.contacts {
		all = append(all, c)
	}
	out.names, err = s.contactNames(ctx, db, all...)
	return out, err
}

// contactChange is what was sent for the contacts of one channel.
type contactChange struct {
	name       string // of the field
	holder     rule.Holder
	channel    rule.Channel
	set, empty bool
	text       string
	addresses  []string       // in text
	contacts   []rule.Contact // what is to be stored
	same       bool           // nothing changes
}

// contactsSent returns a contactChange for each channel.
func contactsSent(prefix string, holder rule.Holder, sent input.Contacts) []*contactChange {
	var out []*contactChange
	for _, c := range rule.SettingChannels {
		f := sent.Field(c)
		out = append(out, &contactChange{
			name: prefix + c.Info().Setting, holder: holder, channel: c, set: f.Set, empty: f.Empty, text: f.Value,
		})
	}
	return out
}

// mergeContacts finds the targets of contacts that were sent, or what is wrong with them. The redacted form of the
// stored ones changes nothing.
func (s *server) mergeContacts(ctx context.Context, tx bun.Tx, faults *input.Faults, changes []*contactChange) error {
	if err := s.checkContacts(ctx, tx, faults, changes); err != nil || len(*faults) > 0 { // nothing will be stored
		return err
	}
	for _, c := range changes {
		if c.same || c.empty {
			continue
		}
		var err error
		if c.contacts, err = dbmodel.NewContacts(ctx, tx, s.vault, c.channel, c.addresses); err != nil {
			return fmt.Errorf("store the targets of %s: %w", c.name, err)
		}
	}
	return nil
}

// checkContacts finds what is wrong with contacts that were sent, and which of them change nothing.
func (s *server) checkContacts(ctx context.Context, tx bun.Tx, faults *input.Faults, changes []*contactChange) error {
	for _, c := range changes {
		if c.same = !c.set; c.same || c.empty {
			continue
		}
		c.addresses = []string{c.text}
		switch {
		case c.channel.Info().ByAddress:
			c.addresses = strings.Split(c.text, ",")
			for i, a := range c.addresses {
				if trimmed := channel.TrimInvisible(a); trimmed != strings.TrimSpace(a) {
					c.addresses[i] = trimmed
				}
			}
		case strings.Contains(c.text, "…"):
			c.same = true
			stored, err := s.contactsOf(ctx, tx, c.holder)
			if err != nil {
				return err
			}
			if stored.of(c.holder, c.channel) != c.text {
				faults.AddOnce(c.name, "is not the shortened form of the stored address: give the whole one, "+
					"or leave the field out")
			}
		default:
			if err := channel.CheckWebhookURL(c.text, s.networks); err != nil {
				faults.AddOnce(c.name, err.Error())
			}
		}
	}
	return nil
}

// storeContacts stores what mergeContacts has found, once their holder is stored.
func storeContacts(ctx context.Context, tx bun.Tx, changes []*contactChange) error {
	for _, c := range changes {
		if c.same {
			continue
		}
		if err := dbmodel.SetContacts(ctx, tx, c.holder, c.channel, c.contacts); err != nil {
			return fmt.Errorf("store %s: %w", c.name, err)
		}
	}
	return nil
}
