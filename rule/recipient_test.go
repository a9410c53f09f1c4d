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
			{Contact: mail("a@example.com", 1), Reason: rule.NoEmailFrom}, {Contact: mail("b@example.com", 2), Reason: rule.NoEmailFrom}, {Contact: teams}, {Contact: slack},
		}},
		"a pause comes before all other reasons": {all, true, rule.Ability{}, []rule.Recipient{
			{Contact: mail("a@example.com", 1), Reason: rule.Paused}, {Contact: mail("b@example.com", 2), Reason: rule.Paused}, {Contact: teams, Reason: rule.Paused}, {Contact: slack, Reason: rule.Paused},
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
			[]rule.Recipient{{Contact: slack, Reason: rule.Slack.Info().NotConfigured}},
		},
		"a lost address comes before its channel": {
			rule.Contacts{rule.Slack: {slack}, rule.MSTeams: {teams}},
			false,
			rule.Ability{Configured: nothing, Readable: func(target int64) bool { return target != slack.Target }},
			[]rule.Recipient{{Contact: teams, Reason: rule.MSTeams.Info().NotConfigured}, {Contact: slack, Reason: rule.AddressLost}},
		},
	} {
		got := rule.Recipients(rule.Applied{Contacts: c.contacts, Paused: c.paused}, nil, c.ability)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSubscribers(t *testing.T) {
	t.Parallel()
	holder := func(id int64) rule.Holder { return rule.Holder{Kind: rule.HolderSubscription, ID: id} }
	contact := func(id, target int64) rule.Contact {
		return rule.Contact{Holder: holder(id), Channel: rule.Slack, Target: target}
	}
	team := func(id int64, contacts ...rule.Contact) *rule.Subscription {
		return &rule.Subscription{
			ID: id, Enabled: true, Contacts: contacts,
			Sees: []rule.Type{rule.TypeObservation, rule.TypeSecurityGate, rule.TypeTask},
		}
	}
	personal := func(id int64, contacts ...rule.Contact) *rule.Subscription {
		s := team(id, contacts...)
		s.User, s.Sees = 100+id, []rule.Type{rule.TypeTask}
		return s
	}
	changed := func(s *rule.Subscription, change func(*rule.Subscription)) *rule.Subscription { change(s); return s }
	slack := rule.Contact{Holder: own, Channel: rule.Slack, Target: 1}
	gone := contact(1, 2)
	gone.Gone = true
	task := &rule.Notification{Type: rule.TypeTask}
	critical := &rule.Notification{Type: rule.TypeObservation, Event: rule.EventNew, After: &rule.Values{Severity: rule.Critical}}
	for name, c := range map[string]struct {
		n       *rule.Notification
		product rule.Contacts
		paused  bool
		list    []*rule.Subscription
		want    []rule.Recipient
	}{
		"of a team": {task, nil, false, []*rule.Subscription{team(1, contact(1, 1), contact(1, 2))}, []rule.Recipient{
			{Contact: contact(1, 1), Masked: true}, {Contact: contact(1, 2), Masked: true},
		}},
		"the product's contact comes first, and reads everything": {
			task,
			rule.Contacts{rule.Slack: {slack}},
			false,
			[]*rule.Subscription{team(1, contact(1, 1))},
			[]rule.Recipient{{Contact: slack}, {Contact: contact(1, 1), Reason: rule.ReachedBefore, Masked: true}},
		},
		"a team comes before a user": {task, nil, false, []*rule.Subscription{personal(1, contact(1, 1)), team(2, contact(2, 1))}, []rule.Recipient{
			{Contact: contact(2, 1), Masked: true}, {Contact: contact(1, 1), Reason: rule.ReachedBefore, User: 101, Masked: true},
		}},
		"whole beats masked": {
			task, nil, false,
			[]*rule.Subscription{team(1, contact(1, 1)), changed(personal(2, contact(2, 1)), func(s *rule.Subscription) { s.Whole = true })},
			[]rule.Recipient{{Contact: contact(1, 1)}, {Contact: contact(2, 1), Reason: rule.ReachedBefore, User: 102}},
		},
		"one that is passed over stands for nobody": {
			task, nil, false,
			[]*rule.Subscription{changed(team(1, contact(1, 1)), func(s *rule.Subscription) { s.Enabled = false }), team(2, contact(2, 1))},
			[]rule.Recipient{{Contact: contact(1, 1), Reason: rule.Disabled, Masked: true}, {Contact: contact(2, 1), Masked: true}},
		},
		"what is not to be seen": {critical, nil, false, []*rule.Subscription{personal(1, contact(1, 1))}, []rule.Recipient{
			{Contact: contact(1, 1), Reason: rule.Unseen, User: 101, Masked: true},
		}},
		"any notification": {nil, nil, false, []*rule.Subscription{
			changed(personal(1, contact(1, 1)), func(s *rule.Subscription) { s.Filter.MinSeverity, s.Schedule = rule.Critical, "0 8 * * *" }),
		}, []rule.Recipient{{Contact: contact(1, 1), User: 101, Masked: true}}},
		"filter": {
			critical, nil, false,
			[]*rule.Subscription{changed(team(1, contact(1, 1)), func(s *rule.Subscription) { s.Filter.Types = []rule.Type{rule.TypeTask} })},
			[]rule.Recipient{{Contact: contact(1, 1), Reason: rule.FilteredOut, Masked: true}},
		},
		"schedule": {critical, nil, false, []*rule.Subscription{
			changed(team(1, contact(1, 1)), func(s *rule.Subscription) { s.Schedule = "0 8 * * *" }),
			changed(team(2, contact(2, 2)), func(s *rule.Subscription) { s.Schedule, s.AtOnce.MinSeverity = "0 8 * * *", rule.Critical }),
		}, []rule.Recipient{{Contact: contact(1, 1), Reason: rule.Waits, Masked: true}, {Contact: contact(2, 2), Masked: true}}},
		"pause": {task, nil, true, []*rule.Subscription{team(1, contact(1, 1))}, []rule.Recipient{
			{Contact: contact(1, 1), Reason: rule.Paused, Masked: true},
		}},
		"no address, a receiver that is gone": {task, nil, false, []*rule.Subscription{team(1, contact(1, 0), gone)}, []rule.Recipient{
			{Contact: contact(1, 0), Reason: rule.NoAddress, Masked: true}, {Contact: gone, Reason: rule.ReceiverGone, Masked: true},
		}},
	} {
		got := rule.Recipients(rule.Applied{Contacts: c.product, Paused: c.paused, Subscriptions: c.list}, c.n, rule.Ability{})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
