package worker

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// title is an observation title that at least one matching observation of the evaluation bears.
type title struct {
	hash  dbmodel.Hash
	worst *dbmodel.StoredObservation // of the matching ones that bear it
}

// titlesWithOutcome returns those titles of observations that have an outcome under the global settings. It takes no
// lock, so the outcome may be another one once the titles are locked. It expects the observations in the order of
// their ids, and returns the titles in the order in which they are locked everywhere.
func (e *evaluation) titlesWithOutcome(ctx context.Context, observations []dbmodel.StoredObservation) ([]title, error) {
	worst := map[string]*dbmodel.StoredObservation{}
	for i := range observations {
		o := &observations[i]
		if w, found := worst[o.Title]; e.countsForTitle(o) && (!found || o.Rule().Compare(w.Rule().Values) < 0) {
			worst[o.Title] = o
		}
	}
	if len(worst) == 0 {
		return nil, nil
	}
	titles := make([]title, 0, len(worst))
	for text, o := range worst {
		titles = append(titles, title{dbmodel.TitleHash(text), o})
	}
	slices.SortFunc(titles, func(a, b title) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	remembered, err := dbmodel.RememberedTitles(ctx, e.db, hashes(titles))
	if err != nil {
		return nil, fmt.Errorf("load titles: %w", err)
	}
	return slices.DeleteFunc(titles, func(t title) bool { return t.outcome(remembered) == rule.NoEvent }), nil
}

// countsForTitle reports whether an observation matches the global settings, and so has a part in what is decided about
// its title.
func (e *evaluation) countsForTitle(o *dbmodel.StoredObservation) bool {
	return e.settings.TitleConditions().Matches(o.Rule())
}

// lockTitles locks those titles of observations that have an outcome, and returns them with the values that are
// remembered of them. The observations are locked already. Most titles have no outcome, and are not locked; the others
// are locked, and decided again after that.
func (e *evaluation) lockTitles(
	ctx context.Context, observations []dbmodel.StoredObservation,
) ([]title, map[dbmodel.Hash]*rule.Values, error) {
	titles, err := e.titlesWithOutcome(ctx, observations)
	if err != nil || len(titles) == 0 {
		return nil, nil, err
	}
	remembered, err := dbmodel.LockTitles(ctx, e.tx, hashes(titles), texts(titles))
	if err != nil {
		return nil, nil, fmt.Errorf("lock titles: %w", err)
	}
	return slices.DeleteFunc(titles, func(t title) bool { return t.outcome(remembered) == rule.NoEvent }), remembered, nil
}

// addTitles adds the notifications of the titles of observations, and remembers the values of these titles. The
// observations are locked already.
func (e *evaluation) addTitles(ctx context.Context, observations []dbmodel.StoredObservation) error {
	titles, remembered, err := e.lockTitles(ctx, observations)
	if err != nil || len(titles) == 0 {
		return err
	}
	// A title that an observation of a waiting baseline bears is not new: it is remembered first.
	if waits, err := dbmodel.TitlesWaitForBaseline(ctx, e.db, texts(titles)); err != nil || waits {
		return postponedByBaseline(err)
	}
	counts, err := dbmodel.TitleCounts(ctx, e.db, texts(titles))
	if err != nil {
		return fmt.Errorf("count the observations of titles: %w", err)
	}
	contacts, err := e.contactsOf(ctx, rule.HolderTitles)
	if err != nil {
		return err
	}
	applied := rule.Global(e.settings.TitleConditions(), contacts)
	for _, t := range titles {
		n := dbmodel.Notification{
			Type: rule.TypeObservationTitle, Event: t.outcome(remembered), Name: t.worst.Title,
			Facts: dbmodel.Facts{
				ParserType: t.worst.ParserType,
				Details: dbmodel.Details{
					VulnerabilityID: t.worst.VulnerabilityID, CVSSScore: t.worst.CVSSScore,
					KnownExploited: t.worst.KnownExploited, EPSSScore: t.worst.EPSSScore, FixedVersion: t.worst.FixedVersion,
				},
				Observations: counts[t.worst.Title].Observations, Products: counts[t.worst.Title].Products,
			},
		}
		n.SetValues(remembered[t.hash], new(t.worst.Rule().Values))
		e.add(n, &applied)
		e.notified[t.worst.ID] = true
	}
	return e.rememberTitles(ctx, titles)
}

// rememberTitles remembers the values of titles.
func (e *evaluation) rememberTitles(ctx context.Context, titles []title) error {
	values := make([]*rule.Values, len(titles))
	for i, t := range titles {
		values[i] = new(t.worst.Rule().Values)
	}
	if err := dbmodel.RememberTitles(ctx, e.tx, hashes(titles), values); err != nil {
		return fmt.Errorf("remember titles: %w", err)
	}
	return nil
}

// outcome decides about the title, given the values that are remembered of titles.
func (t title) outcome(remembered map[dbmodel.Hash]*rule.Values) rule.Event {
	outcome, _ := rule.DecideTitle(true, remembered[t.hash], t.worst.Rule().Values)
	return outcome
}

func hashes(list []title) []dbmodel.Hash {
	out := make([]dbmodel.Hash, len(list))
	for i, t := range list {
		out[i] = t.hash
	}
	return out
}

func texts(list []title) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = t.worst.Title
	}
	return out
}
