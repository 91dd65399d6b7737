package main

import (
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

func TestTracingThatIsOffTakesNoMemory(t *testing.T) {
	var off *tracing
	headers := []kafka.Header{{Key: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}}
	messages, done, now := make([]received, 3), plan{}, time.Now()
	allocations := testing.AllocsPerRun(100, func() {
		messages[0].parent = off.parent(headers)
		off.applied(done, messages, now, now)
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}
