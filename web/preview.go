package web

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

const (
	previewDays  = 7  // where nothing else is asked for
	previewFirst = 10 // notifications that a preview shows
	dateLayout   = "2006-01-02"
)

// preview is what there would have been under settings or with a subscription that are not stored.
type preview struct {
	since    time.Time
	matching int // observations of now
	days     []int
	total    int
	critical int
	newest   []PreviewItem // up to previewFirst, the newest first
}

// newPreview begins a preview of the last days, which are dates in UTC; the last of them is that of now.
func newPreview(now time.Time, days int) *preview {
	return &preview{since: now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-days), days: make([]int, days)}
}

// add counts the notifications of a group.
func (p *preview) add(g *dbmodel.PreviewGroup) {
	p.total += g.Count
	p.days[min(max(g.Day, 0), len(p.days)-1)] += g.Count
	worst := g.After
	if worst == nil {
		worst = g.Before
	}
	if worst != nil && worst.Severity == rule.Critical {
		p.critical += g.Count
	}
}

// show keeps the newest of what was shown before and of items.
func (p *preview) show(items []PreviewItem) {
	p.newest = append(p.newest, items...)
	slices.SortStableFunc(p.newest, func(a, b PreviewItem) int { return b.CreatedAt.Compare(a.CreatedAt) })
	p.newest = p.newest[:min(len(p.newest), previewFirst)]
}

// newestGroups returns those groups of which the newest previewFirst rows of all are.
func newestGroups(groups []dbmodel.PreviewGroup) []dbmodel.PreviewGroup {
	slices.SortFunc(groups, func(a, b dbmodel.PreviewGroup) int { return b.Newest.Compare(a.Newest) })
	return groups[:min(len(groups), previewFirst)]
}

// words says what the preview is about: "There would have been 14 notifications in the last 7 days, 2 of them
// Critical".
func (p *preview) words() string {
	text := "There would have been " + plural(p.total, "notification", "notifications") + " in the last " +
		plural(len(p.days), "day", "days")
	if p.critical > 0 {
		text += fmt.Sprintf(", %s of them Critical", number(p.critical))
	}
	return text + ". Nothing is saved yet."
}

// decideAgain is what would have been notified under conditions where something else was: the event, and what had been
// notified before.
func decideAgain(c rule.Conditions, before, after *rule.Values) (rule.Event, *rule.Values) {
	if after == nil {
		return rule.NoEvent, nil
	}
	if before != nil && !c.Matches(rule.Observation{Values: *before}) {
		before = nil
	}
	event, _ := c.Decide(before, rule.Observation{Values: *after})
	return event, before
}

// fillSettings fills in what there would have been of the observations of a product under conditions. A stored
// notification counts where it would have been one under them, too. An observation of which nothing is remembered
// counts once where it matches: it would have been notified when its state of now was reported.
func (p *preview) fillSettings(ctx context.Context, db bun.IDB, product int64, c rule.Conditions) error {
	all := dbmodel.Viewer{Admin: true}
	scope := dbmodel.RecentScope{ProductID: product, Type: rule.TypeObservation, Since: p.since}
	groups, err := dbmodel.RecentGroups(ctx, db, all, scope)
	if err != nil {
		return fmt.Errorf("look through the notifications of product %d: %w", product, err)
	}
	var would []dbmodel.PreviewGroup
	for i := range groups {
		if event, _ := decideAgain(c, groups[i].Before, groups[i].After); event != rule.NoEvent {
			p.add(&groups[i])
			would = append(would, groups[i])
		}
	}
	stored, err := dbmodel.NewestOfGroups(ctx, db, all, scope, newestGroups(would), previewFirst)
	if err != nil {
		return fmt.Errorf("load notifications of product %d: %w", product, err)
	}
	items := make([]PreviewItem, len(stored))
	for i := range stored {
		items[i] = storedItem(&stored[i])
		event, before := decideAgain(c, stored[i].Before(), stored[i].After())
		items[i].Event, items[i].Before = &event, message.State{Values: before}
	}
	p.show(items)
	return p.fillObservations(ctx, db, product, c)
}

