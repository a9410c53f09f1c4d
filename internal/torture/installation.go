package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/seed91453169/tocsin/rule"
)

// receivers are all receivers: paths of webhooks, and mail addresses.
var receivers = []string{
	"/slack/1", "/slack/2", "/slack/3", "/slack/4", "/slack/5", "/teams/1", "/teams/2", "/teams/3", "/teams/4",
	"a@example.com", "b@example.com", "c@example.com", "d@example.com",
	// Of subscriptions only:
	"/slack/6", "f@example.com", "ann@example.com", "/data/1", "/slack/daily1", "daily@example.com", "/teams/daily2",
	"/data/daily3", "bob@example.com", "/slack/root", "/slack/same1", "/teams/same2", "/data/same3",
}

// holder is a product or a product group. The webhooks in its settings are positions in receivers, from 1.
type holder struct {
	id, group int64
	rule.Settings
}

// installation is the products, groups, settings and subscriptions of a run. They do not change, except that products
// and groups are paused for a while.
type installation struct {
	groups, products []holder
	titles           rule.Settings
	exceptions       rule.Contacts
	users            []*user
	subscriptions    []*subscription
}

func newInstallation(r *rand.Rand) (p installation) {
	for i := range 3 {
		p.groups = append(p.groups, holder{id: int64(i + 1), Settings: randomSettings(r)})
	}
	for i := range producers * productsEach {
		at := holder{id: int64(i + 1), group: int64(r.IntN(4)), Settings: randomSettings(r)}
		at.Paused = r.IntN(8) == 0 // until all is reported
		p.products = append(p.products, at)
	}
	p.titles = rule.Settings{
		Conditions: rule.Conditions{MinSeverity: rule.High, Statuses: []rule.Status{rule.Open, rule.Resolved}},
		Contacts:   randomContacts(r),
	}
	p.exceptions = randomContacts(r)
	p.users = newUsers(r)
	p.subscriptions = newSubscriptions(r, p.users)
	return p
}

func randomSettings(r *rand.Rand) (s rule.Settings) {
	if r.IntN(3) > 0 {
		s.Conditions.MinSeverity = rule.Severities[r.IntN(3)]
	}
	if r.IntN(3) == 0 {
		s.Conditions.Statuses = slices.Clone(rule.Statuses[r.IntN(3) : 3+r.IntN(3)])
	}
	if r.IntN(4) == 0 {
		s.Conditions.MinPriority = new(5 + r.IntN(10))
	}
	s.Contacts = randomContacts(r)
	return s
}

// randomContacts draws contacts. Their targets are numbers of receivers, from 1.
func randomContacts(r *rand.Rand) rule.Contacts {
	c := rule.Contacts{}
	if r.IntN(2) == 0 {
		c[rule.Slack] = []rule.Contact{{Channel: rule.Slack, Target: int64(1 + r.IntN(5))}}
	}
	if r.IntN(2) == 0 {
		c[rule.MSTeams] = []rule.Contact{{Channel: rule.MSTeams, Target: int64(6 + r.IntN(4))}}
	}
	if r.IntN(3) == 0 { // the same address may come twice
		a, b := 9+r.IntN(4), 9+r.IntN(4)
		c[rule.Email] = []rule.Contact{
			{Channel: rule.Email, Target: int64(a + 1), Address: receivers[a]},
			{Channel: rule.Email, Target: int64(b + 1), Address: strings.ToUpper(receivers[b])},
		}
	}
	return c
}

// applied returns the effective settings of a product.
func (p *installation) applied(product int64) rule.Applied {
	at := p.products[product-1]
	if at.group == 0 {
		return rule.Effective(at.Settings, nil)
	}
	return rule.Effective(at.Settings, &p.groups[at.group-1].Settings)
}

// busy draws a receiver; a receiver of many products is more likely than one of few.
func (p *installation) busy(r *rand.Rand) string {
	all := slices.Concat(receiversOf(p.titles.Contacts), receiversOf(p.exceptions))
	for i := range p.products {
		if a := p.applied(p.products[i].id); !a.Paused {
			all = append(all, receiversOf(a.Contacts)...)
		}
	}
	for _, s := range p.subscriptions {
		for _, c := range s.Contacts {
			all = append(all, receivers[c.Target-1])
		}
	}
	return all[r.IntN(len(all))]
}

// receiversOf returns the receivers of contacts, sorted.
func receiversOf(c rule.Contacts) []string { return reached(rule.Applied{Contacts: c}, nil) }

// reached returns the receivers of a notification under some settings, sorted; nil stands for any.
func reached(a rule.Applied, n *rule.Notification) (out []string) {
	for _, r := range rule.Recipients(a, n, rule.Ability{EmailFrom: "anybody"}) {
		if r.Reason == "" {
			out = append(out, receivers[r.Target-1])
		}
	}
	slices.Sort(out)
	return out
}

// body is the body of the PUT of a product or group; base is the URL of the webhooks.
func (p holder) body(kind, base string) object {
	o := object{
		"name":                                  fmt.Sprint(kind, " ", p.id),
		"observation_notification_min_severity": string(p.Conditions.MinSeverity),
		"observation_notification_statuses":     p.Conditions.Statuses,
		"observation_notification_min_priority": p.Conditions.MinPriority,
	}
	if p.group != 0 {
		o["product_group_id"] = p.group
	}
	if p.Paused {
		o["notification_paused_until"] = forever
	}
	addContacts(o, "notification", p.Contacts, base)
	return o
}

func addContacts(o object, prefix string, c rule.Contacts, base string) {
	for _, channel := range rule.SettingChannels {
		var list []string
		for _, contact := range c[channel] {
			if contact.Address != "" {
				list = append(list, contact.Address)
			} else {
				list = append(list, base+receivers[contact.Target-1])
			}
		}
		o[prefix+"_"+channel.Info().Setting] = strings.Join(list, ", ")
	}
}

// settings is the body of the PATCH of the settings.
func (p *installation) settings(base string) object {
	c := p.titles.Conditions
	o := object{
		"email_from": "tocsin@example.com", "digest_threshold": 0, "member_notification_types": rule.MemberTypes,
		"observation_title_notification_min_severity": c.MinSeverity,
		"observation_title_notification_statuses":     c.Statuses,
	}
	addContacts(o, "observation_title_notification", p.titles.Contacts, base)
	addContacts(o, "exception", p.exceptions, base)
	return o
}
