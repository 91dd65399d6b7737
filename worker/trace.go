package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracing follows the operations whose message names a trace, until their balance is in Redis. A
// transaction has a trace of its own, linked with those of its operations. nil is tracing that is off.
type tracing struct {
	operations   trace.Tracer // takes those that the api has taken
	transactions trace.Tracer // takes all that it is asked for: those with such an operation
	end          func()       // sends what is left
}

// traceContext is how a trace is named across processes (W3C Trace Context).
var traceContext propagation.TraceContext

// newTracing reads further OTEL_ variables itself, as every program with OpenTelemetry does.
func newTracing(ctx context.Context, sampler sdktrace.Sampler, log *slog.Logger) (*tracing, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "wallet-worker")), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	var said atomic.Bool
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if !said.Swap(true) {
			log.Warn("traces cannot be sent", "error", err)
		}
	}))
	spans := sdktrace.NewBatchSpanProcessor(exporter)
	tracer := func(options ...sdktrace.TracerProviderOption) trace.Tracer {
		options = append(options, sdktrace.WithSpanProcessor(spans), sdktrace.WithResource(about))
		return sdktrace.NewTracerProvider(options...).Tracer("wallet")
	}
	operations := []sdktrace.TracerProviderOption{}
	if sampler != nil {
		operations = append(operations, sdktrace.WithSampler(sampler))
	}
	return &tracing{
		operations:   tracer(operations...),
		transactions: tracer(sdktrace.WithSampler(sdktrace.AlwaysSample())),
		end: func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 300*time.Millisecond)
			defer cancel()
			_ = spans.Shutdown(ctx)
		},
	}, nil
}

// parent is the span that a message's headers name; nil if it is not in the sample.
func (t *tracing) parent(headers []kafka.Header) *trace.SpanContext {
	if t == nil {
		return nil
	}
	for _, header := range headers {
		if header.Key != "traceparent" {
			continue
		}
		return sampled(propagation.MapCarrier{"traceparent": string(header.Value)})
	}
	return nil
}

// rowParent is the span that an outbox row's headers name; nil if it is not in the sample.
func (t *tracing) rowParent(headers string) *trace.SpanContext {
	if t == nil || !strings.Contains(headers, `"traceparent"`) {
		return nil
	}
	var carrier propagation.MapCarrier
	_ = json.Unmarshal([]byte(headers), &carrier) // what is wrong with them, the relay says
	return sampled(carrier)
}

func sampled(carrier propagation.MapCarrier) *trace.SpanContext {
	ctx := traceContext.Extract(context.Background(), carrier)
	if parent := trace.SpanContextFromContext(ctx); parent.IsSampled() {
		return &parent
	}
	return nil
}

// applied makes the spans of a transaction and of its operations that have a trace, once all of it is
// over: when it was committed, and when Redis had the balances.
func (t *tracing) applied(done plan, messages []received, committed, cached time.Time) {
	if t == nil {
		return
	}
	var place map[uuid.UUID]int // of the operations
	var transaction trace.Span
	for _, m := range messages {
		if m.parent == nil {
			continue
		}
		if place == nil {
			place = make(map[uuid.UUID]int, len(done.applied))
			for i, op := range done.applied {
				place[op.ID] = i
			}
		}
		i, ok := place[m.operationID]
		if !ok {
			continue // it was applied before, or is applied by another transaction
		}
		if transaction == nil {
			_, transaction = t.transactions.Start(context.Background(), "transaction", trace.WithTimestamp(done.beganAt),
				trace.WithAttributes(attribute.Int("operations", len(done.applied)), attribute.Int("wallets", len(done.wallets))))
		}
		link := trace.WithLinks(trace.Link{SpanContext: transaction.SpanContext()})
		ctx, span := t.operations.Start(trace.ContextWithRemoteSpanContext(context.Background(), *m.parent), "apply",
			trace.WithTimestamp(done.beganAt), trace.WithSpanKind(trace.SpanKindConsumer), link,
			trace.WithAttributes(attribute.Stringer("wallet.id", m.walletID), attribute.Int64("wallet.sequence", m.sequence),
				attribute.Stringer("operation.id", m.operationID), attribute.String("status", done.outcomes.Statuses[i])))
		for _, part := range []struct {
			name       string
			begin, end time.Time
		}{{"postgres transaction", done.beganAt, committed}, {"redis write", committed, cached}} {
			_, child := t.operations.Start(ctx, part.name, trace.WithTimestamp(part.begin), trace.WithSpanKind(trace.SpanKindClient), link)
			child.End(trace.WithTimestamp(part.end))
		}
		span.End(trace.WithTimestamp(cached))
		transaction.AddLink(trace.Link{SpanContext: span.SpanContext()})
	}
	if transaction != nil {
		transaction.End(trace.WithTimestamp(cached))
	}
}
