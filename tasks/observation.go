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

// Observation is the state of a finding in a product. It is stored whole: an optional field that is empty empties what
// was stored before. As JSON it is an entry of POST /api/v1/observations.
type Observation struct {
	ID         int64      `json:"id"` // the web tier's own, from 1 to 2⁵³−1
	ProductID  int64      `json:"product_id"`
	Title      string     `json:"title"` // 1 to 10,000 characters, compared byte for byte
	Severity   Severity   `json:"severity"`
	Status     Status     `json:"status"`
	Priority   *int       `json:"priority"` // 1 (most urgent) to 99; nil: none
	ParserType ParserType `json:"parser_type"`

	// Optional.
	VulnerabilityID string   `json:"vulnerability_id"`
	CVSSScore       *float64 `json:"cvss_score"` // 0 to 10; nil: none
	Origin          Origin   `json:"origin"`
	URL             string   `json:"url"`             // where a reader finds the observation, https:// or http://
	KnownExploited  *bool    `json:"known_exploited"` // nil: not known
	EPSSScore       *float64 `json:"epss_score"`      // 0 to 1; nil: none
	FixedVersion    string   `json:"fixed_version"`
	Branch          string   `json:"branch"`
	Service         string   `json:"service"`
	Scanner         string   `json:"scanner"`
}

// Origin is where a finding was made: a text, or some of component, image, file and endpoint.
type Origin struct {
	Text      string
	Component string
	Image     string
	File      string
	Endpoint  string
}

// MarshalJSON writes the text, or an object of the other fields.
func (o Origin) MarshalJSON() ([]byte, error) { return dbmodel.Origin(o).MarshalJSON() }

// UnmarshalJSON reads what MarshalJSON writes.
func (o *Origin) UnmarshalJSON(b []byte) error { return (*dbmodel.Origin)(o).UnmarshalJSON(b) }

// NewObservations reports the state of at most 10,000 observations, accepted all or nothing; of several with one id
// the last one counts. The error is InvalidError.
func NewObservations(list []Observation) (*Task, error) {
	rows := make([]dbmodel.Observation, len(list))
	for i := range list {
		rows[i] = list[i].row()
	}
	return newTask(accept.NewObservations(rows))
}

// NewBaseline is NewObservations for the first import of an existing installation: the observations are stored and,
// where they match, remembered as if they had been notified, their titles too. Nothing is notified.
func NewBaseline(list []Observation) (*Task, error) {
	t, err := NewObservations(list)
	if err == nil {
		t.event.Baseline()
	}
	return t, err
}

func (o *Observation) row() dbmodel.Observation {
	return dbmodel.Observation{
		ID: o.ID, ProductID: o.ProductID, Title: o.Title, Severity: o.Severity, Status: o.Status, Priority: o.Priority,
		ParserType: o.ParserType, VulnerabilityID: o.VulnerabilityID, CVSSScore: o.CVSSScore,
		Origin: dbmodel.Origin(o.Origin),
		URL:    o.URL, KnownExploited: o.KnownExploited, EPSSScore: o.EPSSScore, FixedVersion: o.FixedVersion,
		Branch: o.Branch, Service: o.Service, Scanner: o.Scanner,
	}
}
