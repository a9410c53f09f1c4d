// Package tracing carries a trace of OpenTelemetry from a request through the database to the deliveries that result
// from it. It exports nothing: the program that makes the tracers does. Where nothing is traced it costs nothing.
package tracing

import (
	"context"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name of the tracers.
const Scope = "github.com/seed91453169/tocsin"

// header is the name of a trace parent in a propagation carrier, as in the header of a request.
const header = "traceparent"

// Start begins a span within that of ctx, by the same provider of tracers; a span that does nothing where ctx has none.
func Start(ctx context.Context, name string, kind trace.SpanKind) (context.Context, trace.Span) {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithSpanKind(kind))
}

// Within begins a span as Start does, and returns its Parent, for work that takes no context.
func Within(ctx context.Context, name string) (parent string, end func()) {
	ctx, span := Start(ctx, name, trace.SpanKindInternal)
	return Parent(ctx), func() { span.End() }
}

// Parent returns the place of ctx in its trace, to be stored with work that goes on later; empty where the trace is not
// sampled.
func Parent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[header]
}

// Continue returns ctx at a place in a trace that Parent returned before; ctx itself where parent is empty.
func Continue(ctx context.Context, parent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{header: parent})
}

// Log returns a function that adds the id of the trace of ctx to a log line; nothing where the trace is not sampled.
func Log(ctx context.Context) func(*zerolog.Event) {
	return func(line *zerolog.Event) {
		if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
			line.Stringer("trace_id", span.TraceID())
		}
	}
}
