package dbmodel_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

func TestLiveProcesses(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		live := func() []string {
			list, err := dbmodel.LiveProcesses(ctx, db)
			if err != nil {
				t.Fatal(err)
			}
			ids := []string{}
			for _, p := range list {
				if p.StartedAt.IsZero() || p.Host != "host" || p.Version != "1" {
					t.Errorf("%+v", p)
				}
				ids = append(ids, p.Role+" "+p.ID)
			}
			return ids
		}
		want := func(ids ...string) {
			t.Helper()
			if diff := cmp.Diff(append([]string{}, ids...), live()); diff != "" {
				t.Errorf("alive (-want +got):\n%s", diff)
			}
		}
		seen := func(id string, seconds int) {
			shift := fmt.Sprintf("seen_at + interval '%d seconds'", seconds)
			if db.Reader != db.DB {
				shift = fmt.Sprintf("seen_at + %d * 1000000", seconds)
			}
			if _, err := db.ExecContext(ctx, "UPDATE processes SET seen_at = "+shift+" WHERE id = ?", id); err != nil {
				t.Fatal(err)
			}
		}
		web, worker := &dbmodel.Process{ID: "a", Role: "web", Host: "host", Version: "1"}, &dbmodel.Process{ID: "b", Role: "worker", Host: "host", Version: "1"}
		renew := func(p *dbmodel.Process) {
			if err := dbmodel.RenewProcess(ctx, db, p); err != nil {
				t.Fatal(err)
			}
		}
		renew(worker)
		renew(web)
		renew(web)
		want("web a", "worker b")
		seen("a", -31) // it was killed
		want("worker b")
		seen("a", 3600) // the clock was set back by an hour after it was killed
		want("worker b")
		renew(web)
		want("web a", "worker b")
		if err := dbmodel.RemoveProcess(ctx, db, worker); err != nil {
			t.Fatal(err)
		}
		want("web a")
		seen("a", -86401)
		renew(worker)
		if n, err := db.NewSelect().Table("processes").Count(ctx); err != nil || n != 1 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}
