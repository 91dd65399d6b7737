package proc

import (
	"context"
	"time"
)

// Pause waits, or less if ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Await reports whether a condition came to hold.
func Await(ctx context.Context, within time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(within); ctx.Err() == nil; Pause(ctx, 50*time.Millisecond) {
		if holds() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
	return false
}
