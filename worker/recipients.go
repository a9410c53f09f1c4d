package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// alike is what the recipients of a notification depend on. Most notifications of an import are alike.
type alike struct {
	applied       *rule.Applied
	typ           rule.Type
	event         rule.Event
	parserType    rule.ParserType
	before, after state
}

// state is rule.Values without pointers, so that equal ones are equal keys of a map.
type state struct {
	known          bool
	severity       rule.Severity
	status         rule.Status
	priority       int // 0: none
	knownExploited bool
}

func stateOf(v *rule.Values) state {
	if v == nil {
		return state{}
	}
	out := state{known: true, severity: v.Severity, status: v.Status, knownExploited: v.Exploited()}
	if v.Priority != nil {
		out.priority = *v.Priority
	}
	return out
}

// decideRecipients gives each notification its recipients, and returns their targets. It asks rule once for those that
// are alike.
func (e *evaluation) decideRecipients(ctx context.Context) ([]int64, error) {
	if err := e.subscribe(ctx); err != nil {
		return nil, err
	}
	known := map[alike][]rule.Recipient{}
	targets := map[int64]bool{}
	for i := range e.notifications {
		n, applied := e.notifications[i].Rule(), e.appliedTo[i]
		e.notifications[i].HeldBack = applied.Paused
		key := alike{applied: applied}
		if len(applied.Subscriptions) > 0 {
			key = alike{applied, n.Type, n.Event, n.ParserType, stateOf(n.Before), stateOf(n.After)}
		}
		to, found := known[key]
		if !found {
			for _, r := range rule.Recipients(*applied, n, rule.Ability{EmailFrom: e.settings.EmailFrom}) {
				if r.Reason == "" {
					to = append(to, r)
					targets[r.Target] = true
				}
			}
			known[key] = to
		}
		e.notifications[i].Recipients = to
	}
	return slices.Sorted(maps.Keys(targets)), nil
}

// subscribe adds the subscriptions that hold for the notifications to the settings that apply to these.
func (e *evaluation) subscribe(ctx context.Context) error {
	products, types := map[int64]bool{}, map[rule.Type]bool{}
	worst, haveSeverity := rule.SeverityUnknown, true
	for i := range e.notifications {
		before, after := e.notifications[i].Before(), e.notifications[i].After()
		haveSeverity = haveSeverity && after != nil
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
	if !haveSeverity {
		worst = ""
	}
	subscribers, err := dbmodel.EnabledSubscribers(ctx, e.tx, slices.Sorted(maps.Keys(products)),
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
