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

// WatchStalls commits beside a test that has a time limit. The function that it returns, to be called once, ends that, and
// says for how long the machine stalled, in all: the limit is to be longer by that. With the race detector it says a minute
// more: no time is judged then.
func WatchStalls(t testing.TB, databaseURL string) (stalled func() time.Duration) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	ctx, over := context.WithCancel(t.Context())
	measured := make(chan time.Duration, 1)
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
	return func() time.Duration {
		over()
		stalled := <-measured
		if testkit.Race() {
			stalled += time.Minute
		}
		return stalled
	}
}

// stalls is what pauses between the times have beyond the usual.
func stalls(times []time.Time) (sum time.Duration) {
	for i := 1; i < len(times); i++ {
		sum += max(0, times[i].Sub(times[i-1])-usual)
	}
	return sum
}

// LongestPause is the longest time between two of the times, in whatever order they are.
func LongestPause(times []time.Time) (longest time.Duration) {
	slices.SortFunc(times, time.Time.Compare)
	for i := 1; i < len(times); i++ {
		longest = max(longest, times[i].Sub(times[i-1]))
	}
	return longest
}
