package worker

import (
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestLostLeaseHasNoSpan: a message that is not sent, because another worker has the lease, shows in no trace.
func TestLostLeaseHasNoSpan(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	e := newEnv(t, testenv.SQLiteDB(t), func(w *Worker) {
		w.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("")
	})
	e.product(1, "/a")
	var target dbmodel.Target
	if err := e.db.NewRaw("SELECT id, channel, address FROM targets").Scan(t.Context(), &target); err != nil {
		t.Fatal(err)
	}
	turn, err := e.worker.turns.begin(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer turn.give()
	d := &drain{w: e.worker, target: &target, owner: "earlier", leased: t.Context(), turn: turn, address: e.receiver.URL}
	d.addTrace(&dbmodel.Notification{Facts: dbmodel.Facts{
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}})
	if _, lost, err := d.send(t.Context(), &channel.Message{}); err != nil || !lost {
		t.Fatalf("the lease is lost: %v, %v", lost, err)
	}
	if ended := spans.Ended(); len(ended) > 0 {
		t.Errorf("%d spans of a message that was not sent", len(ended))
	}
}
