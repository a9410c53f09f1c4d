package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// evaluation collects what one transaction stores.
type evaluation struct {
	w        *Worker
	tx       bun.Tx
	settings *dbmodel.Settings
	products map[int64]*dbmodel.ProductContext
	applied  map[int64]*rule.Applied // by product

	notifications []dbmodel.NewNotification
	under         []*rule.Applied // the settings of each of notifications
	caused        map[int64]bool  // observations that are, or whose title is, notified
}

// begin reads what every evaluation needs.
func (w *Worker) begin(ctx context.Context, tx bun.Tx, productIDs []int64) (*evaluation, error) {
	settings, err := dbmodel.LoadSettings(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("load settings: %w", err)
	}
	products, err := dbmodel.ProductContexts(ctx, tx, productIDs)
	if err != nil {
		return nil, fmt.Errorf("load products: %w", err)
	}
	applied := make(map[int64]*rule.Applied, len(products))
	for id, p := range products {
		a := rule.Effective(p.Product, p.Group)
		applied[id] = &a
	}
	return &evaluation{
		w: w, tx: tx, settings: settings, products: products, applied: applied, caused: map[int64]bool{},
	}, nil
}

// baselineWait is how long a change waits, again and again, for the baseline of its observation.
const baselineWait = 100 * time.Millisecond

var errBaseline = errors.New("a baseline of these observations or of their titles is evaluated first")

// waitsForBaseline is the error of an evaluation that waits for a baseline; that of the question where it has one.
func waitsForBaseline(err error) error {
	if err != nil {
		return fmt.Errorf("look for baselines: %w", err)
	}
	return &postponed{wait: baselineWait, err: errBaseline}
}

// evaluateObservations decides about observations and their titles, in their state of now.
//
// Most observations of an import have no outcome. So many are read without a lock, and decided; those with an outcome,
// of their own or of their title, are locked in the order of their ids and decided again. One that changes in between
// has an event of that change, whose evaluation comes after it.
func (w *Worker) evaluateObservations(
	ctx context.Context, tx bun.Tx, event *dbmodel.Event, _ prepared,
) (evaluated, error) {
	ids := event.Payload.IDs
	if waits, err := dbmodel.WaitsForBaseline(ctx, tx, ids); err != nil || waits {
		return evaluated{}, waitsForBaseline(err)
	}
	if len(ids) > 1 {
		observations, e, err := w.read(ctx, tx, ids, false)
		if err != nil {
			return evaluated{}, err
		}
		if ids, err = e.concerned(ctx, observations); err != nil || len(ids) == 0 {
			return evaluated{}, err
		}
	}
	observations, e, err := w.read(ctx, tx, ids, true)
	if err != nil {
		return evaluated{}, err
	}
	ids = nil
	var values []*rule.Values
	for i := range observations {
		o := &observations[i]
		event, remember := e.decide(o)
		if event == rule.NoEvent {
			continue
		}
		ids, values = append(ids, o.ID), append(values, remember)
		e.addObservation(o, event, e.products[o.ProductID], e.applied[o.ProductID])
		e.caused[o.ID] = true
	}
	if err := e.titles(ctx, observations); err != nil {
		return evaluated{}, err
	}
	if err := dbmodel.Remember(ctx, tx, ids, values); err != nil {
		return evaluated{}, fmt.Errorf("remember what is notified: %w", err)
	}
	return e.store(ctx, event)
}

// read reads observations, locked or not, and what decides about them. Where they are locked, their products are kept.
func (w *Worker) read(
	ctx context.Context, tx bun.Tx, ids []int64, lock bool,
) ([]dbmodel.StoredObservation, *evaluation, error) {
	load := dbmodel.Observations
	if lock {
		load = dbmodel.ObservationsForUpdate
	}
	observations, err := load(ctx, tx, ids)
	if err != nil {
		return nil, nil, fmt.Errorf("load observations: %w", err)
	}
	productIDs := map[int64]bool{}
	for i := range observations {
		if w.fault != nil {
			w.fault(&observations[i])
		}
		productIDs[observations[i].ProductID] = true
	}
	products := slices.Sorted(maps.Keys(productIDs))
	if lock {
		if err := dbmodel.KeepProducts(ctx, tx, products); err != nil {
			return nil, nil, fmt.Errorf("keep products: %w", err)
		}
	}
	e, err := w.begin(ctx, tx, products)
	if err != nil {
		return nil, nil, err
	}
	return slices.DeleteFunc(observations, e.isDeleted), e, nil
}

// isDeleted reports whether an observation was deleted with its product, even if there is one with the same id again.
func (e *evaluation) isDeleted(o dbmodel.StoredObservation) bool {
	product, found := e.products[o.ProductID]
	return !found || product.Generation != o.Generation
}

// decide is the outcome of an observation, and what is remembered then.
func (e *evaluation) decide(o *dbmodel.StoredObservation) (rule.Event, *rule.Values) {
	applied := e.applied[o.ProductID]
	return applied.Conditions.Decide(o.Remembered, o.Rule())
}

// concerned is the ids of those observations that have an outcome, or whose title has one.
func (e *evaluation) concerned(ctx context.Context, observations []dbmodel.StoredObservation) ([]int64, error) {
	titles, err := e.titlesWithOutcome(ctx, observations)
	if err != nil {
		return nil, err
	}
	named := make(map[string]bool, len(titles))
	for _, t := range titles {
		named[t.worst.Title] = true
	}
	var ids []int64
	for i := range observations {
		if event, _ := e.decide(&observations[i]); event != rule.NoEvent || named[observations[i].Title] {
			ids = append(ids, observations[i].ID)
		}
	}
	return ids, nil
}

func (e *evaluation) addObservation(
	o *dbmodel.StoredObservation, event rule.Event, product *dbmodel.ProductContext, applied *rule.Applied,
) {
	now := o.Rule().Values
	n := dbmodel.Notification{
		Type: rule.TypeObservation, Event: event, Name: o.Title, ProductID: &product.ID, ObservationID: &o.ID,
		Facts: o.Facts(),
	}
	n.Facts.ProductName, n.Facts.ProductGroupName = product.Name, product.GroupName
	n.SetValues(o.Remembered, &now)
	e.add(n, applied)
}

// contactsOf reads the contacts of a part of the settings.
func (e *evaluation) contactsOf(ctx context.Context, kind rule.HolderKind) (rule.Contacts, error) {
	holder := rule.Holder{Kind: kind}
	contacts, err := dbmodel.ContactsOf(ctx, e.tx, holder)
	return contacts[holder], err
}
