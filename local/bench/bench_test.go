package bench

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/machine"
)

func TestMeasuredIsWhatWasDueBetweenTheSnapshots(t *testing.T) {
	began := time.Now()
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	history := []load.Operation{
		{Due: at(0.5), Answered: at(1.5), Sequence: 1}, // due in the warm-up, answered when it counts
		{Due: at(1.5), Answered: at(1.7), Sequence: 2},
		{Due: at(2.8), Answered: at(3.5), Sequence: 3}, // answered too late to count for the rate
		{Due: at(2.9)}, // never answered
	}
	f := report.Figures{}
	measureLoad(f,
		snapshot{at: at(1), applied: 10, walBytes: 100, used: map[string]machine.Usage{"api": {CPU: time.Millisecond}}, metrics: map[string]float64{"wallet_api_flush_operations_sum": 10, "wallet_api_flush_operations_count": 10}, commits: 100},
		snapshot{at: at(3), applied: 14, walBytes: 300, used: map[string]machine.Usage{"api": {CPU: 3 * time.Millisecond}}, metrics: map[string]float64{"wallet_api_flush_operations_sum": 13, "wallet_api_flush_operations_count": 11}, commits: 110, polls: 6},
		history, &load.AppliedWatch{Steps: map[uuid.UUID][]load.AppliedStep{}})
	want := report.Figures{report.Accepted: 1, report.Applied: 2, report.WAL: 100, report.CPU("api"): 1000, report.CPU("system"): 1000, report.OperationsPerFlush: 3, report.Transactions: 2, report.RoundTrips: 2.5}
	for name, value := range want {
		if f[name] != value {
			t.Errorf("%s is %g, want %g", name, f[name], value)
		}
	}
	if f[report.Latency("accept", "p50")] < 199 || f[report.Latency("accept", "max")] < 699 || f[report.Latency("accept", "max")] > 701 {
		t.Errorf("%+v", f)
	}
}
