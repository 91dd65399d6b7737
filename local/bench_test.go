package main

import (
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestUsageGrowsWithTheWorkThatAProcessDoes(t *testing.T) {
	before := processUsage(os.Getpid())
	const work = 200 * time.Millisecond
	for began := time.Now(); processUsage(os.Getpid()).cpu-before.cpu < work; {
		if time.Since(began) > 20*time.Second {
			t.Fatal("20 s of work are not seen")
		}
	}
	if after := processUsage(os.Getpid()); after.rssMiB < 1 {
		t.Errorf("this process is said to have %.1f MiB", after.rssMiB)
	}
	if ended := processUsage(1 << 30); ended != (usage{}) {
		t.Errorf("a process that does not exist used %v", ended)
	}
}

func TestLatencyCountsFromWhenAnOperationWasDue(t *testing.T) {
	due := time.Now()
	op := operation{wallet: wallet, sequence: 2, due: due, sentAt: due.Add(30 * time.Millisecond), answered: due.Add(40 * time.Millisecond)}
	unanswered := operation{wallet: wallet, due: due}
	watch := &appliedWatch{steps: map[uuid.UUID][]appliedStep{wallet: {{due.Add(50 * time.Millisecond), 1}, {due.Add(60 * time.Millisecond), 3}}}}
	accept, applied := latencies([]operation{op, unanswered}, watch)
	if accept.TotalCount() != 1 || accept.Max() < 40_000 || accept.Max() > 40_100 {
		t.Errorf("accepted: %d of them, the longest after %d µs", accept.TotalCount(), accept.Max())
	}
	if applied.TotalCount() != 1 || applied.Max() < 60_000 || applied.Max() > 60_100 {
		t.Errorf("applied: %d of them, the longest after %d µs", applied.TotalCount(), applied.Max())
	}
}

func TestMeasuredIsWhatWasDueBetweenTheSnapshots(t *testing.T) {
	began := time.Now()
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	history := []operation{
		{due: at(0.5), answered: at(1.5), sequence: 1}, // due in the warm-up, answered when it counts
		{due: at(1.5), answered: at(1.7), sequence: 2},
		{due: at(2.8), answered: at(3.5), sequence: 3}, // answered too late to count for the rate
		{due: at(2.9)}, // never answered
	}
	r := result{}
	r.fill(
		snapshot{at: at(1), applied: 10, walBytes: 100, used: map[string]usage{"api": {cpu: time.Millisecond}}},
		snapshot{at: at(3), applied: 14, walBytes: 300, used: map[string]usage{"api": {cpu: 3 * time.Millisecond}}},
		history, &appliedWatch{})
	if r.AcceptedPerSec != 1 || r.AppliedPerSec != 2 || r.WALBytesPerOp != 100 || r.CPUMicrosPerOp["api"] != 1000 {
		t.Errorf("%+v", r)
	}
	if r.AcceptMs.P50 < 199 || r.AcceptMs.Max < 699 || r.AcceptMs.Max > 701 {
		t.Errorf("%+v", r.AcceptMs)
	}
}
