package worker

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// title is a title of which at least one observation of the evaluation matches; worst is the worst of these.
type title struct {
	hash  dbmodel.Hash
	worst *dbmodel.StoredObservation
}

// titles decides about the titles of observations, which come by id, under the global settings.
func (e *evaluation) titles(ctx context.Context, observations []dbmodel.StoredObservation) error {
	conditions := e.settings.TitleConditions()
	if !conditions.IsSet() {
		return nil
	}
	worst := map[string]*dbmodel.StoredObservation{}
	for i := range observations {
		o := &observations[i]
		if w, found := worst[o.Title]; conditions.Matches(o.Rule()) && (!found || o.Rule().Compare(w.Rule().Values) < 0) {
			worst[o.Title] = o
		}
	}
	if len(worst) == 0 {
		return nil
	}
	matching := make([]title, 0, len(worst))
	for text, o := range worst {
		matching = append(matching, title{dbmodel.TitleHash(text), o})
	}
	slices.SortFunc(matching, func(a, b title) int { return bytes.Compare(a.hash[:], b.hash[:]) })

	// Most titles have no outcome: only the others are locked, after the observations and in one order everywhere, and
	// decided again.
	remembered, err := dbmodel.RememberedTitles(ctx, e.tx, hashes(matching))
	if err != nil {
		return fmt.Errorf("load titles: %w", err)
	}
	matching = slices.DeleteFunc(matching, func(t title) bool { return t.event(remembered) == rule.NoEvent })
	if len(matching) == 0 {
		return nil
	}
	texts := make([]string, len(matching))
	for i, t := range matching {
		texts[i] = t.worst.Title
	}
	if remembered, err = dbmodel.LockTitles(ctx, e.tx, hashes(matching), texts); err != nil {
		return fmt.Errorf("lock titles: %w", err)
	}
	matching = slices.DeleteFunc(matching, func(t title) bool { return t.event(remembered) == rule.NoEvent })
	if len(matching) == 0 {
		return nil
	}
	counts, err := dbmodel.TitleCounts(ctx, e.tx, texts)
	if err != nil {
		return fmt.Errorf("count the bearers of titles: %w", err)
	}
	contacts, err := e.contactsOf(ctx, rule.HolderTitles)
	if err != nil {
		return err
	}
	applied := rule.Global(conditions, contacts)
	values := make([]*rule.Values, len(matching))
	for i, t := range matching {
		now := t.worst.Rule().Values
		values[i] = &now
		n := dbmodel.Notification{
			Type: rule.TypeObservationTitle, Event: t.event(remembered), Name: t.worst.Title,
			Facts: dbmodel.Facts{
				ParserType: t.worst.ParserType, VulnerabilityID: t.worst.VulnerabilityID, CVSSScore: t.worst.CVSSScore,
				Observations: counts[t.worst.Title].Observations, Products: counts[t.worst.Title].Products,
			},
		}
		n.SetValues(remembered[t.hash], &now)
		e.add(n, &applied)
	}
	if err := dbmodel.RememberTitles(ctx, e.tx, hashes(matching), values); err != nil {
		return fmt.Errorf("remember titles: %w", err)
	}
	return nil
}

func (t title) event(remembered map[dbmodel.Hash]*rule.Values) rule.Event {
	event, _ := rule.DecideTitle(true, remembered[t.hash], t.worst.Rule().Values)
	return event
}

func hashes(list []title) []dbmodel.Hash {
	out := make([]dbmodel.Hash, len(list))
	for i, t := range list {
		out[i] = t.hash
	}
	return out
}
