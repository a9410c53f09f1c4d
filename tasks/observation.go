package tasks

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// Observation is a finding in a product, as the web tier states it. It is stored whole.
type Observation = dbmodel.Observation

// Origin is where a finding was made.
type Origin = dbmodel.Origin

// Limits of what is accepted.
const (
	MaxID           = 1<<53 - 1 // ids are the web tier's; JSON numbers are exact to here
	MaxTitle        = 10_000    // characters
	MaxText         = 10_000    // characters of any other text
	MaxObservations = 10_000    // in one call of Observations
	ChunkSize       = 5_000     // observations in one statement, one outbox row and one task
)

// ValidateObservation returns all that is wrong with an observation.
func ValidateObservation(o *Observation) InvalidError {
	var faults InvalidError
	wrong := func(field, format string, args ...any) {
		faults = append(faults, FieldError{field, fmt.Sprintf(format, args...)})
	}
	if o.ID < 1 || o.ID > MaxID {
		wrong("id", "must be from 1 to %d", int64(MaxID))
	}
	if o.ProductID < 1 || o.ProductID > MaxID {
		wrong("product_id", "must be from 1 to %d", int64(MaxID))
	}
	if o.Title == "" {
		wrong("title", "must not be empty")
	}
	if !o.Severity.Valid() {
		wrong("severity", "must be one of %s", list(rule.Severities))
	}
	if !o.Status.Valid() {
		wrong("status", "must be one of %s", list(rule.Statuses))
	}
	if o.Priority != nil && (*o.Priority < rule.MinPriority || *o.Priority > rule.MaxPriority) {
		wrong("priority", "must be from %d to %d, or null", rule.MinPriority, rule.MaxPriority)
	}
	if !o.ParserType.Valid() {
		wrong("parser_type", "must be one of %s", list(rule.ParserTypes))
	}
	if s := o.CVSSScore; s != nil && (math.IsNaN(*s) || *s < 0 || *s > 10) {
		wrong("cvss_score", "must be from 0 to 10, or null")
	}
	if o.URL != "" && !webAddress(o.URL) {
		wrong("url", "must be an address that begins with https:// or http://")
	}
	for _, t := range []struct {
		field, text string
		most        int
	}{
		{"title", o.Title, MaxTitle},
		{"vulnerability_id", o.VulnerabilityID, MaxText},
		{"origin", o.Origin.Text, MaxText},
		{"origin.component", o.Origin.Component, MaxText},
		{"origin.image", o.Origin.Image, MaxText},
		{"origin.file", o.Origin.File, MaxText},
		{"origin.endpoint", o.Origin.Endpoint, MaxText},
		{"url", o.URL, MaxText},
	} {
		if message := ValidateText(t.text, t.most); message != "" {
			wrong(t.field, "%s", message)
		}
	}
	return faults
}

// ValidateText returns what is wrong with a text of at most so many characters; empty: nothing.
func ValidateText(text string, most int) string {
	switch {
	case strings.IndexByte(text, 0) >= 0:
		return "must not hold a NUL character"
	case !utf8.ValidString(text):
		return "must be valid UTF-8"
	case len(text) > most && utf8.RuneCountInString(text) > most:
		return fmt.Sprintf("must have at most %d characters", most)
	}
	return ""
}

func webAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

func list[T ~string](words []T) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return strings.Join(out, ", ")
}
