package dbmodel_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

func insertEvent(t *testing.T, db *dbmodel.DB, e dbmodel.NewEvent) int64 {
	t.Helper()
	id, err := dbmodel.InsertEvent(t.Context(), db, e)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestMergeEvents(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		about := func(bulk bool, ids ...int64) int64 {
			t.Helper()
			return insertEvent(t, db, dbmodel.NewEvent{Kind: dbmodel.KindObservation, Bulk: bulk, Payload: dbmodel.EventPayload{IDs: ids}, Queued: ids[0]%2 == 0})
		}
		merge := func(limit, want int) {
			t.Helper()
			inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
				n, err := dbmodel.MergeEvents(ctx, tx, false, limit, 2)
				if n != want {
					t.Errorf("merged %d events, want %d", n, want)
				}
				return err
			})
		}
		tried := about(false, 9_001)
		e, err := dbmodel.ClaimEvent(ctx, db, dbmodel.KindObservation, tried, false)
		if err == nil {
			err = dbmodel.ReleaseEvent(ctx, db, e, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		late := about(false, 9_002)
		if _, err := dbmodel.ClaimEvent(ctx, db, dbmodel.KindObservation, late, false); err != nil { // it is due in a while
			t.Fatal(err)
		}
		many := make([]int64, 1000)
		for i := range many {
			many[i] = int64(10_000 + i)
		}
		left := []int64{
			tried, late, about(false, many...), about(true, 9_003), insertEvent(t, db, dbmodel.NewEvent{Kind: dbmodel.KindSecurityGate, ProductID: 9}),
			insertEvent(t, db, dbmodel.NewEvent{Kind: dbmodel.KindException, Payload: dbmodel.EventPayload{Exception: &dbmodel.Exception{Class: "KeyError"}}}),
		}
		for i := range int64(50) {
			about(false, i+1)
		}
		merge(1000, 0) // it is not worth it
		for i := range int64(150) {
			about(false, i+51, i+52) // each but the last one twice
		}
		last := about(false, 500)
		merge(200, 200)
		merge(1000, 0) // what was merged stays as it is
		left = append(left, last)

		var events []dbmodel.QueueableEvent
		inTx(t, db, func(ctx context.Context, tx bun.Tx) (err error) {
			events, err = dbmodel.QueueableEvents(ctx, tx, false, -time.Minute, 1000)
			return err
		})
		var got []int64
		for _, q := range events {
			if slices.Contains(left, q.ID) {
				continue
			}
			e, err := dbmodel.ClaimEvent(ctx, db, dbmodel.KindObservation, q.ID, false)
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Payload.IDs) > 2 {
				t.Errorf("%d observations in one event", len(e.Payload.IDs))
			}
			got = append(got, e.Payload.IDs...)
		}
		var want []int64
		for i := range int64(201) {
			want = append(want, i+1)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("merged observations (-want +got):\n%s", diff)
		}
		for _, id := range left {
			var there bool
			if err := db.Reader.QueryRowContext(ctx, "SELECT count(*) > 0 FROM outbox WHERE id = ?", id).Scan(&there); err != nil || !there {
				t.Errorf("event %d is gone (%v)", id, err)
			}
		}
	})
}
