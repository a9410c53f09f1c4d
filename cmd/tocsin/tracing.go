package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/internal/tracing"
)

const (
	// traceEnd is how long the end of the process waits for the last spans to be exported.
	traceEnd = 2 * time.Second
	// exportComplaint is how often the log says that spans cannot be exported.
	exportComplaint = time.Minute
)

// startTracing returns the provider that makes and exports spans; nil where no collector is configured. The library
// itself reads the other variables of OpenTelemetry, for instance OTEL_TRACES_SAMPLER.
func startTracing(ctx context.Context, c *config.Config, log zerolog.Logger) (*sdktrace.TracerProvider, error) {
	if c.TraceEndpoint == "" {
		return nil, nil //nolint:nilnil // nothing is traced
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.TraceEndpoint+"/v1/traces"))
	if err != nil {
		return nil, fmt.Errorf("use OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", "tocsin-"+string(c.Role)), attribute.String("service.version", version()),
		),
		resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		log.Warn().Err(err).Msg("traces do not say all about this process")
	}
	var mu sync.Mutex
	var complained time.Time
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(complained) > exportComplaint {
			complained = time.Now()
			log.Warn().Err(err).Msg("spans cannot be exported")
		}
	}))
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about)), nil
}

// tracer makes the spans of this process; nil: nothing is traced.
func (a *app) tracer() trace.Tracer {
	if a.traces == nil {
		return nil
	}
	return a.traces.Tracer(tracing.Scope)
}

func (a *app) endTracing() {
	if a.traces == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), traceEnd)
	defer cancel()
	if err := a.traces.Shutdown(ctx); err != nil {
		a.log.Warn().Err(err).Msg("the last spans are lost")
	}
}
