package dbmodel

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// SplitEvent replaces a claimed event by one for each of its observations, so that a bad one does not keep the others
// waiting. It returns false where the claim is not the newest any more.
func SplitEvent(ctx context.Context, tx bun.Tx, e *Event) (bool, error) {
	taken, err := TakeEvent(ctx, tx, e)
	if err != nil || !taken {
		return false, err
	}
	payloads := make([]string, len(e.Payload.IDs))
	for i, id := range e.Payload.IDs {
		single := EventPayload{IDs: []int64{id}, TraceParent: e.Payload.TraceParent}
		if v, found := e.Payload.Reported[id]; found {
			single.Reported = map[int64]rule.Values{id: v}
		}
		payloads[i] = single.column()
	}
	err = insertTried(ctx, tx, e.Kind, e.Bulk, payloads, e.CreatedAt)
	return err == nil, err
}

const insertEvents = `
	INSERT INTO outbox (kind, bulk, attempts, created_at, payload)
	SELECT @kind, @bulk::boolean, 1, @accepted::timestamptz, i.payload::jsonb FROM @payloads AS i ORDER BY i.ord`

// insertTried stores events that were accepted before, at the time accepted, as if each had been tried: MergeEvents
// leaves them alone.
func insertTried(
	ctx context.Context, tx bun.Tx, kind EventKind, bulk bool, payloads []string, accepted time.Time,
) error {
	_, err := exec(ctx, tx, insertEvents, args{
		"kind": string(kind), "bulk": bulk, "accepted": accepted, "payloads": rows{{"payload", "text", payloads}},
	})
	return err
}

const (
	smallEvent   = 2_000 // bytes of a payload, some hundred observations: a larger event gains little by a merge
	worthMerging = 100   // events
)

const mergeableEvents = `
	SELECT id FROM outbox
	WHERE failed_at IS NULL AND bulk = @bulk AND kind = 'observation' AND attempts = 0 AND run_after <= clock_timestamp()
		AND pg_column_size(payload) < @small
	ORDER BY id LIMIT @limit FOR NO KEY UPDATE SKIP LOCKED`

// MergeEvents replaces up to limit waiting events about few observations by events about up to chunk of them, which
// are evaluated many times faster, and returns how many it replaced. Their tasks, if they have any, will find nothing.
// It takes the oldest, but none that was tried before: such an event may be bad, see SplitEvent.
func MergeEvents(ctx context.Context, tx bun.Tx, bulk bool, limit, chunk int) (int, error) {
	if err := neverSort(ctx, tx); err != nil {
		return 0, err
	}
	found, err := queryAll[int64](ctx, tx, mergeableEvents, args{"bulk": bulk, "small": smallEvent, "limit": limit})
	if err != nil || len(found) < worthMerging {
		return 0, err
	}
	taken, err := queryAll[Event](ctx, tx, `DELETE FROM outbox WHERE id = ANY (@ids) RETURNING id, payload, created_at`,
		args{"ids": numbers(found)})
	if err != nil {
		return 0, err
	}
	slices.SortFunc(taken, func(a, b Event) int { return cmp.Compare(a.ID, b.ID) })
	var ids []int64
	seen := map[int64]bool{}
	for _, e := range taken {
		for _, id := range e.Payload.IDs {
			if !seen[id] {
				ids, seen[id] = append(ids, id), true
			}
		}
	}
	var payloads []string
	for some := range slices.Chunk(ids, chunk) {
		merged := EventPayload{IDs: some}
		payloads = append(payloads, merged.column())
	}
	oldest := slices.MinFunc(taken, func(a, b Event) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return len(taken), insertTried(ctx, tx, KindObservation, bulk, payloads, oldest.CreatedAt)
}
