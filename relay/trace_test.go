package main

import (
	"testing"
)

func TestTracingThatIsOffTakesNoMemory(t *testing.T) {
	var off *tracer
	messages := make([]message, 3)
	messages[0].Headers = `{"version":"1","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`
	if allocations := testing.AllocsPerRun(100, func() { batchEnded(off.batch(messages), messages, nil) }); allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func TestHeadersNameTheirTraceOrNone(t *testing.T) {
	t.Parallel()
	for headers, sampled := range map[string]bool{
		`{"version":"1"}`: false,
		`{"version":"1","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`: true,
		`{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}`:               false,
		`{"traceparent":"nonsense"}`: false,
		`{"traceparent":17}`:         false,
		`{"traceparent"`:             false,
	} {
		if got := parentOf(headers).IsSampled(); got != sampled {
			t.Errorf("%s: sampled %v, want %v", headers, got, sampled)
		}
	}
}
