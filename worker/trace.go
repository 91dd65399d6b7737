package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

// tracer follows the operations whose message names a trace, until their balance is in Redis. A
// transaction has a trace of its own, linked with those of its operations. nil is tracing that is off.
type tracer struct {
	operations   trace.Tracer // takes those that the api has taken
	transactions trace.Tracer // takes all that it is asked for: those with such an operation
}

func newTracer(t *tracing.Tracers) *tracer {
	if t == nil {
		return nil
	}
	return &tracer{operations: t.Chosen, transactions: t.All}
}

// parent is the span that a message's headers name; nil if it is not in the sample.
func (t *tracer) parent(headers []kafka.Header) *trace.SpanContext {
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
func (t *tracer) rowParent(headers string) *trace.SpanContext {
	if t == nil || !strings.Contains(headers, `"traceparent"`) {
		return nil
	}
	var carrier propagation.MapCarrier
	_ = json.Unmarshal([]byte(headers), &carrier) // the relay reports what is wrong with them
	return sampled(carrier)
}

func sampled(carrier propagation.MapCarrier) *trace.SpanContext {
	ctx := tracing.Context.Extract(context.Background(), carrier)
	if parent := trace.SpanContextFromContext(ctx); parent.IsSampled() {
		return &parent
	}
	return nil
}

// traceparents are of those operations of the messages that are traced, by id.
func traceparents(messages []received) (traces map[uuid.UUID]string) {
	for _, m := range messages {
		if m.parent == nil {
			continue
		}
		if traces == nil {
			traces = map[uuid.UUID]string{}
		}
		carrier := propagation.MapCarrier{}
		tracing.Context.Inject(trace.ContextWithSpanContext(context.Background(), *m.parent), carrier)
		traces[m.OperationID] = carrier["traceparent"]
	}
	return traces
}

// applied makes the spans of a transaction and of its operations that have a trace, once all of it is
// over: when it was committed, and when Redis had the balances.
func (t *tracer) applied(done plan, messages []received, committed, cached time.Time) {
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
		i, ok := place[m.OperationID]
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
			trace.WithAttributes(attribute.Stringer("wallet.id", m.WalletID), attribute.Int64("wallet.sequence", m.Sequence),
				attribute.Stringer("operation.id", m.OperationID), attribute.String("status", done.outcomes.Statuses[i])))
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
