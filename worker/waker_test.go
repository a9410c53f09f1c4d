package worker

import (
	"fmt"
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
	web := e.newRedis() // of another process, whose wake-ups are to come by Redis
	t.Cleanup(func() { web.Close() })
	e.acceptor = accept.New(e.db, queue.New(web, zerolog.Nop()))
	e.product(1, "/hook")
	// A worker that waited for wake-ups it cannot hear would need idleTime for each of them.
	var fastest time.Duration
	for i := 1; i <= 20 && (i == 1 || fastest > idleTime/2); i++ {
		began := time.Now()
		e.accept(observation(int64(i), 1, rule.Critical))
		testenv.Eventually(t, 30*time.Second, func() error {
			if n := len(e.receiver.headlines("/hook")); n < i {
				return fmt.Errorf("%d messages", n)
			}
			return nil
		}, "not delivered")
		if took := time.Since(began); i == 1 || took < fastest {
			fastest = took
		}
	}
	if fastest > idleTime/2 {
		t.Errorf("the fastest of 20 events is delivered after %s", fastest)
	}
	if n := log.with("refuses the channel"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
	if n := log.with("does not answer") + log.with("cancelation"); n != 0 {
		t.Errorf("%d other lines in the log", n)
	}
}
