package dbmodel

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"sync"
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

// column is the value of the column details, which holds the details that have no column of their own: empty, or JSON.
// Equal details have equal texts.
func (d Details) column() string {
	d.VulnerabilityID, d.CVSSScore, d.Origin, d.URL, d.KnownExploited = "", nil, Origin{}, "", nil
	if d == (Details{}) {
		return ""
	}
	return string(withoutEmpty(d))
}

// scan reads a text of column, and leaves the other details as they are.
func (d *Details) scan(column string) error {
	if column == "" {
		return nil
	}
	return json.Unmarshal([]byte(column), d)
}

// withoutEmpty is the JSON of a struct as it is stored: without the fields that are zero. All have names in JSON;
// those of embedded structs stand beside the others.
func withoutEmpty(v any) []byte {
	s := reflect.ValueOf(v)
	b := []byte{'{'}
	for _, f := range storedFieldsOf(s.Type()) {
		value := s.FieldByIndex(f.index)
		if value.IsZero() {
			continue
		}
		text, err := json.Marshal(value.Interface())
		if err != nil {
			panic(fmt.Sprintf("dbmodel: %s%v", f.name, err)) // texts and checked numbers only
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(b, f.name...), text...)
	}
	return append(b, '}')
}

type storedField struct {
	index []int
	name  string // in quotes and with its colon, as it is written
}

// storedFields are those of the structs that are stored as JSON, by reflect.Type: to list them takes longer than to
// write them.
var storedFields sync.Map

func storedFieldsOf(t reflect.Type) []storedField {
	if known, ok := storedFields.Load(t); ok {
		return known.([]storedField)
	}
	var list []storedField
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous {
			list = append(list, storedField{f.Index, strconv.Quote(f.Tag.Get("json")) + ":"})
		}
	}
	storedFields.Store(t, list)
	return list
}
