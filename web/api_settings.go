package web

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// settingsFields are the settings as they come in.
type settingsFields struct {
	EmailFrom          input.Field[input.Sender]    `json:"email_from" doc:"Who mail comes from; empty: no mail at all"`
	TitleContacts      input.Contacts               `json:"-" contacts:"observation_title_notification_"`
	TitleMinSeverity   input.Field[rule.Severity]   `json:"observation_title_notification_min_severity"`
	TitleStatuses      input.Field[[]rule.Status]   `json:"observation_title_notification_statuses"`
	TitleMinPriority   input.Priority               `json:"observation_title_notification_min_priority"`
	TitleParserType    input.Field[rule.ParserType] `json:"observation_title_notification_parser_type"`
	ExceptionContacts  input.Contacts               `json:"-" contacts:"exception_"`
	ExceptionRateLimit input.Field[int]             `json:"exception_rate_limit" minimum:"0" maximum:"2592000" doc:"Seconds; 0: every exception is notified; null: 3600"`
	MemberTypes        input.Field[[]rule.Type]     `json:"member_notification_types" doc:"What members see, beside administrators; null: security_gate and task"`
	GiveUpHours        input.Field[int]             `json:"delivery_give_up_hours" minimum:"1" maximum:"720" doc:"null: 24"`
	DigestThreshold    input.Field[int]             `json:"digest_threshold" minimum:"0" maximum:"1000" doc:"0: never; null: 10"`
	ObservationURL     input.Field[input.Link]      `json:"observation_url" doc:"With {id}, for example https://secobserve.example/#/observations/{id}/show"`
	ProductURL         input.Field[input.Link]      `json:"product_url" doc:"With {id}"`
	ObservationTitle   input.Field[input.Link]      `json:"observation_title_url" doc:"With {title}"`
	RetentionDays      input.Field[int]             `json:"notification_retention_days" minimum:"0" maximum:"36500" doc:"0: for ever; null: 90"`
	CleanupCron        input.Field[input.CronLine]  `json:"cleanup_cron" doc:"In UTC; null: 0 3 * * *"`
}

// TransformSchema implements huma.SchemaTransformer.
func (f settingsFields) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	input.ContactsSchema(s, reflect.TypeOf(f))
	return s
}

// settingsAnswer is the same as it is shown.
type settingsAnswer struct {
	EmailFrom          string          `json:"email_from"`
	contacts           shownContacts   // of titles and exceptions
	TitleMinSeverity   rule.Severity   `json:"observation_title_notification_min_severity"`
	TitleStatuses      []rule.Status   `json:"observation_title_notification_statuses" nullable:"false"`
	TitleMinPriority   *int            `json:"observation_title_notification_min_priority"`
	TitleParserType    rule.ParserType `json:"observation_title_notification_parser_type"`
	ExceptionRateLimit int             `json:"exception_rate_limit"`
	MemberTypes        []rule.Type     `json:"member_notification_types" nullable:"false"`
	GiveUpHours        int             `json:"delivery_give_up_hours"`
	DigestThreshold    int             `json:"digest_threshold"`
	ObservationURL     string          `json:"observation_url"`
	ProductURL         string          `json:"product_url"`
	ObservationTitle   string          `json:"observation_title_url"`
	RetentionDays      int             `json:"notification_retention_days"`
	CleanupCron        string          `json:"cleanup_cron"`
}

// MarshalJSON implements json.Marshaler.
func (a settingsAnswer) MarshalJSON() ([]byte, error) {
	type withoutContacts settingsAnswer
	return a.contacts.marshal(withoutContacts(a))
}

// TransformSchema implements huma.SchemaTransformer.
func (settingsAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	shownContactsSchema(s, titlePrefix)
	shownContactsSchema(s, exceptionPrefix)
	s.Properties["member_notification_types"].Items = input.WordSchema(rule.MemberTypes)
	return s
}

type settingsOutput struct{ Body settingsAnswer }

func (s *server) apiGetSettings(ctx context.Context, _ *struct{}) (*settingsOutput, error) {
	settings, err := dbmodel.LoadSettings(ctx, s.db.Reader)
	if err != nil {
		return nil, fmt.Errorf("load the settings: %w", err)
	}
	return s.settingsOutput(ctx, s.db.Reader, settings)
}

func (s *server) apiPatchSettings(ctx context.Context, _ *struct{}) (*settingsOutput, error) {
	var sent settingsFields
	found, err := readJSONFaults(ctx, &sent)
	if err != nil {
		return nil, err
	}
	return s.patchSettings(ctx, &sent, found)
}

