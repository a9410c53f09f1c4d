package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// alike is the key of notifications that have the same recipients, as most notifications of an import have.
type alike struct {
	applied       *rule.Applied
	typ           rule.Type
	event         rule.Event
	parserType    rule.ParserType
	before, after valuesKey
}

// valuesKey is rule.Values without pointers, so that equal ones are equal keys of a map.
type valuesKey struct {
	known          bool
	severity       rule.Severity
	status         rule.Status
	priority       int // 0: none
	knownExploited bool
}

func keyOf(v *rule.Values) valuesKey {
	if v == nil {
		return valuesKey{}
	}
	out := valuesKey{known: true, severity: v.Severity, status: v.Status, knownExploited: v.Exploited()}
	if v.Priority != nil {
		out.priority = *v.Priority
	}
	return out
}

// decideRecipients gives each notification its recipients, and returns the targets of all of them, by id. It decides
// once for notifications that are alike.
func (e *evaluation) decideRecipients(ctx context.Context) ([]int64, error) {
	if err := e.addSubscriptions(ctx); err != nil {
		return nil, err
	}
	decided := map[alike][]rule.Recipient{}
	targets := map[int64]bool{}
	for i := range e.notifications {
		n, applied := e.notifications[i].Rule(), e.appliedTo[i]
		e.notifications[i].HeldBack = applied.Paused
		key := alike{applied: applied}
		if len(applied.Subscriptions) > 0 {
			key = alike{applied, n.Type, n.Event, n.ParserType, keyOf(n.Before), keyOf(n.After)}
		}
		to, found := decided[key]
		if !found {
			for _, r := range rule.Recipients(*applied, n, rule.Ability{EmailFrom: e.settings.EmailFrom}) {
				if r.Reason == "" {
					to = append(to, r)
					targets[r.Target] = true
				}
			}
			decided[key] = to
		}
		e.notifications[i].Recipients = to
	}
	return slices.Sorted(maps.Keys(targets)), nil
}

// addSubscriptions adds the subscriptions that may receive the notifications to the settings that apply to these.
func (e *evaluation) addSubscriptions(ctx context.Context) error {
	if !e.settings.Subscribed {
		return nil
	}
	products, types := map[int64]bool{}, map[rule.Type]bool{}
	worst, allHaveSeverity := rule.SeverityUnknown, true
	for i := range e.notifications {
		before, after := e.notifications[i].Before(), e.notifications[i].After()
		allHaveSeverity = allHaveSeverity && after != nil
		for _, v := range []*rule.Values{before, after} {
			if v != nil && v.Severity.Rank() < worst.Rank() {
				worst = v.Severity
			}
		}
		types[e.notifications[i].Type] = true
		if p := e.notifications[i].ProductID; p != nil {
			products[*p] = true
		}
	}
	if !allHaveSeverity {
		worst = "" // a notification without a severity passes any minimum
	}
	subscribers, err := dbmodel.EnabledSubscribers(ctx, e.db, slices.Sorted(maps.Keys(products)),
		slices.Sorted(maps.Keys(types)), e.settings.MemberNotificationTypes, worst)
	if err != nil {
		return fmt.Errorf("load subscriptions: %w", err)
	}
	for i, applied := range e.appliedTo {
		if applied.Subscriptions == nil {
			var product int64
			if p := e.notifications[i].ProductID; p != nil {
				product = *p
			}
			applied.Subscriptions = subscribers.Of(product)
		}
	}
	return nil
}
