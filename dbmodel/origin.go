package dbmodel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

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

// MarshalJSON writes the form that UnmarshalJSON reads; an empty origin is "".
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

// Scan implements sql.Scanner, for the form of column.
func (o *Origin) Scan(src any) error {
	*o = Origin{}
	if src == "" {
		return nil
	}
	return scanJSON(src, o)
}
