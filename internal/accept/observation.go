package accept

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// Limits of observations.
const (
	MaxTitle        = 10_000 // characters
	MaxText         = 10_000 // characters of any other text
	MaxObservations = 10_000 // in one event
	ChunkSize       = 5_000  // in one statement, one outbox row and one task
)

// maxFaults is how many faults of one event are listed.
const maxFaults = 100

// NewObservations reports the state of at most MaxObservations observations, accepted all or nothing; of several with
// one id the last one counts. The error is InvalidError.
func NewObservations(list []dbmodel.Observation) (*Event, error) {
	if len(list) > MaxObservations {
		return nil, InvalidError{{"observations", fmt.Sprintf("must have at most %d entries", MaxObservations)}}
	}
	var faults InvalidError
	last := make(map[int64]int, len(list))
	for i := range list {
		last[list[i].ID] = i
		for _, f := range ValidateObservation(&list[i]) {
			faults = append(faults, FieldError{place(i) + f.Field, f.Message})
		}
		if len(faults) >= maxFaults {
			break
		}
	}
	if faults != nil {
		return nil, faults
	}
	e := &Event{kind: kindObservations, given: list, observations: make([]dbmodel.Observation, 0, len(last))}
	for _, i := range last {
		e.observations = append(e.observations, list[i])
	}
	slices.SortFunc(e.observations, func(a, b dbmodel.Observation) int { return cmp.Compare(a.ID, b.ID) })
	return e, nil
}

func place(i int) string { return fmt.Sprintf("observations[%d].", i) }

// unknownProducts lists the observations whose products do not exist.
func (e *Event) unknownProducts(unknown *dbmodel.UnknownProductsError) InvalidError {
	var faults InvalidError
	for i, o := range e.given {
		if slices.Contains(unknown.IDs, o.ProductID) && len(faults) < maxFaults {
			faults = append(faults, FieldError{
				place(i) + "product_id", fmt.Sprintf("there is no product %d: create it first", o.ProductID),
			})
		}
	}
	return faults
}

// ValidateObservation returns all that is wrong with an observation.
func ValidateObservation(o *dbmodel.Observation) InvalidError {
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

// ValidateText returns what is wrong with a text that may have at most the given number of characters; empty: nothing.
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
