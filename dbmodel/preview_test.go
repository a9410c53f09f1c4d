package dbmodel_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestPreviewDays counts whole days: what was stored 20 hours after the beginning is of the first day.
func TestPreviewDays(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		saveProducts(t, db, 1)
		o := dbmodel.Observation{ID: 7, ProductID: 1, Title: "CVE-7", Severity: rule.High, Status: rule.Open, ParserType: "SCA"}
		if _, err := dbmodel.AcceptObservations(ctx, db, []dbmodel.Observation{o}, dbmodel.AcceptOptions{}); err != nil {
			t.Fatal(err)
		}
		n := dbmodel.Notification{Type: rule.TypeObservation, Event: rule.EventNew, Name: o.Title, ProductID: &o.ProductID, ObservationID: &o.ID}
		n.SetValues(nil, &rule.Values{Severity: rule.High, Status: rule.Open, Priority: new(3), KnownExploited: new(false)})
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{{Notification: n}})
		})
		now, err := dbmodel.DatabaseNow(ctx, db)
		if err != nil {
			t.Fatal(err)
		}
		all := dbmodel.Viewer{Admin: true}
		for hours, day := range map[int]int{1: 0, 20: 0, 28: 1, 40: 1} {
			since := now.Add(-time.Duration(hours) * time.Hour)
			scope := dbmodel.RecentScope{ProductID: 1, Type: rule.TypeObservation, Since: since}
			groups, err := dbmodel.RecentGroups(ctx, db, all, scope)
			if err != nil || len(groups) != 1 || groups[0].Day != day || groups[0].Count != 1 {
				t.Errorf("notifications %d hours after the beginning: %+v %v", hours, groups, err)
			}
			stored, err := dbmodel.NewestOfGroups(ctx, db, all, scope, groups, 10)
			if err != nil || len(stored) != 1 || stored[0].Name != o.Title {
				t.Errorf("the newest ones: %+v %v", stored, err)
			}
			groups, err = dbmodel.ObservationGroups(ctx, db, 1, since)
			if err != nil || len(groups) != 1 || groups[0].Day != day || groups[0].Remembered || groups[0].Dropped {
				t.Errorf("observations %d hours after the beginning: %+v %v", hours, groups, err)
			}
			found, err := dbmodel.NewestObservationsOf(ctx, db, 1, since, groups, 10)
			want := rule.Values{Severity: rule.High, Status: rule.Open}
			if err != nil || len(found) != 1 || found[0].ID != 7 || !cmp.Equal(found[0].Values, want) {
				t.Errorf("the newest ones: %+v %v", found, err)
			}
		}
	})
}
