package tasks

import (
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

// Severity is "Critical", "High", "Medium", "Low", "None" or "Unknown".
type Severity = rule.Severity

// Status is "Open", "Affected", "In review", "Resolved", "Duplicate", "False positive", "Not affected", "Not security"
// or "Risk accepted".
type Status = rule.Status

// ParserType is "SCA", "SAST", "DAST", "IAST", "Secrets", "Infrastructure", "Other" or "Manual".
type ParserType = rule.ParserType

// Observation is the state of a finding in a product. It replaces the stored state as a whole: an optional field that
// is empty clears the stored value. As JSON it is an entry of POST /api/v1/observations.
type Observation struct {
	ID         int64      `json:"id"` // the web tier's own, from 1 to 2⁵³−1
	ProductID  int64      `json:"product_id"`
	Title      string     `json:"title"` // 1 to 10,000 characters, compared byte for byte
	Severity   Severity   `json:"severity"`
	Status     Status     `json:"status"`
	Priority   *int       `json:"priority"` // 1 (most urgent) to 99; nil: none
	ParserType ParserType `json:"parser_type"`

	Details
}

// Details are the optional facts of an observation, such as CVSSScore, Origin, KnownExploited or FixedVersion.
type Details = dbmodel.Details

// Origin is where a finding was made: a text, or some of component, image, file and endpoint.
type Origin = dbmodel.Origin

// NewObservations reports the state of at most 10,000 observations, accepted all or nothing; of several with one id
// the last one counts. The error is InvalidError.
func NewObservations(list []Observation) (*Task, error) {
	rows := make([]dbmodel.Observation, len(list))
	for i := range list {
		rows[i] = dbmodel.Observation(list[i])
	}
	return newTask(accept.NewObservations(rows))
}

// NewBaseline is NewObservations for the first import of an existing installation: the observations are stored and,
// where they or their titles match the settings of their product, remembered as if they had been notified. Nothing is
// notified.
func NewBaseline(list []Observation) (*Task, error) {
	t, err := NewObservations(list)
	if err == nil {
		t.event.Baseline()
	}
	return t, err
}
