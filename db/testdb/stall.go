package testdb

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

// usual is how long the machine may take from one commit to the next without having stalled.
const usual = 50 * time.Millisecond

// Stalls of the machine are what limits of time are to be longer by: of what takes as long as the watch their sum, of one of
// many waits the longest.
type Stalls struct{ Sum, Longest time.Duration }

// WatchStalls commits beside a test that has a time limit. The function that it returns, to be called once, ends that. With the
// race detector, which makes everything five to ten times as slow, each is a minute longer.
func WatchStalls(t testing.TB, databaseURL string) (stalled func() Stalls) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	ctx, over := context.WithCancel(t.Context())
	measured := make(chan Stalls, 1)
	go func() {
		defer func() { _ = conn.Close(context.Background()) }()
		committed := []time.Time{time.Now()}
		for ctx.Err() == nil {
			if _, err := conn.Exec(context.Background(), "SELECT pg_logical_emit_message(true, '', '')"); err != nil {
				break
			}
			committed = append(committed, time.Now())
			time.Sleep(10 * time.Millisecond)
		}
		measured <- stalls(append(committed, time.Now()))
	}()
	return func() Stalls {
		over()
		stalled := <-measured
		if testkit.Race() {
			stalled.Sum, stalled.Longest = stalled.Sum+time.Minute, stalled.Longest+time.Minute
		}
		return stalled
	}
}

// stalls are the pauses between the times.
func stalls(times []time.Time) (s Stalls) {
	for i := 1; i < len(times); i++ {
		s.Sum += max(0, times[i].Sub(times[i-1])-usual)
	}
	s.Longest = LongestPause(times)
	return s
}

// LongestPause is the longest time between two of the times, in whatever order they are.
func LongestPause(times []time.Time) (longest time.Duration) {
	slices.SortFunc(times, time.Time.Compare)
	for i := 1; i < len(times); i++ {
		longest = max(longest, times[i].Sub(times[i-1]))
	}
	return longest
}
