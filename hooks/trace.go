package main

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

// tracer makes a span of each attempt to deliver a message that names a trace. nil is tracing that is off.
type tracer struct{ chosen trace.Tracer }

func newTracer(t *tracing.Tracers) *tracer {
	if t == nil {
		return nil
	}
	return &tracer{t.Chosen}
}

// start begins the span of an attempt, and returns what ends it. The last message of a delivery that names a trace
// is the one that it belongs to. Receivers are not told of it: traces are ours.
func (t *tracer) start(d *delivery) (end func(result)) {
	if t == nil {
		return func(result) {}
	}
	parent := ""
	for _, m := range d.messages {
		if m.trace != "" {
			parent = m.trace
		}
	}
	if parent == "" {
		return func(result) {}
	}
	ctx := tracing.Context.Extract(context.Background(), propagation.MapCarrier{"traceparent": parent})
	_, span := t.chosen.Start(ctx, "deliver", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("wallet.id", d.wallet.id.String()), attribute.String("webhook.id", d.id()), attribute.Int("webhook.attempt", d.number)))
	return func(r result) {
		if r.status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", r.status))
		}
		if r.verdict != delivered {
			span.SetStatus(codes.Error, r.err)
		}
		span.End()
	}
}
