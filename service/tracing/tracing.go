// Package tracing sends the spans of a process to an OpenTelemetry collector.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	// exportTimeout is how long a collector may take for one batch of spans. Spans wait meanwhile, and
	// those that do not fit are lost.
	exportTimeout = 10 * time.Second

	// endTimeout is how long sending the last spans may delay the end of the process.
	endTimeout = 300 * time.Millisecond
)

// Context is how a trace is named across processes (W3C Trace Context).
var Context propagation.TraceContext

// Settings say whether there are traces, and of what.
type Settings struct {
	on      bool
	sampler sdktrace.Sampler // nil: as OTEL_TRACES_SAMPLER says
}

// Read reads the settings. OpenTelemetry reads further OTEL_ variables itself.
func Read(env *service.Env) Settings {
	endpoint := env.Optional("OTEL_EXPORTER_OTLP_ENDPOINT", "http://jaeger:4318",
		`Where traces are sent: an OpenTelemetry collector that speaks OTLP over HTTP, as the profile
		observability has. Without one there are no traces.`)
	ratio := env.Fraction("OTEL_TRACES_SAMPLER_ARG", 0.01,
		"Which part of the operations is traced, from 0 to 1. A client that sends traceparent decides itself.")
	sampler := env.Optional("OTEL_TRACES_SAMPLER", "parentbased_traceidratio",
		`Another way to choose them: the names are OpenTelemetry's, as those of its other variables, which
		work too.`)
	settings := Settings{on: endpoint != ""}
	if sampler == "" {
		settings.sampler = sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))
	}
	return settings
}

// Tracers make the spans of a process.
type Tracers struct {
	Chosen trace.Tracer // those that the settings choose
	All    trace.Tracer // all: for what is done for several operations, of which one at least is chosen
	spans  sdktrace.SpanProcessor
}

// New sends the spans of the named service, as its settings say; nil is tracing that is off. That spans
// are lost is logged once a minute.
func New(ctx context.Context, name string, settings Settings, log *slog.Logger) (*Tracers, error) {
	if !settings.on {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", name)), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	repeats := service.NewRepeats(log)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		repeats.Log(slog.LevelWarn, "traces cannot be sent, and spans are lost", "error", err)
	}))
	spans := sdktrace.NewBatchSpanProcessor(exporter, sdktrace.WithExportTimeout(exportTimeout))
	tracer := func(options ...sdktrace.TracerProviderOption) trace.Tracer {
		options = append(options, sdktrace.WithSpanProcessor(spans), sdktrace.WithResource(about))
		return sdktrace.NewTracerProvider(options...).Tracer("wallet")
	}
	chosen := []sdktrace.TracerProviderOption{}
	if settings.sampler != nil {
		chosen = append(chosen, sdktrace.WithSampler(settings.sampler))
	}
	return &Tracers{Chosen: tracer(chosen...), All: tracer(sdktrace.WithSampler(sdktrace.AlwaysSample())), spans: spans}, nil
}

// End sends what is left, and waits for it, but not for long.
func (t *Tracers) End() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	_ = t.spans.Shutdown(ctx)
}
