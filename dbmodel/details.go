package dbmodel

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// Details are the optional facts of an observation. All but KnownExploited decide nothing: messages, pages and answers
// show them.
type Details struct {
	VulnerabilityID string   `json:"vulnerability_id"`
	CVSSScore       *float64 `json:"cvss_score" bun:"cvss_score"` // 0 to 10; nil: none
	Origin          Origin   `json:"origin"`
	URL             string   `json:"url" bun:"url"`   // where a reader finds the observation, https:// or http://
	KnownExploited  *bool    `json:"known_exploited"` // nil: not known
	EPSSScore       *float64 `json:"epss_score"`      // 0 to 1; nil: none
	FixedVersion    string   `json:"fixed_version"`
	Branch          string   `json:"branch"`
	Service         string   `json:"service"`
	Scanner         string   `json:"scanner"`
}

// column holds the details that have no column of their own: empty, or JSON. Equal details are equal texts.
func (d Details) column() string {
	d.VulnerabilityID, d.CVSSScore, d.Origin, d.URL, d.KnownExploited = "", nil, Origin{}, "", nil
	if d == (Details{}) {
		return ""
	}
	return string(withoutEmpty(d))
}

// scan adds what column has written.
func (d *Details) scan(column string) error {
	if column == "" {
		return nil
	}
	return json.Unmarshal([]byte(column), d)
}

// withoutEmpty is the JSON of a struct as it is stored: without the fields that are zero. All have names in JSON.
func withoutEmpty(v any) []byte {
	b := appendFilled([]byte{'{'}, reflect.ValueOf(v))
	if last := len(b) - 1; b[last] == ',' {
		b = b[:last]
	}
	return append(b, '}')
}

// appendFilled appends the fields of a struct that are not zero, each with a comma behind it.
func appendFilled(b []byte, s reflect.Value) []byte {
	for i := range s.NumField() {
		field, value := s.Type().Field(i), s.Field(i)
		switch {
		case value.IsZero():
		case field.Anonymous:
			b = appendFilled(b, value)
		default:
			text, err := json.Marshal(value.Interface())
			if err != nil {
				panic(fmt.Sprintf("dbmodel: %s: %v", field.Name, err)) // texts and checked numbers only
			}
			b = fmt.Appendf(b, "%q:%s,", field.Tag.Get("json"), text)
		}
	}
	return b
}
