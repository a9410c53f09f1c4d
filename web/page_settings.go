package web

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

const settingsPath = "/settings"

// settingsPageView is the page of the settings.
type settingsPageView struct {
	Sections []settingsSection
	Taken    string // where what is read-only is changed in SecObserve; empty: nothing is
	Faulty   int
	Channels []option
	Tests    []testResult
	Runs     []periodicRunAnswer
}

// settingsSection are settings that belong together.
type settingsSection struct {
	Title, Help string
	Fields      []formField
}

// loadSettingsPage reads the settings as the page shows them.
func (s *server) loadSettingsPage(ctx context.Context) (*settingsPageView, error) {
	out, err := s.apiGetSettings(ctx, nil)
	if err != nil {
		return nil, err
	}
	const lastRuns = 10
	runs, err := s.apiListPeriodicTasks(ctx, &ListParams{Limit: lastRuns})
	if err != nil {
		return nil, err
	}
	p := &settingsPageView{Sections: settingsSections(&out.Body), Runs: runs.Body.Items}
	if err := s.loadTakenSettings(ctx, p); err != nil {
		return nil, err
	}
	for _, c := range rule.SettingChannels {
		p.Channels = append(p.Channels, option{Value: string(c), Label: channelName(c)})
	}
	return p, nil
}

func (s *server) showSettings(w http.ResponseWriter, r *http.Request) error {
	p, err := s.loadSettingsPage(r.Context())
	if err != nil {
		return err
	}
	return s.renderSettings(w, r, p, 0)
}

func (s *server) renderSettings(w http.ResponseWriter, r *http.Request, p *settingsPageView, status int) error {
	return s.render(w, r, view{status: status, template: "settings", title: "Settings", section: "settings", data: p})
}

// saveSettings stores the settings. A form that is refused is shown again as it was filled in.
func (s *server) saveSettings(w http.ResponseWriter, r *http.Request) error {
	var sent settingsFields
	faults := input.ReadForm(r.PostForm, &sent)
	_, err := s.patchSettings(r.Context(), &sent, faults)
	if refused, is := faultsIn(err); is {
		p, err := s.loadSettingsPage(r.Context())
		if err != nil {
			return err
		}
		p.Faulty = len(refused)
		for i := range p.Sections {
			typedAll(p.Sections[i].Fields, r.PostForm, refused)
		}
		return s.renderSettings(w, r, p, http.StatusUnprocessableEntity)
	}
	if err != nil {
		return err
	}
	s.notice(r.Context(), "Saved. Conditions and targets apply from the next event on; nothing was evaluated.")
	s.redirect(w, r, settingsPath)
	return nil
}

func (s *server) sendSettingsTest(w http.ResponseWriter, r *http.Request) error {
	out, err := s.testSettings(r.Context(), queryWord(r, "channel", rule.Channels))
	if err != nil {
		return err
	}
	p, err := s.loadSettingsPage(r.Context())
	if err != nil {
		return err
	}
	if p.Tests = out.Body.Results; len(p.Tests) == 0 {
		p.Tests = []testResult{
			{Message: "Nothing is set, so no message was sent: fill in an email address or a webhook, and save."},
		}
	}
	return s.renderSettings(w, r, p, 0)
}

// settingsSections are all settings, each with what it does.
func settingsSections(a *settingsAnswer) []settingsSection {
	sections := []settingsSection{
		{"Email", "Who messages come from. The mail server itself is set in the environment: " +
			"MAILGUN_DOMAIN and MAILGUN_API_KEY, or SMTP_URL.", []formField{
			{
				Name: "email_from", Label: "Sender", Kind: textField, Value: a.EmailFrom,
				Help: "For example Tocsin <tocsin@example.com>. Empty: no email is sent to anybody.",
			},
		}},
		{"Observation titles", "One message for a title, however many products it appears in.", titleFields(a)},
		{"Exceptions and background tasks", "Faults of the application, and of Tocsin itself.", exceptionSettings(a)},
		{"What members see", "Administrators see everything.", []formField{{
			Name: "member_notification_types", Label: "Types in the inbox of members", Kind: choicesField,
			Options: typeChoices(rule.MemberTypes, a.MemberTypes),
			Help: "Members see these types of notifications, of products where they are members. None: they see nothing. " +
				memberSightWords(a.MemberTypes), Default: "security gates and background tasks",
		}}},
		{"Delivery", "", deliveryFields(a)},
		{"Links in messages", "Where the links in messages lead. Empty: to Tocsin's own page.", linkFields(a)},
		{"Clean-up", "Old notifications are deleted; never one that still waits to be delivered.", cleanupFields(a)},
	}
	for _, section := range sections {
		for i := range section.Fields {
			if f := &section.Fields[i]; f.Kind == numberField {
				f.Min, f.Max = input.Bounds[settingsFields](f.Name)
			}
		}
	}
	return sections
}

