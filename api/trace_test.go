package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// What a request and its flush do about tracing when it is off.
func untraced(ctx testing.TB, requests []*request, rows []walletdb.OperationState) {
	var off *tracer
	for _, r := range requests {
		r.span = off.accept(ctx.Context(), r)
	}
	span := off.flush(requests)
	if off.headers(requests, rows) != nil {
		ctx.Error("there are headers")
	}
	flushed(span)
	for _, r := range requests {
		accepted(r.span, &answer{})
	}
}

func TestTracingThatIsOffTakesNoMemory(t *testing.T) {
	requests, rows := []*request{{}, {}, {}}, []walletdb.OperationState{{Type: "DEPOSIT"}, {Type: "WITHDRAW"}, {Type: "DEPOSIT"}}
	if allocations := testing.AllocsPerRun(100, func() { untraced(t, requests, rows) }); allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
	var off *tracer
	served := false
	handler := off.request(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }))
	if allocations := testing.AllocsPerRun(100, func() { handler.ServeHTTP(nil, nil) }); allocations != 0 || !served {
		t.Errorf("%v allocations for a request", allocations)
	}
}

func BenchmarkTracingThatIsOff(b *testing.B) {
	requests, rows := []*request{{}}, []walletdb.OperationState{{Type: "DEPOSIT"}}
	b.ReportAllocs()
	for b.Loop() {
		untraced(b, requests, rows)
	}
}

// What a client's tools note in tracestate is not worth an operation.
func TestALongTracestateIsNotPassedOn(t *testing.T) {
	for _, test := range []struct {
		value  string
		passed bool
	}{{"short", true}, {strings.Repeat("<", 250), false}} {
		state, err := trace.ParseTraceState("a=" + test.value)
		if err != nil {
			t.Fatal(err)
		}
		client := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, TraceState: state})
		r := &request{id: uuid.New(), kind: walletdb.OperationTypeDEPOSIT, span: trace.SpanFromContext(trace.ContextWithSpanContext(t.Context(), client))}
		headers := (&tracer{}).traces([]*request{r})[r.id]
		if !strings.Contains(headers, "traceparent") || strings.Contains(headers, "tracestate") != test.passed || len(headers) > maxTraceHeaders {
			t.Errorf("%d bytes of tracestate: %s", len(test.value), headers)
		}
	}
}