// fillObservations counts the observations that match, and those of them that would have been notified.
func (p *preview) fillObservations(ctx context.Context, db bun.IDB, product int64, c rule.Conditions) error {
	groups, err := dbmodel.ObservationGroups(ctx, db, product, p.since)
	if err != nil {
		return fmt.Errorf("look through the observations of product %d: %w", product, err)
	}
	var would []dbmodel.PreviewGroup
	for i := range groups {
		g := &groups[i]
		if !c.Matches(rule.Observation{Values: *g.After, ParserType: g.ParserType}) {
			continue
		}
		p.matching += g.Count
		if !g.Remembered && !g.Dropped && g.Day >= 0 {
			p.add(g)
			would = append(would, *g)
		}
	}
	found, err := dbmodel.NewestObservationsOf(ctx, db, product, p.since, newestGroups(would), previewFirst)
	if err != nil {
		return fmt.Errorf("load observations of product %d: %w", product, err)
	}
	items := make([]PreviewItem, len(found))
	for i, o := range found {
		items[i] = PreviewItem{
			Type: rule.TypeObservation, Event: new(rule.EventNew), Name: o.Title,
			Observation: &message.Observation{ID: o.ID, Title: o.Title},
			After:       message.State{Values: &o.Values}, CreatedAt: o.ReportedAt.UTC(),
		}
	}
	p.show(items)
	return nil
}

// fillSubscription fills in what a subscription would have taken of the notifications that sight sees in scope.
func (p *preview) fillSubscription(
	ctx context.Context, db bun.IDB, sight dbmodel.Viewer, scope dbmodel.RecentScope, sub *rule.Subscription,
) error {
	scope.Since, scope.ParserTypes = p.since, len(sub.Filter.ParserTypes) > 0
	groups, err := dbmodel.RecentGroups(ctx, db, sight, scope)
	if err != nil {
		return fmt.Errorf("look through notifications: %w", err)
	}
	var would []dbmodel.PreviewGroup
	for i := range groups {
		if sub.Takes(&groups[i].Notification) {
			p.add(&groups[i])
			would = append(would, groups[i])
		}
	}
	stored, err := dbmodel.NewestOfGroups(ctx, db, sight, scope, newestGroups(would), previewFirst)
	if err != nil {
		return fmt.Errorf("load notifications: %w", err)
	}
	items := make([]PreviewItem, len(stored))
	for i := range stored {
		items[i] = storedItem(&stored[i])
	}
	p.show(items)
	return nil
}

// countMatching counts the observations of a product that match now and would pass the filter of a subscription.
func (p *preview) countMatching(
	ctx context.Context, db bun.IDB, product int64, c rule.Conditions, sub *rule.Subscription,
) error {
	groups, err := dbmodel.ObservationGroups(ctx, db, product, p.since)
	if err != nil {
		return fmt.Errorf("look through the observations of product %d: %w", product, err)
	}
	anyEvent := *sub
	anyEvent.Filter.Events = nil
	for i := range groups {
		g := &groups[i]
		if c.Matches(rule.Observation{Values: *g.After, ParserType: g.ParserType}) && anyEvent.Takes(&g.Notification) {
			p.matching += g.Count
		}
	}
	return nil
}

// storedItem is a stored notification in a preview.
func storedItem(n *dbmodel.Notification) PreviewItem {
	shown := message.Show(n)
	return PreviewItem{
		Type: shown.Type, Event: shown.Event, Name: shown.Name, Observation: shown.Observation,
		Before: shown.Before, After: shown.After, CreatedAt: shown.CreatedAt,
	}
}

// inPreviewTime runs a preview, which counts as a search, and ends it after searchTime.
func (s *server) inPreviewTime(ctx context.Context, run func(context.Context) error) error {
	err := s.search(ctx, run)
	if errors.Is(err, errSearchTime) {
		return errPreviewTime
	}
	return err
}