func titleFields(a *settingsAnswer) []formField {
	const prefix = titlePrefix
	list := []formField{
		{
			Name: prefix + "min_severity", Label: "Minimum severity", Kind: choiceField,
			Options: choices(rule.Severities, "Not set", a.TitleMinSeverity),
			Help:    "Titles of this severity and worse are notified. Without any condition no title is.",
		},
		{
			Name: prefix + "statuses", Label: "Statuses", Kind: choicesField,
			Options: choices(rule.Statuses, "", a.TitleStatuses...),
			Help:    "Without any: those that are active, Open, Affected and In review.",
		},
		{
			Name: prefix + "min_priority", Label: "Minimum priority", Kind: numberField, Value: numeral(a.TitleMinPriority),
			Help: "1 is the most urgent, 99 the least. Titles with this priority and more urgent ones are notified.",
		},
		{
			Name: prefix + "parser_type", Label: "Parser type", Kind: choiceField,
			Options: choices(rule.ParserTypes, "Not set", a.TitleParserType),
			Help:    "Only titles that such a scanner has found.",
		},
	}
	return append(list, contactFields(titlePrefix, a.contacts)...)
}

// contactFields are the fields of contacts of all channels.
func contactFields(prefix string, shown shownContacts) []formField {
	out := make([]formField, len(rule.SettingChannels))
	for i, c := range rule.SettingChannels {
		out[i] = contactField(prefix, c, shown[prefix+c.Info().Setting])
	}
	return out
}

func exceptionSettings(a *settingsAnswer) []formField {
	def := dbmodel.DefaultSettings()
	return append(contactFields(exceptionPrefix, a.contacts), formField{
		Name: "exception_rate_limit", Label: "Silence after an exception", Kind: numberField, Unit: "seconds",
		Value:   strconv.Itoa(a.ExceptionRateLimit),
		Default: strconv.Itoa(def.ExceptionRateLimit),
		Help: "The same exception is notified once in this time; the next message says how many were suppressed. 0: " +
			"every one is notified.",
	})
}

func deliveryFields(a *settingsAnswer) []formField {
	def := dbmodel.DefaultSettings()
	return []formField{
		{
			Name: "delivery_give_up_hours", Label: "Give up after", Kind: numberField, Unit: "hours",
			Value: strconv.Itoa(a.GiveUpHours), Default: strconv.Itoa(def.DeliveryGiveUpHours),
			Help: "When a target took nothing for so long, all that waits for it has failed. It can be sent again.",
		},
		{
			Name: "digest_threshold", Label: "Digest from", Kind: numberField, Unit: "waiting messages",
			Value: strconv.Itoa(a.DigestThreshold), Default: strconv.Itoa(def.DigestThreshold),
			Help: "When more than so many wait for one target, they go out as one message. 0: never.",
		},
	}
}

func linkFields(a *settingsAnswer) []formField {
	return []formField{
		{
			Name: "observation_url", Label: "Observation", Kind: textField, Value: a.ObservationURL,
			Help: "{id} stands for the observation, as in https://secobserve.example/#/observations/{id}/show",
		},
		{Name: "product_url", Label: "Product", Kind: textField, Value: a.ProductURL, Help: "{id} stands for the product."},
		{
			Name: "observation_title_url", Label: "Observation title", Kind: textField, Value: a.ObservationTitle,
			Help: "{title} stands for the title.",
		},
	}
}

func cleanupFields(a *settingsAnswer) []formField {
	def := dbmodel.DefaultSettings()
	return []formField{
		{
			Name: "notification_retention_days", Label: "Keep notifications for", Kind: numberField, Unit: "days",
			Value:   strconv.Itoa(a.RetentionDays),
			Default: strconv.Itoa(def.NotificationRetentionDays), Help: "Older ones are deleted. 0: they are kept for ever.",
		},
		{
			Name: "cleanup_cron", Label: "When to clean up", Kind: textField, Unit: "UTC", Value: a.CleanupCron,
			Default: def.CleanupCron,
			Help:    "A cron line: minute, hour, day of the month, month, day of the week.",
		},
	}
}

// typeChoices are the boxes of types, in the words of the inbox.
func typeChoices(types, chosen []rule.Type) []option {
	out := choices(types, "", chosen...)
	for i := range out {
		out[i].Label = rule.Type(out[i].Value).Info().Plural
	}
	return out
}

// Took is how long a run of a periodic task took, in words.
func (a periodicRunAnswer) Took() string {
	switch {
	case a.DurationMS == nil:
		return ""
	case *a.DurationMS < 1000:
		return fmt.Sprintf("%d ms", *a.DurationMS)
	}
	return fmt.Sprintf("%.1f s", float64(*a.DurationMS)/1000)
}
