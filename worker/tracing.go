package worker

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/tracing"
)

// continued begins a span in the trace of parent, which was stored with an event or a notification; a span that does
// nothing where parent is empty.
func (w *Worker) continued(
	ctx context.Context, parent, name string, kind trace.SpanKind, attributes ...attribute.KeyValue,
) (context.Context, trace.Span) {
	if w.Tracer == nil || parent == "" {
		return ctx, noop.Span{}
	}
	return w.Tracer.Start(tracing.Continue(ctx, parent), name, trace.WithSpanKind(kind),
		trace.WithAttributes(attributes...))
}

// startRun begins the trace of a run of a periodic task.
func (w *Worker) startRun(ctx context.Context, run *dbmodel.PeriodicRun) (context.Context, trace.Span) {
	if w.Tracer == nil {
		return ctx, noop.Span{}
	}
	return w.Tracer.Start(ctx, run.Task, trace.WithNewRoot(), trace.WithAttributes(attribute.Int64("tocsin.run", run.ID)))
}

// startEvaluation begins the span of the evaluation of an event.
func (w *Worker) startEvaluation(ctx context.Context, e *dbmodel.Event) (context.Context, trace.Span) {
	return w.continued(ctx, e.Payload.TraceParent, "evaluate "+string(e.Kind), trace.SpanKindConsumer,
		attribute.Int64("tocsin.event", e.ID), attribute.Int("tocsin.observations", len(e.Payload.IDs)),
		attribute.Int("tocsin.attempt", e.Attempts))
}

// endSpan ends the span of a piece of work; err is why that failed, nil where it did not.
func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// forgetTraces forgets the traces of the last message.
func (d *drain) forgetTraces() { d.parents, d.trace = d.parents[:0], nil }

// addTrace has the next message belong to the trace of a notification too: its span lies in the first trace and is
// linked to the others.
func (d *drain) addTrace(n *dbmodel.Notification) { d.parents = append(d.parents, parentsOf(n)...) }

// parentsOf returns the place in the trace of a notification; nothing where it has none.
func parentsOf(n *dbmodel.Notification) []string {
	if n.Facts.TraceParent == "" {
		return nil
	}
	return []string{n.Facts.TraceParent}
}

// startSend begins the span of a message, and returns it and its context; parents are places in the traces of its
// notifications.
func (d *drain) startSend(parents []string) (context.Context, trace.Span) {
	if len(parents) == 0 {
		return nil, noop.Span{}
	}
	name := "deliver " + string(d.target.Channel)
	ctx, span := d.w.continued(context.Background(), parents[0], name, trace.SpanKindClient,
		attribute.Int64("tocsin.target", d.target.ID), attribute.String("tocsin.channel", string(d.target.Channel)),
		attribute.Int("tocsin.notifications", len(parents)))
	for _, parent := range parents[1:] {
		span.AddLink(trace.LinkFromContext(tracing.Continue(context.Background(), parent)))
	}
	return ctx, span
}

// endSend ends the span of a message; result is that of the send, nil where the receiver took it.
func endSend(span trace.Span, result *channel.Error) {
	if result != nil {
		span.SetAttributes(attribute.String("tocsin.category", string(result.Category())))
		span.SetStatus(codes.Error, result.Reason)
	}
	span.End()
}
