package dbmodel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Observation is a finding in a product, as the web tier states it.
type Observation struct {
	ID              int64           `json:"id"`
	ProductID       int64           `json:"product_id"`
	Title           string          `json:"title"`
	Severity        rule.Severity   `json:"severity"`
	Status          rule.Status     `json:"status"`
	Priority        *int            `json:"priority"` // 1 (most urgent) to 99; nil: none
	ParserType      rule.ParserType `json:"parser_type"`
	VulnerabilityID string          `json:"vulnerability_id"`
	CVSSScore       *float64        `json:"cvss_score"` // 0 to 10
	Origin          Origin          `json:"origin"`
	URL             string          `json:"url"`
	KnownExploited  *bool           `json:"known_exploited"` // nil: not known
	EPSSScore       *float64        `json:"epss_score"`      // 0 to 1
	FixedVersion    string          `json:"fixed_version"`
	Branch          string          `json:"branch"`
	Service         string          `json:"service"`
	Scanner         string          `json:"scanner"`
}

// TextSize returns how many bytes the texts of any length of the observation have.
func (o *Observation) TextSize() int {
	size := 0
	for _, text := range []string{
		o.Title, o.VulnerabilityID, o.URL, o.FixedVersion, o.Branch, o.Service, o.Scanner,
		o.Origin.Text, o.Origin.Component, o.Origin.Image, o.Origin.File, o.Origin.Endpoint,
	} {
		size += len(text)
	}
	return size
}

// details are the optional fields of an observation that decide nothing and are seldom filled, as one column holds them.
type details struct {
	EPSSScore    *float64 `json:"epss_score,omitempty"`
	FixedVersion string   `json:"fixed_version,omitempty"`
	Branch       string   `json:"branch,omitempty"`
	Service      string   `json:"service,omitempty"`
	Scanner      string   `json:"scanner,omitempty"`
}

// detailsColumn returns the details as they are stored: empty, or JSON. Equal details are equal texts.
func (o *Observation) detailsColumn() string {
	d := details{o.EPSSScore, o.FixedVersion, o.Branch, o.Service, o.Scanner}
	if d == (details{}) {
		return ""
	}
	b, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("dbmodel: details: %v", err)) // texts and a checked number only
	}
	return string(b)
}

// setDetails reads what detailsColumn returned.
func (o *Observation) setDetails(column string) error {
	if column == "" {
		return nil
	}
	var d details
	if err := json.Unmarshal([]byte(column), &d); err != nil {
		return fmt.Errorf("read the details of observation %d: %w", o.ID, err)
	}
	o.EPSSScore, o.FixedVersion, o.Branch, o.Service, o.Scanner = d.EPSSScore, d.FixedVersion, d.Branch, d.Service, d.Scanner
	return nil
}

// Origin is where a finding was made: a text, or some of component, image, file and endpoint.
type Origin struct {
	Text      string
	Component string
	Image     string
	File      string
	Endpoint  string
}

type originParts struct {
	Component string `json:"component,omitempty"`
	Image     string `json:"image,omitempty"`
	File      string `json:"file,omitempty"`
	Endpoint  string `json:"endpoint,omitempty"`
}

// MarshalJSON writes what UnmarshalJSON reads; an empty origin is "".
func (o Origin) MarshalJSON() ([]byte, error) {
	if p := (originParts{o.Component, o.Image, o.File, o.Endpoint}); p != (originParts{}) {
		return json.Marshal(p)
	}
	return json.Marshal(o.Text)
}

// UnmarshalJSON reads a text or an object of component, image, file and endpoint; null is empty.
func (o *Origin) UnmarshalJSON(b []byte) error {
	*o = Origin{}
	b = bytes.TrimSpace(b)
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &o.Text)
	}
	var p originParts
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return errors.New("origin must be a text or an object of component, image, file and endpoint, each a text")
	}
	*o = Origin{Component: p.Component, Image: p.Image, File: p.File, Endpoint: p.Endpoint}
	return nil
}

// column is the origin as it is stored: empty, or JSON.
func (o Origin) column() string {
	if o == (Origin{}) {
		return ""
	}
	b, err := o.MarshalJSON()
	if err != nil {
		panic(fmt.Sprintf("dbmodel: origin: %v", err)) // texts only
	}
	return string(b)
}

func originFrom(column string) (o Origin, err error) {
	if column != "" {
		err = o.UnmarshalJSON([]byte(column))
	}
	return o, err
}

// TitleHash is the address of a title.
func TitleHash(title string) [sha256.Size]byte { return sha256.Sum256([]byte(title)) }

// titleIndex is the part of a title's hash that observations are indexed by.
func titleIndex(title string) int64 {
	h := TitleHash(title)
	return int64(binary.BigEndian.Uint64(h[:8])) // #nosec G115 -- any 64 bits will do
}

// StoredObservation is an observation together with what is remembered of it.
type StoredObservation struct {
	Observation
	Generation int64        // of the product when it was stored; where the product has another one it is deleted
	Remembered *rule.Values // what was last notified; nil: nothing
}

