package worker

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

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

// slowRenewal is a database that takes a while to answer to the renewal of a lease.
type slowRenewal struct{ time time.Duration }

func (slowRenewal) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (s slowRenewal) AfterQuery(_ context.Context, event *bun.QueryEvent) {
	if strings.HasPrefix(event.Query, "UPDATE targets SET lease_until") {
		<-time.After(s.time)
	}
}

// TestPatientSender: a receiver that needs longer than a lease gets one copy, and all the time that its sender asks for,
// however slow the database is.
func TestPatientSender(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		receiver := &thoughtful{time: dbmodel.LeaseTime + 4*time.Second}
		e := newEnv(t, db, func(w *Worker) {
			slow := db.WithQueryHook(slowRenewal{3 * time.Second})
			w.DB = &dbmodel.DB{DB: slow, Reader: db.Reader}
			w.Senders[rule.Slack] = receiver
		})
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
