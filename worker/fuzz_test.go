package worker

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/queue"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// FuzzPayloads gives every handler any payload, as somebody may have put it into Redis. None panics. An event that came
// through Redis is kept, accepted or refused, and what was accepted is evaluated without a fault.
func FuzzPayloads(f *testing.F) {
	sum := strings.Repeat("f0", 32)
	for _, seed := range []string{
		`{"id":1}`, `{"id":9223372036854775807,"product_id":-1,"alone":true}`, `{"target_id":1}`, `{"target_id":1e3}`, "\x00\xff", `null`, `[]`, `"x"`, ``,
		`{"kind":"observation","observations":[{"id":1,"product_id":1,"title":"t","severity":"High","status":"Open","parser_type":"SCA"}],"stated_at":"2026-01-31T08:00:00Z"}`,
		`{"kind":"observation","observations":[null,{"id":1},{"id":1,"product_id":9,"title":"\ud800","severity":"High","status":"Open","parser_type":"SCA"}]}`,
		`{"kind":"observation"}`, `{"kind":"observation","id":1}`, `{"kind":"observation","id":-1}`, `{"kind":"security_gate","id":1,"passed":true,"stated_at":"9999-12-31T23:59:59Z"}`,
		`{"kind":"security_gate","id":1,"passed":false,"stated_at":"-9999-01-01T00:00:00Z"}`, `{"kind":"security_gate","id":1,"stated_at":"0001-01-01T00:00:00Z"}`,
		`{"kind":"exception","exception":{"type":"exception","class":"E","fingerprint":"` + sum + `"}}`, `{"kind":"exception","exception":null}`, `{"kind":"exception","exception":{"type":"task","class":"E"}}`,
		`{"kind":"exception","exception":{"type":"x\u0000","class":"\u0000","message":"\ud800","user":"\u0000","function":"\u0000","arguments":{"a":"\u0000"},"fingerprint":"` + sum + `","product_id":-1}}`,
		`{"kind":"exception","exception":{"type":"task","class":"E","arguments":{"n":1e200000},"observation_id":9223372036854775807,"fingerprint":"` + sum + `","own":true,"never_suppressed":true}}`,
		`{"kind":"` + strings.Repeat("k", 100) + `\u0000"}`, `{"kind":"exception","exception":{"type":"task","class":"E","fingerprint":"` + sum + `","arguments":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}}`,
	} {
		f.Add([]byte(seed))
	}
	client := testenv.RedisClient(f, testenv.Redis(f).URL())
	var workers []*Worker
	for _, db := range []*dbmodel.DB{testenv.PostgresDB(f), testenv.SQLiteDB(f)} {
		vault, err := dbmodel.OpenVault(f.Context(), db, make([]byte, dbmodel.KeySize), nil)
		if err != nil {
			f.Fatal(err)
		}
		err = db.InTx(f.Context(), func(ctx context.Context, tx bun.Tx) error {
			product := &dbmodel.Product{ID: 1, Name: "p"}
			product.MinSeverity = rule.Low
			return dbmodel.SaveProduct(ctx, tx, product)
		})
		if err != nil {
			f.Fatal(err)
		}
		log := zerolog.Nop()
		w := New(Config{DB: db, Vault: vault, Queue: queue.New(client, log), Senders: map[rule.Channel]channel.Sender{}, Log: log})
		w.turns = newTurns(10, 4, usualLanes, func() bool { return false })
		workers = append(workers, w)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, w := range workers {
			handlers := w.eventTasks()
			delete(handlers, queue.TypeEventAccept)
			handlers[queue.TypeTargetDrain], handlers[queue.TypePeriodicCleanup] = w.targetDrain, w.periodicTasks()[queue.TypePeriodicCleanup]
			for name, handle := range handlers {
				_ = handle(t.Context(), asynq.NewTask(name, payload)) // an error is what garbage deserves
			}
			if err := w.eventAccept(t.Context(), asynq.NewTask(queue.TypeEventAccept, payload)); err != nil {
				t.Fatalf("%s: %q is not kept: %v", w.DB.Dialect().Name(), payload, err)
			}
			for _, e := range waiting(t, w.DB) {
				task, err := json.Marshal(queue.EventTask{ID: e.ID, ProductID: e.ProductID})
				if err != nil {
					t.Fatal(err)
				}
				if err := handlers[queue.TypeOf(e.Kind)](t.Context(), asynq.NewTask(queue.TypeOf(e.Kind), task)); err != nil {
					t.Errorf("%s: %q is accepted, but: %v", w.DB.Dialect().Name(), payload, err)
				}
			}
			if n := len(waiting(t, w.DB)); n > 0 {
				t.Errorf("%s: %q: %d events are still there", w.DB.Dialect().Name(), payload, n)
			}
			for _, table := range []string{"outbox", "notifications", "observations"} {
				if _, err := w.DB.DB.DB.ExecContext(t.Context(), "DELETE FROM "+table); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// waiting are the events that wait for their evaluation.
func waiting(t *testing.T, db *dbmodel.DB) (out []dbmodel.QueueableEvent) {
	t.Helper()
	err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		for _, bulk := range []bool{false, true} {
			list, err := dbmodel.QueueableEvents(ctx, tx, bulk, -time.Minute, 100) // also what is enqueued
			if err != nil {
				return err
			}
			out = append(out, list...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
