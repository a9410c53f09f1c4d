package message

import (
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

func TestTargetFails(t *testing.T) {
	t.Parallel()
	at := func(kind rule.HolderKind, id int64, name string) dbmodel.ContactPlace {
		return dbmodel.ContactPlace{Holder: rule.Holder{Kind: kind, ID: id}, Name: name}
	}
	product, group := at(rule.HolderProduct, 7, "Payments API"), at(rule.HolderGroup, 3, "Payments")
	for _, c := range []struct {
		channel rule.Channel
		address string
		places  []dbmodel.ContactPlace
		want    string
	}{
		{rule.Slack, "https://hooks.slack.com/…a1b2", []dbmodel.ContactPlace{product}, "Slack webhook of Payments API fails: 404 (no_service)"},
		{rule.MSTeams, "https://x/…a1b2", []dbmodel.ContactPlace{group, product, product}, "Microsoft Teams webhook of group Payments and 2 more fails: 404 (no_service)"},
		{rule.Email, "a@example.com", []dbmodel.ContactPlace{product}, "Email of Payments API to a@example.com fails: 404 (no_service)"},
		{rule.Slack, "", []dbmodel.ContactPlace{at(rule.HolderTitles, 0, "")}, "Slack webhook of observation titles fails: 404 (no_service)"},
		{rule.Email, "", []dbmodel.ContactPlace{at(rule.HolderExceptions, 0, "")}, "Email for exceptions fails: 404 (no_service)"},
		{rule.Slack, "", []dbmodel.ContactPlace{at(rule.HolderProduct, 7, " ")}, "Slack webhook of product 7 fails: 404 (no_service)"},
		{rule.Slack, "https://hooks.slack.com/…a1b2", nil, "Slack webhook https://hooks.slack.com/…a1b2, which is set nowhere any more, fails: 404 (no_service)"},
		{rule.Slack, "", nil, "Slack webhook that is set nowhere any more fails: 404 (no_service)"},
		{rule.Slack, "", []dbmodel.ContactPlace{at(rule.HolderProduct, 7, "one\ntwo")}, "Slack webhook of one two fails: 404 (no_service)"},
	} {
		if got := TargetFails(c.channel, c.address, c.places, "404 (no_service)"); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestOwnFailure: a failure of Tocsin itself names neither a task type nor a class, and says nothing twice.
func TestOwnFailure(t *testing.T) {
	t.Parallel()
	n := own("slack webhook of Payments API fails: 404 (no_service)\nSlack to https://hooks.slack.com/…a1b2: it does not exist", 0)
	n.Trace = "trace"
	m := builder().Single(n, 1, webhook)
	if len(m.Facts) != 0 || m.Text != "Slack to https://hooks.slack.com/…a1b2: it does not exist\n\ntrace" {
		t.Errorf("got %+v, %q", m.Facts, m.Text)
	}
	n.Message = strings.Repeat("m", 500) // the headline cuts it
	if m := builder().Single(n, 1, webhook); !strings.HasPrefix(m.Text, "mmm") {
		t.Errorf("got %q", m.Text)
	}
	d := &dbmodel.WaitingDigest{Groups: []dbmodel.DigestGroup{of(rule.TypeTask, "", "", 2)}, Named: []dbmodel.Notification{*own("the clean-up failed", 1)}}
	want := channel.Item{Label: "Failure", Event: "×2", Name: "The clean-up failed", URL: "https://tocsin.example/notifications/99"}
	if got := builder().Digest(d, 1, mail).Items; len(got) != 1 || got[0] != want {
		t.Errorf("got %+v", got)
	}
}