// patchSettings changes those settings that were sent. It refuses faults that were found before together with its own.
func (s *server) patchSettings(
	ctx context.Context, sent *settingsFields, found input.Faults,
) (out *settingsOutput, err error) {
	var changed []*contactChange
	err = s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		settings, err := dbmodel.SettingsForUpdate(ctx, tx)
		if err != nil {
			return fmt.Errorf("load the settings: %w", err)
		}
		faults := slices.Clone(found)
		contacts := sent.contacts()
		err = s.mergeContacts(ctx, tx, &faults, contacts)
		if err != nil {
			return err
		}
		if faults != nil {
			return invalid(faults...)
		}
		before := *settings
		sent.merge(settings)
		if err := s.keepsTakenSettings(ctx, tx, &before, settings, contacts); err != nil {
			return err
		}
		if err := dbmodel.SaveSettings(ctx, tx, settings); err != nil {
			return fmt.Errorf("store the settings: %w", err)
		}
		if err := storeContacts(ctx, tx, contacts); err != nil {
			return err
		}
		changed = contacts
		out, err = s.settingsOutput(ctx, tx, settings)
		return err
	})
	if err == nil {
		s.auditChange(ctx, "settings_changed", 0, sent, changed)
	}
	return out, err
}

// Prefixes of the names of settings.
const (
	titlePrefix     = "observation_title_notification_"
	exceptionPrefix = "exception_"
)

// Holders of the contacts in the settings.
var (
	titleHolder     = rule.Holder{Kind: rule.HolderTitles}
	exceptionHolder = rule.Holder{Kind: rule.HolderExceptions}
)

// contacts are the contacts that were sent.
func (f *settingsFields) contacts() []*contactChange {
	return append(contactsSent(titlePrefix, titleHolder, f.TitleContacts),
		contactsSent(exceptionPrefix, exceptionHolder, f.ExceptionContacts)...)
}

// merge puts what was sent, but for contacts, into what is stored. What has a default returns to it when it is emptied.
func (f *settingsFields) merge(s *dbmodel.Settings) {
	def := dbmodel.DefaultSettings()
	address := func(l input.Link) string { return string(l) }
	input.Apply(f.EmailFrom, &s.EmailFrom, "", func(a input.Sender) string { return string(a) })
	input.Apply(f.TitleMinSeverity, &s.TitleMinSeverity, "", input.Same)
	input.Apply(f.TitleStatuses, &s.TitleStatuses, nil, input.Same)
	input.Apply(f.TitleMinPriority.Field, &s.TitleMinPriority, nil, input.Pointer)
	input.Apply(f.TitleParserType, &s.TitleParserType, "", input.Same)
	input.Apply(f.ExceptionRateLimit, &s.ExceptionRateLimit, def.ExceptionRateLimit, input.Same)
	if !f.MemberTypes.Null { // an empty list is a value of its own
		def.MemberNotificationTypes = nil
	}
	input.Apply(f.MemberTypes, &s.MemberNotificationTypes, def.MemberNotificationTypes, input.Same)
	input.Apply(f.GiveUpHours, &s.DeliveryGiveUpHours, def.DeliveryGiveUpHours, input.Same)
	input.Apply(f.DigestThreshold, &s.DigestThreshold, def.DigestThreshold, input.Same)
	input.Apply(f.ObservationURL, &s.ObservationURL, "", address)
	input.Apply(f.ProductURL, &s.ProductURL, "", address)
	input.Apply(f.ObservationTitle, &s.ObservationTitleURL, "", address)
	input.Apply(f.RetentionDays, &s.NotificationRetentionDays, def.NotificationRetentionDays, input.Same)
	input.Apply(f.CleanupCron, &s.CleanupCron, def.CleanupCron, func(c input.CronLine) string { return string(c) })
}

func (s *server) settingsOutput(ctx context.Context, db bun.IDB, v *dbmodel.Settings) (*settingsOutput, error) {
	c, err := s.contactsOf(ctx, db, titleHolder, exceptionHolder)
	if err != nil {
		return nil, err
	}
	contacts := c.shown(titlePrefix, titleHolder)
	maps.Copy(contacts, c.shown(exceptionPrefix, exceptionHolder))
	return &settingsOutput{settingsAnswer{
		EmailFrom: v.EmailFrom, contacts: contacts,
		TitleMinSeverity: v.TitleMinSeverity, TitleStatuses: filled(v.TitleStatuses), TitleMinPriority: v.TitleMinPriority,
		TitleParserType:    v.TitleParserType,
		ExceptionRateLimit: v.ExceptionRateLimit, MemberTypes: filled(v.MemberNotificationTypes),
		GiveUpHours:     v.DeliveryGiveUpHours,
		DigestThreshold: v.DigestThreshold, ObservationURL: v.ObservationURL, ProductURL: v.ProductURL,
		ObservationTitle: v.ObservationTitleURL,
		RetentionDays:    v.NotificationRetentionDays, CleanupCron: v.CleanupCron,
	}}, nil
}
