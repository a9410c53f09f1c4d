package accept_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// TestTraceIsKept: whichever door an event takes, its row in the outbox names the trace of the caller, where that is sampled.
func TestTraceIsKept(t *testing.T) {
	t.Parallel()
	const parent, none = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		if _, err := db.ExecContext(t.Context(), "INSERT INTO products (id, name) VALUES (1, 'P')"); err != nil {
			t.Fatal(err)
		}
		number := int64(0)
		observations := func(n int) *accept.Event {
			list := make([]dbmodel.Observation, n)
			for i := range list {
				number++
				list[i] = dbmodel.Observation{ID: number, ProductID: 1, Title: "T", Severity: rule.High, Status: rule.Open, ParserType: "SCA"}
			}
			e, err := accept.NewObservations(list)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		passed := false
		gate := func() *accept.Event {
			passed = !passed
			e, err := accept.NewSecurityGate(1, new(passed))
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		exception := func() *accept.Event {
			e, err := accept.NewException(accept.ExceptionInfo{Class: "KeyError"})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		for text, want := range map[string]string{parent: parent, none: "", "00-x-y-01": "", "": ""} {
			for name, e := range map[string]*accept.Event{"one": observations(1), "many": observations(3), "gate": gate(), "exception": exception()} {
				e.InTrace(text)
				if _, err := db.ExecContext(t.Context(), "DELETE FROM outbox"); err != nil {
					t.Fatal(err)
				}
				var done accept.Accepted
				err := db.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) (err error) {
					done, err = accept.InTx(ctx, tx, e)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				if p, err := e.Payload(time.Now()); err != nil || strings.Contains(string(p), "trace_parent") != (want == parent) {
					t.Errorf("%s through Redis: %s (%v)", name, p, err)
				}
				claimed, err := dbmodel.ClaimEvent(t.Context(), db, done.Rows[0].Kind, done.Rows[0].ID, false)
				if err != nil || claimed.Payload.TraceParent != want {
					t.Errorf("%s: %q, want %q (%v)", name, claimed.Payload.TraceParent, want, err)
				}
			}
		}
	})
}
