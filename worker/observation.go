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

// baselineWait is how long a change waits, again and again, for the baseline of its observation.
const baselineWait = 100 * time.Millisecond

var errBaseline = errors.New("a baseline of these observations or of their titles is evaluated first")

// postponedByBaseline returns err, wrapped; where err is nil, it returns the error that postpones the evaluation.
func postponedByBaseline(err error) error {
	if err != nil {
		return fmt.Errorf("look for baselines: %w", err)
	}
	return &postponed{wait: baselineWait, err: errBaseline}
}

// prepareObservations finds those observations of an import that the transaction must decide about; most have no
// outcome. It takes no lock, and leaves the one writer of SQLite to others: those that it finds are locked and decided
// again. One that changes in between has an event of its own, whose evaluation comes after this one.
func (w *Worker) prepareObservations(ctx context.Context, event *dbmodel.Event) (p prepared, err error) {
	ids := event.Payload.IDs
	if len(ids) == 1 {
		return prepared{ids: ids}, nil
	}
	conn, err := w.DB.Reader.Conn(ctx)
	if err != nil {
		return p, fmt.Errorf("get a connection: %w", dbmodel.Translate(err))
	}
	began := time.Now()
	defer func() {
		_ = conn.Close()
		p.connected = time.Since(began)
	}()
	if waits, err := dbmodel.WaitsForBaseline(ctx, conn, ids); err != nil || waits {
		return p, postponedByBaseline(err)
	}
	observations, e, err := w.readObservations(ctx, conn, ids)
	if err != nil {
		return p, err
	}
	p.ids, err = e.concerned(ctx, observations)
	return p, err
}

// evaluateObservations decides about observations and their titles, in their current state. The observations are locked
// in the order of their ids.
func (w *Worker) evaluateObservations(
	ctx context.Context, tx bun.Tx, event *dbmodel.Event, p prepared,
) (decision, error) {
	if len(p.ids) == 0 {
		return decision{}, nil
	}
	observations, e, err := w.lockObservations(ctx, tx, p.ids)
	if err != nil {
		return decision{}, err
	}
	// The settings were read after the state was locked. So BaselineWaits is true where a baseline that still waits
	// reported this state.
	if e.settings.BaselineWaits {
		if waits, err := dbmodel.WaitsForBaseline(ctx, tx, p.ids); err != nil || waits {
			return decision{}, postponedByBaseline(err)
		}
	}
	var ids []int64           // of those with an outcome of their own
	var values []*rule.Values // to remember of these; nil: nothing
	for i := range observations {
		o := &observations[i]
		outcome, remember := e.decide(o)
		if outcome == rule.NoEvent {
			continue
		}
		ids, values = append(ids, o.ID), append(values, remember)
		e.addObservation(o, outcome, e.products[o.ProductID], e.applied[o.ProductID])
		e.notified[o.ID] = true
	}
	if err := e.addTitles(ctx, observations); err != nil {
		return decision{}, err
	}
	if err := dbmodel.Remember(ctx, tx, ids, values); err != nil {
		return decision{}, fmt.Errorf("remember observations: %w", err)
	}
	return e.store(ctx, event)
}

// readObservations reads observations, without a lock, and the settings that decide about them.
func (w *Worker) readObservations(
	ctx context.Context, db bun.IDB, ids []int64,
) ([]dbmodel.StoredObservation, *evaluation, error) {
	observations, err := dbmodel.Observations(ctx, db, ids)
	if err != nil {
		return nil, nil, fmt.Errorf("load observations: %w", err)
	}
	products, err := dbmodel.ProductContexts(ctx, db, productsOf(observations))
	if err != nil {
		return nil, nil, fmt.Errorf("load products: %w", err)
	}
	return w.withProducts(ctx, db, observations, products)
}

// lockObservations does what readObservations does, and takes locks: until tx ends, no other transaction changes the
// observations or deletes their products.
func (w *Worker) lockObservations(
	ctx context.Context, tx bun.Tx, ids []int64,
) ([]dbmodel.StoredObservation, *evaluation, error) {
	observations, err := dbmodel.ObservationsForUpdate(ctx, tx, ids)
	if err != nil {
		return nil, nil, fmt.Errorf("lock observations: %w", err)
	}
	products, err := dbmodel.KeptProductContexts(ctx, tx, productsOf(observations))
	if err != nil {
		return nil, nil, fmt.Errorf("keep products: %w", err)
	}
	return w.withProducts(ctx, tx, observations, products)
}

// productsOf returns the products of observations, each once, by id.
func productsOf(observations []dbmodel.StoredObservation) []int64 {
	ids := map[int64]bool{}
	for i := range observations {
		ids[observations[i].ProductID] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

// withProducts reads the settings that decide about observations of products, and leaves out observations that were
// deleted.
func (w *Worker) withProducts(
	ctx context.Context, db bun.IDB, observations []dbmodel.StoredObservation, products map[int64]*dbmodel.ProductContext,
) ([]dbmodel.StoredObservation, *evaluation, error) {
	if w.fault != nil {
		for i := range observations {
			w.fault(&observations[i])
		}
	}
	e, err := newEvaluation(ctx, db, products)
	if err != nil {
		return nil, nil, err
	}
	return slices.DeleteFunc(observations, e.isDeleted), e, nil
}

// isDeleted reports whether an observation was deleted with its product, even where a new product has the same id.
func (e *evaluation) isDeleted(o dbmodel.StoredObservation) bool {
	product, found := e.products[o.ProductID]
	return !found || product.Generation != o.Generation
}

// decide returns the outcome of an observation, and the values that are then remembered of it.
func (e *evaluation) decide(o *dbmodel.StoredObservation) (rule.Event, *rule.Values) {
	applied := e.applied[o.ProductID]
	return applied.Conditions.Decide(o.Remembered, o.Rule())
}

// concerned returns the ids of those observations that have an outcome, of their own or of their title, and of all
// that have the same titles: the worst of these decides about the title, though it may have no outcome of its own.
func (e *evaluation) concerned(ctx context.Context, observations []dbmodel.StoredObservation) ([]int64, error) {
	titles, err := e.titlesWithOutcome(ctx, observations)
	if err != nil {
		return nil, err
	}
	decided := make(map[string]bool, len(titles)) // titles that the transaction decides about
	for _, t := range titles {
		decided[t.worst.Title] = true
	}
	own := make([]bool, len(observations)) // they have an outcome of their own
	for i := range observations {
		o := &observations[i]
		outcome, _ := e.decide(o)
		if own[i] = outcome != rule.NoEvent; own[i] && e.countsForTitle(o) {
			decided[o.Title] = true
		}
	}
	var ids []int64
	for i := range observations {
		if o := &observations[i]; own[i] || decided[o.Title] && e.countsForTitle(o) {
			ids = append(ids, o.ID)
		}
	}
	return ids, nil
}

// addObservation adds the notification of an observation.
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
