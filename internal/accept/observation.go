package accept

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// Limits of observations.
const (
	MaxTitle        = 10_000 // characters
	MaxText         = 10_000 // characters of any other text
	MaxObservations = 10_000 // in one event
	ChunkSize       = 5_000  // in one statement, one outbox row and one task
	FirstChunkSize  = 625    // in the first chunk of an import of lines: its evaluation begins while others are read
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
			faults = append(faults, FieldError{entry(i) + f.Field, f.Message})
		}
		if len(faults) >= maxFaults {
			break
		}
	}
	if faults != nil {
		return nil, faults
	}
	e := &Event{kind: dbmodel.KindObservation, given: list, observations: make([]dbmodel.Observation, 0, len(last))}
	for _, i := range last {
		e.observations = append(e.observations, list[i])
	}
	slices.SortFunc(e.observations, func(a, b dbmodel.Observation) int { return cmp.Compare(a.ID, b.ID) })
	return e, nil
}

// entry returns what the names of all fields of the i-th observation of an event begin with.
func entry(i int) string { return fmt.Sprintf("observations[%d].", i) }

// ValidateObservation returns all that is wrong with an observation.
func ValidateObservation(o *dbmodel.Observation) InvalidError {
	var faults InvalidError
	wrong := func(field, format string, args ...any) {
		faults = append(faults, FieldError{field, fmt.Sprintf(format, args...)})
	}
	faults = append(append(faults, checkID("id", o.ID)...), checkID("product_id", o.ProductID)...)
	if o.Title == "" {
		wrong("title", "must not be empty")
	}
	if !o.Severity.Valid() {
		wrong("severity", "must be one of %s", rule.Joined(rule.Severities))
	}
	if !o.Status.Valid() {
		wrong("status", "must be one of %s", rule.Joined(rule.Statuses))
	}
	if o.Priority != nil && (*o.Priority < rule.MinPriority || *o.Priority > rule.MaxPriority) {
		wrong("priority", "must be from %d to %d, or null", rule.MinPriority, rule.MaxPriority)
	}
	if !o.ParserType.Valid() {
		wrong("parser_type", "must be one of %s", rule.Joined(rule.ParserTypes))
	}
	if s := o.CVSSScore; s != nil && (math.IsNaN(*s) || *s < 0 || *s > 10) {
		wrong("cvss_score", "must be from 0 to 10, or null")
	}
	if s := o.EPSSScore; s != nil && (math.IsNaN(*s) || *s < 0 || *s > 1) {
		wrong("epss_score", "must be from 0 to 1, or null")
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
		{"fixed_version", o.FixedVersion, MaxText},
		{"branch", o.Branch, MaxText},
		{"service", o.Service, MaxText},
		{"scanner", o.Scanner, MaxText},
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

// observationFrom makes an event with observations, or with the id of one that is evaluated again.
func observationFrom(p payload) (*Event, error) {
	if p.ID != 0 {
		return NewEvaluation(p.ID)
	}
	if p.ReportedAt.IsZero() {
		return nil, errNotDated
	}
	e, err := NewObservations(p.Observations)
	if err == nil && p.Baseline {
		e.Baseline()
	}
	return e, err
}

func acceptObservations(ctx context.Context, db bun.IDB, e *Event, how circumstances) (all Accepted, err error) {
	if e.id != 0 {
		return acceptEvaluation(ctx, db, e, how)
	}
	if len(e.observations) > ChunkSize {
		// Look for all products first: once a chunk is stored no later one may be refused, because the caller may go on with
		// the transaction.
		if err := dbmodel.RequireProducts(ctx, db, e.observations); err != nil {
			return Accepted{}, e.withFaults(fmt.Errorf("find the products of %d observations: %w", len(e.observations), err))
		}
	}
	for chunk := range slices.Chunk(e.observations, ChunkSize) {
		done, err := storeChunk(ctx, db, chunk, dbmodel.AcceptOptions{
			Bulk: e.Bulk(), Baseline: e.baseline, Queued: how.queued, ReportedAt: how.reportedAt, TraceParent: e.traceParent,
		})
		if err != nil {
			return Accepted{}, e.withFaults(err)
		}
		all.Received += done.Received
		all.Changed += done.Changed
		all.Unchanged += done.Unchanged
		all.PassedOver += done.PassedOver
		all.Rows = append(all.Rows, done.Rows...)
	}
	return all, nil
}

// storeChunk stores observations and the outbox row of those that changed.
func storeChunk(
	ctx context.Context, db bun.IDB, chunk []dbmodel.Observation, options dbmodel.AcceptOptions,
) (Accepted, error) {
	stored, err := dbmodel.AcceptObservations(ctx, db, chunk, options)
	if err != nil {
		return Accepted{}, fmt.Errorf("store %d observations: %w", len(chunk), err)
	}
	done := Accepted{
		Received: len(chunk), Changed: stored.Changed, Unchanged: len(chunk) - stored.Changed, PassedOver: stored.PassedOver,
	}
	if stored.EventID != 0 {
		done.Rows = []dbmodel.QueueableEvent{{ID: stored.EventID, Kind: options.Kind(), Bulk: options.Bulk}}
	}
	return done, nil
}

// withFaults returns, for an UnknownProductsError, an InvalidError that lists the observations of these products; any
// other error as it is.
func (e *Event) withFaults(err error) error {
	unknown, ok := errors.AsType[*dbmodel.UnknownProductsError](err)
	if !ok {
		return err
	}
	var faults InvalidError
	for i, o := range e.given {
		if slices.Contains(unknown.IDs, o.ProductID) && len(faults) < maxFaults {
			faults = append(faults, FieldError{
				entry(i) + "product_id", fmt.Sprintf("there is no product %d: create it first", o.ProductID),
			})
		}
	}
	return faults
}
