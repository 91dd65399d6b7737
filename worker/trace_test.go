package main

import (
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/go-cmp/cmp"
	"github.com/legendary-wallet/legendary-wallet/service"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestTracingThatIsOffTakesNoMemory(t *testing.T) {
	var off *tracer
	headers := []kafka.Header{{Key: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}}
	messages, done, now := make([]received, 3), plan{}, time.Now()
	allocations := testing.AllocsPerRun(100, func() {
		messages[0].parent = off.parent(headers)
		messages[1].parent = off.rowParent(`{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`)
		off.applied(done, messages, now, now)
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// The trace of an operation whose message never came goes on where its outbox row says.
func TestAnOperationThatIsSweptHasASpan(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	spans := tracetest.NewSpanRecorder()
	recorded := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("wallet")
	sweeper, q := s.sweeper(time.Minute)
	sweeper.tracer = &tracer{operations: recorded, transactions: recorded}
	recorder := &recorder{cache: newTestCache(t, miniredis.RunT(t).Addr()).Guard, metrics: newMetrics(), tracer: sweeper.tracer, log: service.NewRepeats(discard)}
	sweeper.applier.committed = recorder.sweep
	wallet := s.wallet()
	s.accept(wallet, 1, 1, 1)
	for id, flags := range map[int]string{1: "00", 2: "01"} { // 1 is not in the sample, 3 has no trace
		s.exec(`UPDATE outbox SET headers = '{"version": "1", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-' || $2 || '"}' WHERE id = $1`, id, flags)
	}
	s.grow("2 minutes")
	sweeper.untilComplete(s, q)
	if _, err := sweeper.sweepOutbox(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	s.wantBalance(wallet, 3, 3)
	var names []string
	for _, span := range spans.Ended() {
		names = append(names, span.Name())
		if span.Name() != "apply" {
			continue
		}
		if span.Parent().SpanID().String() != "00f067aa0ba902b7" || span.Parent().TraceID().String() != "4bf92f3577b34da6a3ce929d0e0e4736" {
			t.Errorf("the parent is %+v", span.Parent())
		}
		for _, attribute := range span.Attributes() {
			if attribute.Key == "wallet.sequence" && attribute.Value.AsInt64() != 2 {
				t.Errorf("the span is of operation %d", attribute.Value.AsInt64())
			}
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"apply", "postgres transaction", "redis write", "transaction"}, names); diff != "" {
		t.Error(diff)
	}
}
