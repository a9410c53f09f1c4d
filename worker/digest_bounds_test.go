package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// faultyPipeline is a fault in what a Redis client does with many commands.
type faultyPipeline struct{ do func() }

func (faultyPipeline) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (faultyPipeline) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f faultyPipeline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		f.do()
		return next(ctx, cmds)
	}
}

// TestPanicOfOneSlot: a slot that ends in a panic is a failure of the run, the other slots end, and the process lives.
func TestPanicOfOneSlot(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		e.scheduler.Shutdown()
		for i, severity := range []rule.Severity{rule.High, rule.Critical} {
			e.slotIsDue(e.subscribe(string(severity), rule.Slack, func(s *dbmodel.Subscription) {
				daily(s)
				about(1)(s)
				s.MinSeverity = severity
			}, fmt.Sprintf("%s/%d", e.receiver.URL, i)))
		}
		err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return e.happen(ctx, tx, "import") })
		if err != nil {
			t.Fatal(err)
		}
		run, err := dbmodel.BeginRun(t.Context(), db, queue.TypePeriodicDigests)
		if err != nil {
			t.Fatal(err)
		}
		client := e.newRedis()
		defer client.Close()
		var once sync.Once
		client.AddHook(faultyPipeline{func() { once.Do(func() { panic("a fault after the first slot") }) }})
		w := New(Config{DB: db, Vault: e.vault, Queue: queue.New(client, zerolog.Nop()), Log: zerolog.Nop()})
		if _, err = w.periodicDigests(t.Context(), run); classOf(err) != "Panic" {
			t.Errorf("the run ends with %v", err)
		}
		if made := e.digested(); len(made) != 2 {
			t.Errorf("%d digests, want 2", len(made))
		}
	})
}

// TestFailingPauseStopsNoSlot: slots end also in a run that cannot end a pause, and the run fails.
func TestFailingPauseStopsNoSlot(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		e.scheduler.Shutdown()
		e.slotIsDue(e.dailyDigest(""))
		err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return e.happen(ctx, tx, "import") })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `INSERT INTO ended_pauses (products, through) VALUES ('"?"', 0)`); err != nil {
			t.Fatal(err)
		}
		run, err := dbmodel.BeginRun(t.Context(), db, queue.TypePeriodicDigests)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.worker.periodicDigests(t.Context(), run); err == nil {
			t.Error("the run hides that a pause did not end")
		}
		if made := e.digested(); len(made) != 1 {
			t.Errorf("%d digests, want that of the slot", len(made))
		}
	})
}

// TestSlotsAreCountedOnce: a run whose transactions fail one after the other counts those that commit.
func TestSlotsAreCountedOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testenv.SQLiteDB(t), nil)
	e.product(1, "")
	e.scheduler.Shutdown()
	e.slotIsDue(e.dailyDigest(""))
	err := e.db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return e.happen(ctx, tx, "import") })
	if err != nil {
		t.Fatal(err)
	}
	d := &digestRun{w: e.worker}
	if err := d.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := int64(1); ; n++ {
		ctx, end := context.WithCancel(t.Context())
		dying := &dyingContext{Context: ctx, end: end}
		dying.left.Store(n)
		err := d.endSlots(dying)
		end()
		if err == nil {
			break
		}
		if n > 10_000 {
			t.Fatalf("no run ends: %v", err)
		}
	}
	if d.slots != 1 || d.messages != 1 {
		t.Errorf("the run made %q", d.summary())
	}
}

// TestManySinglesAreStoredInParts: signed webhooks that get thousands of notifications each are served in transactions
// of their own, while those who get one digest share it.
func TestManySinglesAreStoredInParts(t *testing.T) {
	t.Parallel()
	const notifications, webhooks = singlesAtOnce/2 + 1, 3
	db := testenv.OpenDB(t, testenv.PostgresURL(t, testenv.MigrateSchema))
	e := newEnv(t, db, nil)
	e.scheduler.Shutdown()
	other := &env{t: t, redis: testenv.Redis(t)} // so that nobody sends anything
	client := other.newRedis()
	defer client.Close()
	other.worker = New(Config{DB: db, Vault: e.vault, Queue: queue.New(client, zerolog.Nop()), Log: zerolog.Nop()})
	stored := func(heldBack bool) {
		t.Helper()
		list := make([]dbmodel.NewNotification, notifications)
		for i := range list {
			list[i].Notification = dbmodel.Notification{Type: rule.TypeTask, Name: "import", ProductID: new(int64(1))}
			list[i].HeldBack = heldBack
		}
		if err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.InsertNotifications(ctx, tx, list)
		}); err != nil {
			t.Fatal(err)
		}
	}
	served := func(what string) {
		t.Helper()
		var most, all, digests int
		err := db.NewRaw(`SELECT coalesce(max(n), 0), coalesce(sum(n), 0), (SELECT count(*) FROM digests)
			FROM (SELECT count(*) AS n FROM deliveries WHERE digest_id IS NULL GROUP BY xmin::text) AS t`).
			Scan(t.Context(), &most, &all, &digests)
		if err != nil || most != notifications || all != webhooks*notifications || digests != 1 {
			t.Errorf("%s: %d deliveries in %d digests, at most %d in a transaction (%v)", what, all, digests, most, err)
		}
		if _, err := db.ExecContext(t.Context(), "TRUNCATE deliveries, digests, notifications CASCADE"); err != nil {
			t.Fatal(err)
		}
	}
	e.product(1, "")
	for i := range webhooks {
		for _, c := range []rule.Channel{rule.Webhook, rule.Slack} {
			address := fmt.Sprintf("%s/%s/%d", e.receiver.URL, c, i)
			e.slotIsDue(e.subscribe("later "+address, c, func(s *dbmodel.Subscription) { daily(s); about(1)(s) }, address))
		}
	}
	stored(false)
	if err := other.makeDigests(t.Context()); err != nil {
		t.Fatal(err)
	}
	served("a slot")
	if _, err := db.ExecContext(t.Context(), "DELETE FROM subscriptions"); err != nil {
		t.Fatal(err)
	}
	for i := range webhooks {
		for _, c := range []rule.Channel{rule.Webhook, rule.Slack} {
			address := fmt.Sprintf("%s/%s/%d", e.receiver.URL, c, i)
			e.subscribe("at once "+address, c, about(1), address)
		}
	}
	later := time.Now().AddDate(0, 0, 1)
	e.pause(1, nil, &later)
	stored(true)
	e.pause(1, nil, nil)
	if err := other.makeDigests(t.Context()); err != nil {
		t.Fatal(err)
	}
	served("a pause")
}

// TestStoppedRunIsHandedOver: a worker that stops while a run ends slots says so, though a slot failed before, so that
// the run goes on elsewhere.
func TestStoppedRunIsHandedOver(t *testing.T) {
	t.Parallel()
	d := &digestRun{failure: errors.New("a slot failed")}
	if d.mayGoOn(t.Context(), errStopping) {
		t.Error("a run of a worker that stops goes on")
	}
}
