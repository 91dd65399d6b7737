package main

import (
	"context"
	"encoding/json"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

// tracer follows the rows whose headers name a trace: publishing is a span of it, which the message
// names in its turn. A publish batch has a trace of its own, linked with those of its messages. nil is
// tracing that is off; then a row's headers become the message's as they are.
type tracer struct {
	messages trace.Tracer // takes those that the api has taken
	batches  trace.Tracer // takes all that it is asked for: those with such a message
}

func newTracer(t *tracing.Tracers) *tracer {
	if t == nil {
		return nil
	}
	return &tracer{messages: t.Chosen, batches: t.All}
}

// batch begins the spans of a publish batch, named wave, and of its messages that have a trace; nil if
// none has.
func (t *tracer) batch(messages []message) (batch trace.Span) {
	if t == nil {
		return nil
	}
	for i := range messages {
		m := &messages[i]
		parent := parentOf(m.Headers)
		if !parent.IsSampled() {
			continue
		}
		if batch == nil {
			_, batch = t.batches.Start(context.Background(), "wave", trace.WithAttributes(attribute.Int("messages", len(messages))))
		}
		_, span := t.messages.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "publish",
			trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(trace.Link{SpanContext: batch.SpanContext()}),
			trace.WithAttributes(attribute.String("wallet.id", m.Key), attribute.Int64("outbox.id", m.ID), attribute.Int("partition", int(m.partition))))
		if !span.IsRecording() {
			continue
		}
		m.span = span
		batch.AddLink(trace.Link{SpanContext: span.SpanContext()})
	}
	return batch
}

// batchEnded ends them.
func batchEnded(batch trace.Span, messages []message, err error) {
	if batch == nil {
		return
	}
	for _, m := range messages {
		if m.span == nil {
			continue
		}
		if err != nil {
			m.span.SetStatus(codes.Error, err.Error())
		}
		m.span.End()
	}
	if err != nil {
		batch.SetStatus(codes.Error, err.Error())
	}
	batch.End()
}

// parentOf is the span that a row's headers name.
func parentOf(headers string) trace.SpanContext {
	if !strings.Contains(headers, `"traceparent"`) {
		return trace.SpanContext{}
	}
	var fields struct {
		Traceparent string `json:"traceparent"`
	}
	_ = json.Unmarshal([]byte(headers), &fields) // publish reports what is wrong with them
	ctx := tracing.Context.Extract(context.Background(), propagation.MapCarrier{"traceparent": fields.Traceparent})
	return trace.SpanContextFromContext(ctx)
}

// traceparent names a span in a message's header.
func traceparent(span trace.Span) []byte {
	carrier := propagation.MapCarrier{}
	tracing.Context.Inject(trace.ContextWithSpan(context.Background(), span), carrier)
	return []byte(carrier["traceparent"])
}
