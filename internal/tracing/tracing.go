// Package tracing carries a trace of OpenTelemetry from a request through the database to the deliveries that come of
// it. It exports nothing: the program that makes the tracers does. Where nothing is traced it costs nothing.
package tracing

import (
	"context"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name of the tracers.
const Scope = "github.com/seed91453169/tocsin"

// header is the name of a trace parent, also in requests.
const header = "traceparent"

// Start begins a span within the one of ctx, with the tracers of that one; a span that does nothing where there is
// none.
func Start(ctx context.Context, name string, kind trace.SpanKind) (context.Context, trace.Span) {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithSpanKind(kind))
}

// Within begins a span within the one of ctx, as Start does, and returns Parent of it.
func Within(ctx context.Context, name string) (parent string, end func()) {
	ctx, span := Start(ctx, name, trace.SpanKindInternal)
	return Parent(ctx), func() { span.End() }
}

// Parent is the place of ctx in its trace, for what is stored now and goes on later; empty where that is not sampled.
func Parent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[header]
}

// Continue returns ctx at the place that Parent has returned.
func Continue(ctx context.Context, parent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{header: parent})
}

// Log adds the id of the trace of ctx to a log line; nothing where that is not sampled.
func Log(ctx context.Context) func(*zerolog.Event) {
	return func(line *zerolog.Event) {
		if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
			line.Stringer("trace_id", span.TraceID())
		}
	}
}
