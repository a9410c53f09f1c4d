package tasks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

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
	ChunkSize       = 1_000     // observations in one statement, one outbox row and one task
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

// Received says what became of observations.
type Received struct {
	Received  int `json:"received"`
	Changed   int `json:"changed"`   // new, or different from what was stored: these are evaluated
	Unchanged int `json:"unchanged"` // exactly as stored: nothing happens
}

// Observations accepts at most MaxObservations observations, all or nothing; of several with one id the last one counts.
// The error is InvalidError where one is refused.
func (a *Acceptor) Observations(ctx context.Context, list []Observation) (Received, error) {
	last := make(map[int64]int, len(list))
	for i := range list {
		last[list[i].ID] = i
	}
	kept := list
	if len(last) < len(list) {
		kept = make([]Observation, 0, len(last))
		for i := range list {
			if last[list[i].ID] == i {
				kept = append(kept, list[i])
			}
		}
	}
	var faults InvalidError
	for i := range list {
		for _, f := range ValidateObservation(&list[i]) {
			faults = append(faults, FieldError{fmt.Sprintf("observations[%d].%s", i, f.Field), f.Message})
		}
		if len(faults) >= 100 {
			break
		}
	}
	if faults != nil {
		return Received{}, faults
	}
	r := Received{Received: len(kept)}
	events := make([]dbmodel.QueueableEvent, 0, 1+len(kept)/ChunkSize)
	bulk := len(kept) > 1
	queued := a.queue.Room(QueueOf(bulk))
	accept := func(ctx context.Context, db bun.IDB) error {
		for start := 0; start < len(kept); start += ChunkSize {
			done, err := dbmodel.AcceptObservations(ctx, db, kept[start:min(start+ChunkSize, len(kept))], bulk, queued)
			if err != nil {
				return err
			}
			r.Changed += done.Changed
			events = appendEvent(events, done, bulk)
		}
		return nil
	}
	var err error
	if len(kept) > ChunkSize {
		err = a.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error { return accept(ctx, tx) })
	} else {
		err = accept(ctx, a.db)
	}
	var unknown *dbmodel.UnknownProductsError
	if errors.As(err, &unknown) {
		return Received{}, unknownProducts(unknown, list, func(i int) string { return fmt.Sprintf("observations[%d].", i) })
	}
	if err != nil {
		return Received{}, fmt.Errorf("store %d observations: %w", len(kept), err)
	}
	r.Unchanged = r.Received - r.Changed
	if queued {
		a.queue.Enqueue(ctx, events)
	}
	return r, nil
}

// Chunk accepts some observations with distinct ids, at most ChunkSize, that ValidateObservation has passed. It is the part
// of an import that is stored at once. The error is InvalidError with fields "[i].product_id" where a product does not exist.
func (a *Acceptor) Chunk(ctx context.Context, list []Observation) (Received, error) {
	queued := a.queue.Room(QueueBulk)
	done, err := dbmodel.AcceptObservations(ctx, a.db, list, true, queued)
	var unknown *dbmodel.UnknownProductsError
	if errors.As(err, &unknown) {
		return Received{}, unknown
	}
	if err != nil {
		return Received{}, fmt.Errorf("store %d observations: %w", len(list), err)
	}
	if events := appendEvent(nil, done, true); queued {
		a.queue.Enqueue(ctx, events)
	}
	return Received{Received: len(list), Changed: done.Changed, Unchanged: len(list) - done.Changed}, nil
}

// Evaluate accepts the wish that an observation is evaluated again. The error is dbmodel.ErrNotFound where there is none.
func (a *Acceptor) Evaluate(ctx context.Context, id int64) error {
	if _, err := dbmodel.ObservationByID(ctx, a.db.Reader, id); err != nil {
		return fmt.Errorf("load observation %d: %w", id, err)
	}
	return a.insert(ctx, a.db, dbmodel.NewEvent{Kind: dbmodel.KindObservations, Payload: dbmodel.EventPayload{IDs: []int64{id}}})
}

func appendEvent(events []dbmodel.QueueableEvent, done dbmodel.Accepted, bulk bool) []dbmodel.QueueableEvent {
	if done.EventID == 0 {
		return events
	}
	return append(events, dbmodel.QueueableEvent{ID: done.EventID, Kind: dbmodel.KindObservations, Bulk: bulk})
}

func unknownProducts(unknown *dbmodel.UnknownProductsError, list []Observation, prefix func(int) string) InvalidError {
	var faults InvalidError
	for i, o := range list {
		for _, id := range unknown.IDs {
			if o.ProductID == id && len(faults) < 100 {
				faults = append(faults, FieldError{prefix(i) + "product_id", fmt.Sprintf("there is no product %d: create it first", id)})
			}
		}
	}
	return faults
}
