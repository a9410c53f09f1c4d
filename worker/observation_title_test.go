package worker

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestWorstOfAnImportDecidesAboutItsTitle: the worst observation with a title decides about it also where nothing else
// of its import has an outcome but a lesser one with the same title.
func TestWorstOfAnImportDecidesAboutItsTitle(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.settings(func(s *dbmodel.Settings) { s.TitleMinSeverity = rule.High })
		e.product(1, "")
		lesser, worst := observation(1, 1, rule.High), observation(2, 1, rule.Critical)
		lesser.Title, worst.Title = "log4j", "log4j"
		e.accept(lesser)
		e.idle(30 * time.Second)
		e.accept(worst)
		e.idle(30 * time.Second)
		lesser.Priority, worst.FixedVersion = new(7), "2.17.1" // no condition is about the latter
		e.accept(lesser, worst)
		e.idle(30 * time.Second)
		var got []rule.Type
		for _, n := range e.notifications() {
			got = append(got, n.Type)
		}
		observation, title := rule.TypeObservation, rule.TypeObservationTitle
		want := []rule.Type{observation, title, observation, title, observation}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("notified (-want +got):\n%s", diff)
		}
	})
}
