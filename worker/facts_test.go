package worker

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestFactsAreKept changes optional facts: that alone notifies nothing, and a notification keeps those of its time.
func TestFactsAreKept(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/a")
		o := observation(1, 1, rule.High)
		o.KnownExploited, o.EPSSScore, o.FixedVersion, o.Branch, o.Service, o.Scanner = new(false), new(0.25), "3.0.1", "main", "web", "Trivy"
		e.accept(o)
		e.idle(10 * time.Second)
		later := o
		later.KnownExploited, later.EPSSScore, later.FixedVersion, later.Branch, later.Service, later.Scanner = new(true), nil, "", "", "", ""
		e.accept(later)
		e.idle(10 * time.Second)
		list := e.notifications()
		if len(list) != 1 {
			t.Fatalf("%d notifications", len(list))
		}
		want := dbmodel.Facts{
			ProductName: list[0].Facts.ProductName, ObservationTitle: o.Title, ParserType: o.ParserType, Details: dbmodel.Details{
				KnownExploited: o.KnownExploited, EPSSScore: o.EPSSScore, FixedVersion: o.FixedVersion, Branch: o.Branch, Service: o.Service,
				Scanner: o.Scanner,
			},
		}
		if diff := cmp.Diff(want, list[0].Facts); diff != "" {
			t.Errorf("facts (-want +got):\n%s", diff)
		}
		later.Severity = rule.Critical
		e.accept(later)
		e.idle(10 * time.Second)
		if list = e.notifications(); len(list) != 2 || !cmp.Equal(list[1].Facts.KnownExploited, new(true)) || list[1].Facts.Scanner != "" {
			t.Errorf("then: %+v", list)
		}
	})
}
