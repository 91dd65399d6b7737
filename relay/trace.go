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
// names in its turn. A wave has a trace of its own, linked with those of its messages. nil is tracing
// that is off; then a row's headers become the message's as they are.
type tracer struct {
	messages trace.Tracer // takes those that the api has taken
	waves    trace.Tracer // takes all that it is asked for: those with such a message
}

func newTracer(t *tracing.Tracers) *tracer {
	if t == nil {
		return nil
	}
	return &tracer{messages: t.Chosen, waves: t.All}
}

// wave begins the spans of a wave and of its messages that have a trace; nil if none has.
func (t *tracer) wave(messages []message) (wave trace.Span) {
	if t == nil {
		return nil
	}
	for i := range messages {
		m := &messages[i]
		parent := parentOf(m.Headers)
		if !parent.IsSampled() {
			continue
		}
		if wave == nil {
			_, wave = t.waves.Start(context.Background(), "wave", trace.WithAttributes(attribute.Int("messages", len(messages))))
		}
		_, span := t.messages.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "publish",
			trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(trace.Link{SpanContext: wave.SpanContext()}),
			trace.WithAttributes(attribute.String("wallet.id", m.Key), attribute.Int64("outbox.id", m.ID), attribute.Int("partition", int(m.partition))))
		if !span.IsRecording() {
			continue
		}
		m.span = span
		wave.AddLink(trace.Link{SpanContext: span.SpanContext()})
	}
	return wave
}

// waveEnded ends them.
func waveEnded(wave trace.Span, messages []message, err error) {
	if wave == nil {
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
		wave.SetStatus(codes.Error, err.Error())
	}
	wave.End()
}

// parentOf is the span that a row's headers name.
func parentOf(headers string) trace.SpanContext {
	if !strings.Contains(headers, `"traceparent"`) {
		return trace.SpanContext{}
	}
	var fields struct {
		Traceparent string `json:"traceparent"`
	}
	_ = json.Unmarshal([]byte(headers), &fields) // what is wrong with them, publishing says
	ctx := tracing.Context.Extract(context.Background(), propagation.MapCarrier{"traceparent": fields.Traceparent})
	return trace.SpanContextFromContext(ctx)
}

// traceparent names a span in a message's header.
func traceparent(span trace.Span) []byte {
	carrier := propagation.MapCarrier{}
	tracing.Context.Inject(trace.ContextWithSpan(context.Background(), span), carrier)
	return []byte(carrier["traceparent"])
}
