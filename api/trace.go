package main

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/service/tracing"
)

// tracer follows single operations on their whole way: a trace begins with the client's own, or with
// the request, and goes on in the headers of the outbox row, of which the relay makes those of the
// message. A flush has a trace of its own, linked with those of its operations.
//
// nil is tracing that is off. That costs a comparison here and there, and no memory.
type tracer struct {
	operations trace.Tracer // takes samples
	flushes    trace.Tracer // takes all that it is asked for: those with an operation of the sample
}

func newTracer(t *tracing.Tracers) *tracer {
	if t == nil {
		return nil
	}
	return &tracer{operations: t.Chosen, flushes: t.All}
}

// request makes a span of every request that is in the sample.
func (t *tracer) request(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := tracing.Context.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.operations.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r.WithContext(ctx))
		span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path), attribute.Int("http.response.status_code", recorder.status))
		if recorder.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	})
}

// accept begins the span of an operation that is to be accepted; nil if it is not in the sample.
func (t *tracer) accept(ctx context.Context, r *request) trace.Span {
	if t == nil {
		return nil
	}
	_, span := t.operations.Start(ctx, "accept", trace.WithAttributes(
		attribute.Stringer("wallet.id", r.walletID), attribute.Stringer("operation.id", r.id)))
	if !span.SpanContext().IsSampled() {
		return nil
	}
	return span
}

// accepted ends it.
func accepted(span trace.Span, got *answer) {
	if span == nil {
		return
	}
	if got.err != nil {
		span.SetStatus(codes.Error, got.err.Error())
	} else {
		span.SetAttributes(attribute.Int64("wallet.sequence", got.operation.Seq))
	}
	span.End()
}

// flush begins the span of a flush; nil if none of its operations is in the sample.
func (t *tracer) flush(requests []*request) (flush trace.Span) {
	if t == nil {
		return nil
	}
	for _, r := range requests {
		if r.span == nil {
			continue
		}
		if flush == nil {
			_, flush = t.flushes.Start(context.Background(), "flush", trace.WithAttributes(attribute.Int("operations", len(requests))))
		}
		flush.AddLink(trace.Link{SpanContext: r.span.SpanContext()})
		r.span.AddLink(trace.Link{SpanContext: flush.SpanContext()})
	}
	return flush
}

// flushed ends it.
func flushed(span trace.Span) {
	if span != nil {
		span.End()
	}
}

// headers are those of each operation's outbox row; nil if none has a trace to name, and all have the same.
func (t *tracer) headers(requests []*request, accepted []walletdb.OperationState) []string {
	traces := t.traces(requests)
	same := event.Headers(string(accepted[0].Type))
	differs := func(o walletdb.OperationState) bool { return event.Headers(string(o.Type)) != same }
	if len(traces) == 0 && !slices.ContainsFunc(accepted, differs) {
		return nil
	}
	headers := make([]string, len(accepted))
	for i, operation := range accepted {
		if headers[i] = traces[operation.ID]; headers[i] == "" {
			headers[i] = event.Headers(string(operation.Type))
		}
	}
	return headers
}

// maxTraceHeaders is how many bytes of a message's headers may be of its trace.
const maxTraceHeaders = 1 << 10

// traces are the headers of those operations that have a trace.
func (t *tracer) traces(requests []*request) map[uuid.UUID]string {
	if t == nil {
		return nil
	}
	traces := map[uuid.UUID]string{}
	for _, r := range requests {
		if r.span != nil {
			headers := propagation.MapCarrier{"version": event.Version(string(r.kind))}
			tracing.Context.Inject(trace.ContextWithSpan(context.Background(), r.span), headers)
			text, _ := json.Marshal(headers) // of strings: it cannot fail
			if len(text) > maxTraceHeaders { // a row of the outbox is not for what the client's other tools have to say
				delete(headers, "tracestate")
				text, _ = json.Marshal(headers)
			}
			traces[r.id] = string(text)
		}
	}
	return traces
}
