package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// observationEvaluate works off tasks.TypeObservationEvaluate.
func (w *Worker) observationEvaluate(ctx context.Context, t *asynq.Task) error {
	p, err := eventTask(t)
	if err != nil {
		return err
	}
	defer w.exclusive(p.Alone)()
	_, err = w.evaluate(ctx, dbmodel.KindObservations, p.ID, p.Alone, nil, w.evaluateObservations)
	return err
}

// evaluation collects what one transaction stores.
type evaluation struct {
	w        *Worker
	tx       bun.Tx
	settings *dbmodel.Settings
	products map[int64]*dbmodel.ProductContext
	applied  map[int64]*rule.Applied // by product

	notifications []dbmodel.NewNotification
	contacts      []contacts // of each of them
}

// contacts say who is told of a notification; none where it is paused.
type contacts struct {
	rule.Contacts
	paused bool
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
	return &evaluation{w: w, tx: tx, settings: settings, products: products, applied: applied}, nil
}

// evaluateObservations decides about observations and their titles, in their state of now.
func (w *Worker) evaluateObservations(ctx context.Context, tx bun.Tx, event *dbmodel.Event) ([]int64, error) {
	observations, err := dbmodel.ObservationsForUpdate(ctx, tx, event.Payload.IDs)
	if err != nil {
		return nil, fmt.Errorf("load observations: %w", err)
	}
	productIDs := map[int64]bool{}
	for i := range observations {
		if w.fault != nil {
			w.fault(&observations[i])
		}
		productIDs[observations[i].ProductID] = true
	}
	e, err := w.begin(ctx, tx, slices.Sorted(maps.Keys(productIDs)))
	if err != nil {
		return nil, err
	}
	var ids []int64
	var values []*rule.Values
	for i := range observations {
		o := &observations[i]
		product, found := e.products[o.ProductID]
		if !found {
			continue // deleted meanwhile, and its observations with it
		}
		applied := e.applied[o.ProductID]
		event, remember := rule.Decide(applied.Conditions.Matches(o.Rule()), o.Remembered, o.Rule().Values)
		if event == rule.NoEvent {
			continue
		}
		ids, values = append(ids, o.ID), append(values, remember)
		e.addObservation(o, event, product, applied)
	}
	if err := e.titles(ctx, observations); err != nil {
		return nil, err
	}
	if err := dbmodel.Remember(ctx, tx, ids, values); err != nil {
		return nil, fmt.Errorf("remember what is notified: %w", err)
	}
	return e.store(ctx)
}

func (e *evaluation) addObservation(o *dbmodel.StoredObservation, event rule.Event, product *dbmodel.ProductContext, applied *rule.Applied) {
	now := o.Rule().Values
	n := dbmodel.Notification{
		Type: rule.TypeObservation, Event: event, Name: o.Title, ProductID: &product.ID, ObservationID: &o.ID,
		Facts: dbmodel.Facts{
			ProductName: product.Name, ProductGroupName: product.GroupName, ObservationTitle: o.Title, ParserType: o.ParserType,
			VulnerabilityID: o.VulnerabilityID, CVSSScore: o.CVSSScore, Origin: o.Origin, URL: o.URL,
		},
	}
	n.SetValues(o.Remembered, &now)
	e.addOf(product, applied, n)
}

// addOf adds a notification that goes to the contacts of its product.
func (e *evaluation) addOf(product *dbmodel.ProductContext, applied *rule.Applied, n dbmodel.Notification) {
	if applied.From.EmailTo == rule.FromGroup {
		n.Facts.EmailGroupID = product.GroupID
	}
	e.add(n, contacts{applied.Contacts, applied.Paused})
}

func (e *evaluation) add(n dbmodel.Notification, to contacts) {
	e.notifications = append(e.notifications, dbmodel.NewNotification{Notification: n})
	e.contacts = append(e.contacts, to)
}

// store writes the notifications with a delivery for each target, and returns these targets.
func (e *evaluation) store(ctx context.Context) ([]int64, error) {
	if len(e.notifications) == 0 {
		return nil, nil
	}
	lists := map[string][]string{} // the addresses in a setting of addresses
	addresses := map[string]int64{}
	for _, c := range e.contacts {
		if _, done := lists[c.EmailTo]; done || c.paused || e.settings.EmailFrom == "" {
			continue
		}
		lists[c.EmailTo] = rule.Addresses(c.EmailTo)
		for _, a := range lists[c.EmailTo] {
			addresses[a] = 0
		}
	}
	sorted := slices.Sorted(maps.Keys(addresses))
	ids, err := dbmodel.EnsureTargets(ctx, e.tx, e.w.Vault, rule.Email, sorted)
	if err != nil {
		return nil, fmt.Errorf("find the targets of email: %w", err)
	}
	for i, a := range sorted {
		addresses[a] = ids[i]
	}
	told := map[int64]bool{}
	for i, c := range e.contacts {
		if c.paused {
			continue
		}
		var targets []int64
		for _, a := range lists[c.EmailTo] {
			targets = append(targets, addresses[a])
		}
		for _, id := range []int64{c.MSTeams, c.Slack} {
			if id != 0 {
				targets = append(targets, id)
			}
		}
		e.notifications[i].Targets = targets
		for _, id := range targets {
			told[id] = true
		}
	}
	if err := dbmodel.InsertNotifications(ctx, e.tx, e.notifications); err != nil {
		return nil, fmt.Errorf("store notifications: %w", err)
	}
	return slices.Sorted(maps.Keys(told)), nil
}
