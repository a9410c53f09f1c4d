package tracing_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed91453169/tocsin/internal/tracing"
)

// discard is an exporter that sends spans nowhere.
type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discard) Shutdown(context.Context) error                             { return nil }

// BenchmarkChunk does what tracing adds to a request with a chunk of 1,000 observations, of which a tenth is notified
// in one message: the span of the request, the acceptance within it, the evaluation and the delivery that go on from
// what was stored. Nothing is sampled, one of a hundred requests, or all.
func BenchmarkChunk(b *testing.B) {
	const observations, notified = 1_000, 100
	for _, one := range []struct {
		name  string
		share float64
	}{{"sampled=0", 0}, {"sampled=0.01", 0.01}, {"sampled=1", 1}} {
		b.Run(one.name, func(b *testing.B) {
			provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(discard{}),
				sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(one.share))))
			tracer := provider.Tracer(tracing.Scope)
			continued := func(parent, name string) (context.Context, trace.Span) {
				if parent == "" {
					return b.Context(), noop.Span{}
				}
				return tracer.Start(tracing.Continue(b.Context(), parent), name, trace.WithAttributes(attribute.Int64("tocsin.event", 1)))
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx, request := tracer.Start(b.Context(), "POST", trace.WithSpanKind(trace.SpanKindServer))
				stored, accepted := tracing.Within(ctx, "accept observation")
				accepted()
				request.End()
				evaluated, evaluation := continued(stored, "evaluate observation")
				parent := tracing.Parent(evaluated)
				evaluation.End()
				_, delivery := continued(parent, "deliver slack")
				for range notified - 1 {
					if parent != "" {
						delivery.AddLink(trace.LinkFromContext(tracing.Continue(context.Background(), parent)))
					}
				}
				delivery.End()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*observations), "ns/observation")
			if err := provider.Shutdown(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
