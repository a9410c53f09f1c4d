package worker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun/dialect"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// thoughtful is a mail server that takes every message, and longer for it than a lease lasts.
type thoughtful struct {
	time time.Duration
	mu   sync.Mutex
	had  []time.Duration // the time that each send had when it began
	done int
}

func (*thoughtful) SendTime() time.Duration { return 10 * time.Minute }

func (s *thoughtful) Send(ctx context.Context, _ channel.Target, _ *channel.Message) error {
	end, _ := ctx.Deadline()
	s.mu.Lock()
	s.had = append(s.had, time.Until(end))
	s.mu.Unlock()
	select {
	case <-time.After(s.time):
	case <-ctx.Done():
		return &channel.Error{Kind: channel.Temporary, Reason: "the receiver did not answer in time", Err: ctx.Err()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	return nil
}

// TestPatientSender: a receiver that needs longer than a lease gets one copy, and all the time that its sender asks for,
// however slow the database is.
func TestPatientSender(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		receiver := &thoughtful{time: dbmodel.LeaseTime + 4*time.Second}
		if db.Dialect().Name() == dialect.PG { // a lease is old when the send begins, and is renewed before it
			_, err := db.ExecContext(t.Context(), `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
					PERFORM pg_sleep(3); RETURN NEW;
				END $$; CREATE TRIGGER slow BEFORE UPDATE OF lease_until ON targets FOR EACH ROW EXECUTE FUNCTION slow()`)
			if err != nil {
				t.Fatal(err)
			}
		}
		e := newEnv(t, db, func(w *Worker) { w.Senders[rule.Slack] = receiver })
		e.product(1, "/patient")
		e.accept(observation(1, 1, rule.Critical))
		e.idle(2 * time.Minute)
		receiver.mu.Lock()
		defer receiver.mu.Unlock()
		if len(receiver.had) != 1 || receiver.done != 1 || len(e.deliveries(dbmodel.Sent)) != 1 {
			t.Errorf("%d sends, %d taken", len(receiver.had), receiver.done)
		}
		if had := receiver.had[0]; had < 10*time.Minute-2*time.Second {
			t.Errorf("the send had %v when it began", had)
		}
	})
}
