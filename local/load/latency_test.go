package load

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestLatencyCountsFromWhenAnOperationWasDue(t *testing.T) {
	wallet, due := uuid.New(), time.Now()
	op := Operation{Wallet: wallet, Sequence: 2, Due: due, SentAt: due.Add(30 * time.Millisecond), Answered: due.Add(40 * time.Millisecond)}
	unanswered := Operation{Wallet: wallet, Due: due}
	watch := &AppliedWatch{Steps: map[uuid.UUID][]AppliedStep{wallet: {{due.Add(50 * time.Millisecond), 1}, {due.Add(60 * time.Millisecond), 3}}}}
	accept, applied := Latencies([]Operation{op, unanswered}, watch)
	if accept.TotalCount() != 1 || accept.Max() < 40_000 || accept.Max() > 40_100 {
		t.Errorf("accepted: %d of them, the longest after %d µs", accept.TotalCount(), accept.Max())
	}
	if applied.TotalCount() != 1 || applied.Max() < 60_000 || applied.Max() > 60_100 {
		t.Errorf("applied: %d of them, the longest after %d µs", applied.TotalCount(), applied.Max())
	}
}
