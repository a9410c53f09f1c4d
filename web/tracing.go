package web

import (
	"context"
	"net"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// startSpan begins the span of a request, in the trace that the caller names. Probes and static files have none.
func (s *server) startSpan(r *http.Request) (context.Context, trace.Span) {
	ctx := r.Context()
	switch path := r.URL.Path; {
	case s.tracer == nil, path == "/healthz", path == "/readyz", path == "/metrics", strings.HasPrefix(path, "/static/"):
		return ctx, noop.Span{}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	return s.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
}

// endSpan says in the span of a request what it was and how it was answered, as far as the log says so.
func (x *exchange) endSpan(span trace.Span) {
	if !span.IsRecording() {
		return
	}
	span.SetName(x.r.Pattern)
	client, _, _ := net.SplitHostPort(x.r.RemoteAddr)
	span.SetAttributes(
		attribute.String("http.request.method", x.r.Method), attribute.String("http.route", x.r.Pattern),
		attribute.String("url.path", loggedPath(x.r.Pattern, x.r.URL.EscapedPath())),
		attribute.String("client.address", client),
		attribute.Int("http.response.status_code", x.w.status), attribute.String("tocsin.request_id", x.id),
	)
	if x.w.status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
