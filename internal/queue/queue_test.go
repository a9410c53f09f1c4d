package queue_test

import (
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestServersOfTheProcessHearAtOnce: of what this Queue has put into their queues, and once it is there.
func TestServersOfTheProcessHearAtOnce(t *testing.T) {
	t.Parallel()
	client := testenv.RedisClient(t, testenv.Redis(t).URL())
	q := queue.New(client, zerolog.Nop())
	var heard []string
	q.OnEnqueue([]string{queue.Events}, func() {
		heard = append(heard, queue.Events)
		if n, _, err := q.Size(t.Context(), queue.Events); err != nil || n != 1 {
			t.Errorf("%d tasks, %v", n, err)
		}
	})
	q.OnEnqueue([]string{queue.Drains, queue.BulkDrains}, func() { heard = append(heard, queue.Drains) })

	q.Enqueue(t.Context(), []dbmodel.QueueableEvent{{ID: 1, Kind: dbmodel.KindObservation}})
	q.Enqueue(t.Context(), []dbmodel.QueueableEvent{{ID: 2, Kind: dbmodel.KindObservation, Bulk: true}})
	q.Poke(t.Context(), []int64{1})
	q.Poke(t.Context(), []int64{1}) // has a task
	q.PokeBulk(t.Context(), []int64{1})
	if want := []string{queue.Events, queue.Drains, queue.Drains}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
}
