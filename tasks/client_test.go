package tasks_test

import (
	"testing"

	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/tasks"
)

// TestClientWakesTheServerOfTheQueue: the queue of imports has a server of its own.
func TestClientWakesTheServerOfTheQueue(t *testing.T) {
	t.Parallel()
	client := testenv.RedisClient(t, testenv.Redis(t).URL())
	sub := client.Subscribe(t.Context(), queue.WakeChannel)
	t.Cleanup(func() { _ = sub.Close() })
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	one := tasks.Observation{ID: 1, ProductID: 7, Title: "x", Severity: "High", Status: "Open", ParserType: "SCA"}
	other := one
	other.ID = 2
	for _, c := range []struct {
		list []tasks.Observation
		want string
	}{
		{[]tasks.Observation{one}, queue.Events},
		{[]tasks.Observation{one, other}, queue.Bulk},
	} {
		task, err := tasks.NewObservations(c.list)
		if err != nil {
			t.Fatal(err)
		}
		if err := tasks.NewClient(client).Enqueue(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		message, err := sub.ReceiveMessage(t.Context())
		if err != nil || message.Payload != c.want {
			t.Errorf("%d observations wake the server of %v, want %s; %v", len(c.list), message, c.want, err)
		}
	}
}
