package worker

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/tracing"
	"github.com/seed91453169/tocsin/rule"
)

// evaluation is the evaluation of one event: the settings that it reads, and the notifications that it stores in the
// end.
type evaluation struct {
	db       bun.IDB // that it reads from
	tx       bun.Tx  // the same, where it may lock and write; the zero value while it prepares the transaction
	settings *dbmodel.EvaluationSettings
	products map[int64]*dbmodel.ProductContext
	applied  map[int64]*rule.Applied // the settings that apply to a product

	notifications []dbmodel.NewNotification
	appliedTo     []*rule.Applied // the settings that apply to each of notifications
	notified      map[int64]bool  // observations with a notification, of their own or of their title
}

// newEvaluation reads the settings, and finds those that apply to each of the given products.
func newEvaluation(
	ctx context.Context, db bun.IDB, products map[int64]*dbmodel.ProductContext,
) (*evaluation, error) {
	settings, err := dbmodel.LoadEvaluationSettings(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("load settings: %w", err)
	}
	applied := make(map[int64]*rule.Applied, len(products))
	for id, p := range products {
		a := rule.Effective(p.Product, p.Group)
		applied[id] = &a
	}
	tx, _ := db.(bun.Tx)
	return &evaluation{
		db: db, tx: tx, settings: settings, products: products, applied: applied, notified: map[int64]bool{},
	}, nil
}

// contactsOf reads the contacts in the settings: those for titles, or those for exceptions.
func (e *evaluation) contactsOf(ctx context.Context, kind rule.HolderKind) (rule.Contacts, error) {
	holder := rule.Holder{Kind: kind}
	contacts, err := dbmodel.ContactsOf(ctx, e.db, holder)
	if err != nil {
		return nil, fmt.Errorf("load contacts: %w", err)
	}
	return contacts[holder], nil
}

// add adds a notification, and the settings under which its recipients are decided.
func (e *evaluation) add(n dbmodel.Notification, applied *rule.Applied) {
	e.notifications = append(e.notifications, dbmodel.NewNotification{Notification: n})
	e.appliedTo = append(e.appliedTo, applied)
}

// store writes the notifications that come from an event, with a delivery for each recipient.
func (e *evaluation) store(ctx context.Context, event *dbmodel.Event) (decision, error) {
	if len(e.notifications) == 0 {
		return decision{}, nil
	}
	targets, err := e.decideRecipients(ctx)
	if err != nil {
		return decision{}, err
	}
	parent := tracing.Parent(ctx)
	for i := range e.notifications {
		e.notifications[i].AcceptedAt, e.notifications[i].Facts.TraceParent = event.CreatedAt, parent
	}
	if err := dbmodel.InsertNotifications(ctx, e.tx, e.notifications); err != nil {
		return decision{}, fmt.Errorf("store notifications: %w", err)
	}
	return decision{
		targets: targets, digestsOff: e.settings.DigestThreshold == 0, notifications: e.notifications,
		notified: max(len(e.notified), 1),
	}, nil
}
