package rule_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/internal/conformance"
	"github.com/seed91453169/tocsin/rule"
)

// places numbers webhooks, as targets have ids.
type places struct{ webhooks []string }

func (p *places) id(url string) int64 {
	if url == "" {
		return 0
	}
	if i := slices.Index(p.webhooks, url); i >= 0 {
		return int64(i + 1)
	}
	p.webhooks = append(p.webhooks, url)
	return int64(len(p.webhooks))
}

func (p *places) settings(t *testing.T, raw json.RawMessage) rule.Settings {
	t.Helper()
	var s struct {
		EmailTo     string        `json:"notification_email_to"`
		MSTeams     string        `json:"notification_ms_teams_webhook"`
		Slack       string        `json:"notification_slack_webhook"`
		MinSeverity rule.Severity `json:"observation_notification_min_severity"`
		Statuses    []rule.Status `json:"observation_notification_statuses"`
		MinPriority *int          `json:"observation_notification_min_priority"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return rule.Settings{
		Conditions: rule.Conditions{MinSeverity: s.MinSeverity, Statuses: s.Statuses, MinPriority: s.MinPriority},
		Contacts:   p.contacts(s.EmailTo, s.MSTeams, s.Slack),
	}
}

// contacts are those of a holder: addresses with commas between them, and a webhook of each other channel.
func (p *places) contacts(email, teams, slack string) rule.Contacts {
	out := rule.Contacts{}
	for _, a := range rule.Addresses(email) {
		identity, _ := rule.EmailIdentity(a)
		out[rule.Email] = append(out[rule.Email], rule.Contact{Channel: rule.Email, Target: p.id(identity), Address: a})
	}
	for c, url := range map[rule.Channel]string{rule.MSTeams: teams, rule.Slack: slack} {
		if url != "" {
			out[c] = []rule.Contact{{Channel: c, Target: p.id(url)}}
		}
	}
	return out
}

func (p *places) deliveries(notification, emailFrom string, a rule.Applied) []conformance.Delivery {
	var out []conformance.Delivery
	for _, r := range rule.Recipients(a, nil, rule.Ability{EmailFrom: emailFrom}) {
		if r.Reason == "" {
			target := p.webhooks[r.Target-1]
			if r.Address != "" {
				target = r.Address
			}
			out = append(out, conformance.Delivery{Notification: notification, Channel: string(r.Channel), Target: target})
		}
	}
	return out
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range conformance.Cases(t) {
		t.Run(fmt.Sprint(c.Number), func(t *testing.T) {
			t.Parallel()
			var p places
			var global struct {
				EmailFrom   string          `json:"email_from"`
				EmailTo     string          `json:"observation_title_notification_email_to"`
				MSTeams     string          `json:"observation_title_notification_ms_teams_webhook"`
				Slack       string          `json:"observation_title_notification_slack_webhook"`
				MinSeverity rule.Severity   `json:"observation_title_notification_min_severity"`
				Statuses    []rule.Status   `json:"observation_title_notification_statuses"`
				MinPriority *int            `json:"observation_title_notification_min_priority"`
				ParserType  rule.ParserType `json:"observation_title_notification_parser_type"`
			}
			if err := json.Unmarshal(c.Settings, &global); err != nil {
				t.Fatal(err)
			}
			titles := rule.Global(
				rule.Conditions{MinSeverity: global.MinSeverity, Statuses: global.Statuses, MinPriority: global.MinPriority, ParserType: global.ParserType},
				p.contacts(global.EmailTo, global.MSTeams, global.Slack))
			groups, applied := map[int64]rule.Settings{}, map[int64]rule.Applied{}
			for _, g := range c.ProductGroups {
				groups[g.ID] = p.settings(t, g.JSON)
			}
			for _, product := range c.Products {
				var group *rule.Settings
				if product.ProductGroupID != nil {
					g := groups[*product.ProductGroupID]
					group = &g
				}
				applied[product.ID] = rule.Effective(p.settings(t, product.JSON), group)
			}
			gates := map[int64]*bool{}
			remembered := map[int64]*rule.Values{}
			rememberedTitles := map[string]*rule.Values{}
			stored := map[int64]string{}
			for i, s := range c.Steps {
				var got conformance.Expect
				switch s.Op {
				case "security_gate":
					if event := rule.Gate(gates[s.ProductID], s.Passed); event != rule.NoEvent {
						got.Notifications = append(got.Notifications, conformance.Notification{Type: "security_gate", Event: string(event), ProductID: &s.ProductID})
						got.Deliveries = append(got.Deliveries, p.deliveries("security_gate", global.EmailFrom, applied[s.ProductID])...)
					}
					gates[s.ProductID] = s.Passed
				case "observation":
					o := s.Observation
					if whole, _ := json.Marshal(o); stored[o.ID] == string(whole) {
						break // unchanged: nothing is evaluated
					} else { //nolint:revive // whole belongs to both
						stored[o.ID] = string(whole)
					}
					a := applied[o.ProductID]
					event, values := rule.Outcome(a.Conditions.Matches(o.Rule()), remembered[o.ID], o.Rule().Values)
					remembered[o.ID] = values
					if event != rule.NoEvent {
						got.Notifications = append(got.Notifications, conformance.Notification{Type: "observation", Event: string(event), ProductID: &o.ProductID, ObservationID: &o.ID})
						got.Deliveries = append(got.Deliveries, p.deliveries("observation", global.EmailFrom, a)...)
					}
					event, values = rule.DecideTitle(titles.Conditions.Matches(o.Rule()), rememberedTitles[o.Title], o.Rule().Values)
					rememberedTitles[o.Title] = values
					if event != rule.NoEvent {
						got.Notifications = append(got.Notifications, conformance.Notification{Type: "observation_title", Event: string(event)})
						got.Deliveries = append(got.Deliveries, p.deliveries("observation_title", global.EmailFrom, titles)...)
					}
				}
				if diff := cmp.Diff(sorted(s.Expect), sorted(got)); diff != "" {
					t.Fatalf("step %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func sorted(e conformance.Expect) []string {
	var out []string
	for _, n := range e.Notifications {
		b, _ := json.Marshal(n)
		out = append(out, string(b))
	}
	for _, d := range e.Deliveries {
		b, _ := json.Marshal(d)
		out = append(out, string(b))
	}
	slices.Sort(out)
	return out
}