// Rule is what rule must know of the observation.
func (o *Observation) Rule() rule.Observation {
	return rule.Observation{
		Values:     rule.Values{Severity: o.Severity, Status: o.Status, Priority: o.Priority, KnownExploited: o.KnownExploited},
		ParserType: o.ParserType,
	}
}

const storedColumns = `o.id, o.product_id, o.title, o.severity, o.status, o.priority, o.parser_type, o.vulnerability_id, o.cvss_score, o.origin, o.url, o.known_exploited, o.details,
	o.notified_severity, o.notified_status, o.notified_priority, o.notified_known_exploited, o.generation`

// ObservationsForUpdate reads the observations with the given ids, by id, and keeps others from changing them until the
// transaction ends. Those that do not exist are left out.
func ObservationsForUpdate(ctx context.Context, tx bun.Tx, ids []int64) ([]StoredObservation, error) {
	return observationsByKey(ctx, tx, ids, forUpdate(tx))
}

// Observations reads the observations with the given ids, by id, and locks none. Those that do not exist are left out.
func Observations(ctx context.Context, db bun.Tx, ids []int64) ([]StoredObservation, error) {
	return observationsByKey(ctx, db, ids, "")
}

// observationsByKey reads observations by id and locks each with the clause lock; they must be locked in this order, so it is
// the one in which they are looked up.
func observationsByKey(ctx context.Context, db bun.IDB, ids []int64, lock string) ([]StoredObservation, error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	from, args := rowsFrom(db, "i", 1, col{"id", "bigint", ids})
	return collect(ctx, db, scanObservation, "SELECT "+storedColumns+" FROM "+from+" "+lookUp(db, "JOIN", "observations", "o", "id = i.id", lock), args...)
}

// ObservationExists returns ErrNotFound where there is no such observation.
func ObservationExists(ctx context.Context, db bun.IDB, id int64) error {
	var found int64
	return Translate(raw(db).QueryRowContext(ctx, "SELECT id FROM observations o WHERE id = $1 AND "+liveObservations("o"), id).Scan(&found))
}

// ObservationByID returns ErrNotFound where there is none.
func ObservationByID(ctx context.Context, db bun.IDB, id int64) (*StoredObservation, error) {
	return observationByID(ctx, db, id, "TRUE")
}

func observationByID(ctx context.Context, db bun.IDB, id int64, condition string) (*StoredObservation, error) {
	list, err := collect(ctx, db, scanObservation, "SELECT "+storedColumns+" FROM observations o WHERE o.id = $1 AND "+liveObservations("o")+" AND "+condition, id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return &list[0], nil
}

func scanObservation(rows *sql.Rows) (o StoredObservation, err error) {
	var origin, details string
	var r remembered
	if err = rows.Scan(&o.ID, &o.ProductID, &o.Title, &o.Severity, &o.Status, &o.Priority, &o.ParserType,
		&o.VulnerabilityID, &o.CVSSScore, &origin, &o.URL, &o.KnownExploited, &details, &r.severity, &r.status, &r.priority, &r.exploited, &o.Generation); err != nil {
		return o, err
	}
	o.Remembered = r.values()
	if o.Origin, err = originFrom(origin); err != nil {
		return o, err
	}
	return o, o.setDetails(details)
}

// remembered takes the columns notified_*.
type remembered struct {
	severity, status sql.NullString
	priority         *int
	exploited        *bool
}

func (r *remembered) values() *rule.Values {
	if !r.severity.Valid {
		return nil
	}
	return &rule.Values{Severity: rule.Severity(r.severity.String), Status: rule.Status(r.status.String), Priority: r.priority, KnownExploited: r.exploited}
}

// valueCols are columns of remembered values, where nil is nothing.
func valueCols(list []*rule.Values) []col {
	severities, statuses := make([]*string, len(list)), make([]*string, len(list))
	priorities, exploited := make([]*int, len(list)), make([]*bool, len(list))
	for i, v := range list {
		if v != nil {
			severity, status := string(v.Severity), string(v.Status)
			severities[i], statuses[i], priorities[i], exploited[i] = &severity, &status, v.Priority, v.KnownExploited
		}
	}
	return []col{
		{"severity", "text", severities}, {"status", "text", statuses}, {"priority", "smallint", priorities},
		{"known_exploited", "boolean", exploited},
	}
}

// Remember stores what is remembered of the observations with the given ids; nil forgets.
func Remember(ctx context.Context, tx bun.Tx, ids []int64, values []*rule.Values) error {
	if len(ids) == 0 {
		return nil
	}
	from, args := rowsFrom(tx, "i", 1, append([]col{{"id", "bigint", ids}}, valueCols(values)...)...)
	_, err := execCount(ctx, tx, `UPDATE observations SET notified_severity = i.severity, notified_status = i.status, notified_priority = i.priority,
			notified_known_exploited = i.known_exploited
		FROM `+from+` WHERE observations.id = i.id`, args...)
	return err
}

// DeleteObservation removes an observation and what is remembered of it. It returns ErrNotFound where there is none.
func DeleteObservation(ctx context.Context, db bun.IDB, id int64) error {
	n, err := execCount(ctx, db, "DELETE FROM observations WHERE id = $1 AND "+liveObservations("observations"), id)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}
