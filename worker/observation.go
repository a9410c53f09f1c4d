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
	recipients    map[*rule.Applied]receivers
}

// receivers are the targets that receive what is notified under the same settings, and where they come from.
type receivers struct {
	targets []int64
	sources []rule.Holder
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
	return &evaluation{w: w, tx: tx, settings: settings, products: products, applied: applied, recipients: map[*rule.Applied]receivers{}}, nil
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
	e.add(n, applied)
}

// add adds a notification that goes to the contacts of the settings that apply. Many share these: their recipients are
// decided once.
func (e *evaluation) add(n dbmodel.Notification, applied *rule.Applied) {
	to, known := e.recipients[applied]
	if !known {
		for _, r := range rule.Recipients(*applied, rule.Ability{EmailFrom: e.settings.EmailFrom}) {
			if r.Reason == "" {
				to.targets, to.sources = append(to.targets, r.Target), append(to.sources, r.Holder)
			}
		}
		e.recipients[applied] = to
	}
	e.notifications = append(e.notifications, dbmodel.NewNotification{Notification: n, Targets: to.targets, Sources: to.sources})
}

// store writes the notifications with a delivery for each target, and returns these targets.
func (e *evaluation) store(ctx context.Context) ([]int64, error) {
	if len(e.notifications) == 0 {
		return nil, nil
	}
	if err := dbmodel.InsertNotifications(ctx, e.tx, e.notifications); err != nil {
		return nil, fmt.Errorf("store notifications: %w", err)
	}
	var targets []int64
	for _, to := range e.recipients {
		targets = append(targets, to.targets...)
	}
	slices.Sort(targets)
	return slices.Compact(targets), nil
}

// contactsOf reads the contacts of a part of the settings.
func (e *evaluation) contactsOf(ctx context.Context, kind rule.HolderKind) (rule.Contacts, error) {
	holder := rule.Holder{Kind: kind}
	contacts, err := dbmodel.ContactsOf(ctx, e.tx, holder)
	return contacts[holder], err
}
