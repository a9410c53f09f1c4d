package queue_test

import (
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
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

// TestSingleEventsAreNoted: their evaluations, also while Redis does not answer, and their deliveries, but nothing of an
// import, and nothing that was noted before.
func TestSingleEventsAreNoted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		enqueue func(*queue.Queue)
		single  bool
	}{
		"an event": {func(q *queue.Queue) {
			q.Enqueue(t.Context(), []dbmodel.QueueableEvent{{ID: 1, Kind: dbmodel.KindException}})
		}, true},
		"a delivery": {func(q *queue.Queue) { q.Poke(t.Context(), []int64{1}) }, true},
		"an event of an import": {func(q *queue.Queue) {
			q.Enqueue(t.Context(), []dbmodel.QueueableEvent{{ID: 1, Kind: dbmodel.KindObservation, Bulk: true}})
		}, false},
		"a delivery of an import": {func(q *queue.Queue) { q.PokeBulk(t.Context(), []int64{1}) }, false},
		"a drain that goes on":    {func(q *queue.Queue) { q.PokeAgain(t.Context(), 1, false) }, false},
		"nothing":                 {func(q *queue.Queue) { q.Enqueue(t.Context(), nil) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := queue.New(testenv.RedisClient(t, testenv.Redis(t).URL()), zerolog.Nop())
			if c.enqueue(q); q.SinglesCome() != c.single {
				t.Errorf("noted: %t", q.SinglesCome())
			}
		})
	}
	q := queue.New(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1}), zerolog.Nop())
	q.Note(redis.ErrClosed) // it rests
	q.Enqueue(t.Context(), []dbmodel.QueueableEvent{{ID: 1, Kind: dbmodel.KindObservation}})
	if !q.SinglesCome() {
		t.Error("without Redis a single event is not noted")
	}
}
