package dbmodel

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Settings are the settings that hold for everything: one row, always there. Contacts are rows of their own.
type Settings struct {
	bun.BaseModel `bun:"table:settings,alias:settings"`

	ID               int64           `bun:",pk"`
	EmailFrom        string          // empty: no email at all
	TitleMinSeverity rule.Severity   `bun:"observation_title_notification_min_severity"`
	TitleStatuses    []rule.Status   `bun:"observation_title_notification_statuses,type:jsonb"`
	TitleMinPriority *int            `bun:"observation_title_notification_min_priority"`
	TitleParserType  rule.ParserType `bun:"observation_title_notification_parser_type"`

	ExceptionRateLimit int // seconds; 0: every one is notified

	MemberNotificationTypes   []rule.Type `bun:",type:jsonb"`
	DeliveryGiveUpHours       int
	DigestThreshold           int // 0: no digests
	ObservationURL            string
	ProductURL                string
	ObservationTitleURL       string
	NotificationRetentionDays int    // 0: for ever
	CleanupCron               string // UTC
}

// DefaultSettings are the values of the settings that are never empty, as the migrations store them first; the rest is
// zero.
func DefaultSettings() *Settings {
	return &Settings{
		ExceptionRateLimit: 3600, MemberNotificationTypes: []rule.Type{rule.TypeSecurityGate, rule.TypeTask},
		DeliveryGiveUpHours: 24, DigestThreshold: 10, NotificationRetentionDays: 90, CleanupCron: "0 3 * * *",
	}
}

// TitleConditions are the conditions for observation titles.
func (s *Settings) TitleConditions() rule.Conditions {
	return rule.Conditions{
		MinSeverity: s.TitleMinSeverity, Statuses: s.TitleStatuses, MinPriority: s.TitleMinPriority,
		ParserType: s.TitleParserType,
	}
}

// LoadSettings reads the settings.
func LoadSettings(ctx context.Context, db bun.IDB) (*Settings, error) {
	s := new(Settings)
	return s, Translate(db.NewSelect().Model(s).Where("id = 1").Scan(ctx))
}

// EvaluationSettings are the settings and two facts, each of which spares most evaluations a statement.
type EvaluationSettings struct {
	Settings
	Subscribed    bool // there is any subscription
	BaselineWaits bool // a baseline of any observation waits to be evaluated
}

// LoadEvaluationSettings reads the settings and these facts, as of one moment.
func LoadEvaluationSettings(ctx context.Context, db bun.IDB) (*EvaluationSettings, error) {
	c := new(EvaluationSettings)
	return c, Translate(db.NewSelect().Model((*Settings)(nil)).ColumnExpr("?TableColumns").
		ColumnExpr("EXISTS (SELECT 1 FROM subscriptions) AS subscribed").
		ColumnExpr("EXISTS (SELECT 1 FROM outbox WHERE kind = 'baseline' AND failed_at IS NULL) AS baseline_waits").
		Where("id = 1").Scan(ctx, c))
}

// SettingsForUpdate is LoadSettings that keeps others from changing them until the transaction ends.
func SettingsForUpdate(ctx context.Context, tx bun.Tx) (*Settings, error) {
	s := new(Settings)
	return s, Translate(locked(tx.NewSelect().Model(s).Where("id = 1")).Scan(ctx))
}

// SaveSettings replaces the settings.
func SaveSettings(ctx context.Context, db bun.IDB, s *Settings) error {
	if s.TitleStatuses == nil {
		s.TitleStatuses = []rule.Status{}
	}
	if s.MemberNotificationTypes == nil {
		s.MemberNotificationTypes = []rule.Type{}
	}
	s.ID = 1
	_, err := db.NewUpdate().Model(s).WherePK().Exec(ctx)
	return Translate(err)
}
