package rule_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/rule"
)

func TestRecipients(t *testing.T) {
	t.Parallel()
	mail := func(address string, target int64) rule.Contact {
		return rule.Contact{Holder: own, Channel: rule.Email, Address: address, Target: target}
	}
	teams := rule.Contact{Holder: groups, Channel: rule.MSTeams, Target: 3}
	slack := rule.Contact{Holder: own, Channel: rule.Slack, Target: 4}
	all := rule.Contacts{
		rule.Slack: {slack}, rule.MSTeams: {teams}, rule.Email: {mail("a@example.com", 1), mail("b@example.com", 2)},
	}
	nothing := func(rule.Channel) bool { return false }
	everything := rule.Ability{EmailFrom: "tocsin@example.com"}
	for name, c := range map[string]struct {
		contacts rule.Contacts
		paused   bool
		ability  rule.Ability
		want     []rule.Recipient
	}{
		"no contact": {rule.Contacts{}, false, everything, []rule.Recipient{}},
		"all, in the order of the channels": {all, false, everything, []rule.Recipient{
			{Contact: mail("a@example.com", 1)}, {Contact: mail("b@example.com", 2)}, {Contact: teams}, {Contact: slack},
		}},
		"no sender of mail": {all, false, rule.Ability{}, []rule.Recipient{
			{mail("a@example.com", 1), rule.NoSender}, {mail("b@example.com", 2), rule.NoSender}, {Contact: teams}, {Contact: slack},
		}},
		"a pause comes before all other reasons": {all, true, rule.Ability{}, []rule.Recipient{
			{mail("a@example.com", 1), rule.Paused}, {mail("b@example.com", 2), rule.Paused}, {teams, rule.Paused}, {slack, rule.Paused},
		}},
		"one contact stands for a target": {
			rule.Contacts{rule.Email: {mail("a@example.com", 1), mail("A@EXAMPLE.COM", 1)}},
			false, everything,
			[]rule.Recipient{{Contact: mail("a@example.com", 1)}},
		},
		"a channel without a sender": {
			rule.Contacts{rule.Slack: {slack}},
			false,
			rule.Ability{Configured: nothing},
			[]rule.Recipient{{slack, rule.Slack.Info().NotConfigured}},
		},
		"a lost address comes before its channel": {
			rule.Contacts{rule.Slack: {slack}, rule.MSTeams: {teams}},
			false,
			rule.Ability{Configured: nothing, Readable: func(target int64) bool { return target != slack.Target }},
			[]rule.Recipient{{teams, rule.MSTeams.Info().NotConfigured}, {slack, rule.AddressLost}},
		},
	} {
		got := rule.Recipients(rule.Applied{Contacts: c.contacts, Paused: c.paused}, c.ability)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
