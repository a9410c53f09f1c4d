package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// refuser takes no message before it has refused some, and notes the ids of all.
type refuser struct {
	refuses int
	tooLong int // the try that it refuses as too large; 0: none
	mu      sync.Mutex
	ids     []string
}

func (s *refuser) Send(_ context.Context, _ channel.Target, m *channel.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, m.ID)
	switch n := len(s.ids); {
	case n == s.tooLong:
		return &channel.Error{Kind: channel.Permanent, Reason: "too large", TooLarge: true}
	case n <= s.refuses:
		return &channel.Error{Kind: channel.Temporary, Reason: "not now"}
	}
	return nil
}

func (s *refuser) tries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

// refuse has one target of a channel get 30 deliveries, which are refused so often, and shrinks what waits after each
// refusal.
func (e *env) refuse(c rule.Channel, s *refuser, shrink bool) {
	e.t.Helper()
	e.product(1, "")
	e.subscribe("all", c, about(1), e.receiver.URL+"/all")
	list := make([]dbmodel.Observation, 30)
	for i := range list {
		list[i] = observation(int64(i+1), 1, rule.High)
	}
	e.accept(list...)
	for n := 1; n <= s.refuses; n++ {
		e.waitFor(fmt.Sprint("refusal ", n), func() bool {
			var failures int
			err := e.db.NewRaw("SELECT max(failures) FROM targets").Scan(e.t.Context(), &failures)
			return err == nil && failures == n
		})
		if !shrink {
			continue
		}
		_, err := e.db.ExecContext(e.t.Context(),
			"DELETE FROM deliveries WHERE id = (SELECT max(id) FROM deliveries WHERE state = 'pending')")
		if err != nil {
			e.t.Fatal(err)
		}
	}
	e.idle(30 * time.Second)
}

// TestRepeatKeepsItsID: a digest, or a batch of a webhook, that is tried again has the id of its first try, whatever of
// it was deleted meanwhile.
func TestRepeatKeepsItsID(t *testing.T) {
	t.Parallel()
	for _, c := range []rule.Channel{rule.Slack, rule.Webhook} {
		testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
			s := &refuser{refuses: 2}
			e := newEnv(t, db, func(w *Worker) { w.Senders[c] = s })
			e.refuse(c, s, true)
			if ids := s.tries(); len(ids) != 3 || len(slices.Compact(ids)) != 1 {
				t.Errorf("%s: the tries had the ids %v", c, s.tries())
			}
		})
	}
}

// TestHalvesHaveIDsOfTheirOwn: a batch that is too large when it is tried again goes as two, which no receiver takes
// for the same one.
func TestHalvesHaveIDsOfTheirOwn(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		s := &refuser{refuses: 1, tooLong: 2}
		e := newEnv(t, db, func(w *Worker) { w.Senders[rule.Webhook] = s })
		e.refuse(rule.Webhook, s, false)
		ids := s.tries()
		if len(ids) != 4 || ids[0] != ids[1] || ids[2] == ids[3] {
			t.Errorf("a batch, the same again, and its halves had the ids %v", ids)
		}
	})
}

// pausedDrains has tasks of drains wait in their queues.
func (e *env) pausedDrains() {
	e.t.Helper()
	_, inspector := e.byHand()
	for _, q := range []string{queue.Drains, queue.BulkDrains} {
		if _, _, err := e.queue.Size(e.t.Context(), q); err != nil { // which lists the queue
			e.t.Fatal(err)
		}
		if err := inspector.PauseQueue(q); err != nil {
			e.t.Fatal(err)
		}
	}
}

// TestDrainGoesOnInItsQueue: a drain of an import that has used its time goes on behind single events.
func TestDrainGoesOnInItsQueue(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		for _, bulk := range []bool{false, true} {
			e := newEnv(t, db, nil)
			e.scheduler.Shutdown()
			e.pausedDrains()
			url := fmt.Sprint(e.receiver.URL, "/", bulk)
			ids, err := dbmodel.EnsureTargets(t.Context(), db, e.vault, rule.Slack, []string{url})
			if err != nil {
				t.Fatal(err)
			}
			lease, err := dbmodel.TakeTarget(t.Context(), db, ids[0], "test")
			if err != nil || !lease.Mine {
				t.Fatal(lease, err)
			}
			d := &drain{w: e.worker, target: &lease.Target, owner: "test", bulk: bulk}
			if err := d.makeWay(t.Context()); err != nil {
				t.Fatal(err)
			}
			single, ofImports := e.tasks([]string{queue.Drains}, "pending"), e.tasks([]string{queue.BulkDrains}, "pending")
			if single+ofImports != 1 || (ofImports == 1) != bulk {
				t.Errorf("bulk %t: %d tasks of single events, %d of imports", bulk, single, ofImports)
			}
		}
	})
}

// TestDigestsGoBehindSingleEvents: what a slot or the end of a pause brings to many targets at once keeps no single
// event waiting.
func TestDigestsGoBehindSingleEvents(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "/product")
		s := e.dailyDigest("")
		later := time.Now().AddDate(0, 0, 1)
		e.pause(1, nil, &later)
		e.accept(observation(1, 1, rule.High))
		e.idle(10 * time.Second)
		e.scheduler.Shutdown()
		e.pausedDrains()
		e.pause(1, nil, nil)
		e.slotIsDue(s)
		if err := e.makeDigests(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(e.deliveries(dbmodel.Pending)); n != 2 {
			t.Errorf("%d deliveries wait", n)
		}
		single, ofImports := e.tasks([]string{queue.Drains}, "pending"), e.tasks([]string{queue.BulkDrains}, "pending")
		if single != 0 || ofImports != 2 {
			t.Errorf("%d tasks of single events, %d of imports", single, ofImports)
		}
	})
}
