package worker

import (
	"context"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// What is reported as a baseline is remembered where it matches, its title too, and only what changes later is notified.
func TestBaselineIsRememberedAndNotNotified(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/slack")
		e.settings(func(s *dbmodel.Settings) { s.TitleMinSeverity = rule.High })
		list := []dbmodel.Observation{observation(1, 1, rule.Critical), observation(2, 1, rule.Low)}
		event, err := accept.NewObservations(list)
		if err != nil {
			t.Fatal(err)
		}
		err = db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := accept.InTx(ctx, tx, event.Baseline())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		e.idle(30 * time.Second)
		if got := e.notifications(); len(got) > 0 {
			t.Fatalf("a baseline is notified: %+v", got)
		}
		stored, err := dbmodel.ObservationByID(t.Context(), db, 1)
		if err != nil || stored.Remembered == nil || stored.Remembered.Severity != rule.Critical {
			t.Fatalf("remembered: %+v, %v", stored, err)
		}
		list[0].VulnerabilityID = "CVE" // evaluated again: nothing is new
		list[1].Severity = rule.High
		e.accept(list...)
		e.idle(30 * time.Second)
		if got := e.notifications(); len(got) != 2 || *got[0].ObservationID != 2 || got[1].Name != list[1].Title {
			t.Errorf("notified after a baseline: %+v", got)
		}
	})
}
