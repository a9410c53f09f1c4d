package worker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestRedisWithoutChannels takes the channels away from the user of Redis, as Redis 7 does for new ones: what is reported
// on an idle system is delivered fast all the same, and the log says once what is missing.
func TestRedisWithoutChannels(t *testing.T) {
	t.Parallel()
	var log lines
	e := newEnv(t, testenv.PostgresDB(t), func(w *Worker) {
		client := w.NewRedis()
		defer client.Close()
		if err := client.Do(t.Context(), "ACL", "SETUSER", "default", "resetchannels").Err(); err != nil {
			t.Fatal(err)
		}
		w.Log = zerolog.New(&log).Level(zerolog.WarnLevel)
		queueClient := w.NewRedis()
		t.Cleanup(func() { queueClient.Close() })
		w.Queue = queue.New(queueClient, w.Log)
	})
	e.acceptor = accept.New(e.db, e.worker.Queue)
	e.product(1, "/hook")
	var delays []time.Duration
	for i := range 7 {
		began := time.Now()
		e.accept(observation(int64(i+1), 1, rule.Critical))
		testenv.Eventually(t, 30*time.Second, func() error {
			if n := len(e.receiver.headlines("/hook")); n <= i {
				return fmt.Errorf("%d messages", n)
			}
			return nil
		}, "not delivered")
		delays = append(delays, time.Since(began))
	}
	slices.Sort(delays)
	if delays[3] > 200*time.Millisecond {
		t.Errorf("events are delivered after %s", delays)
	}
	if n := log.with("refuses the channel"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
	if n := log.with("does not answer") + log.with("cancelation"); n != 0 {
		t.Errorf("%d other lines in the log", n)
	}
}
