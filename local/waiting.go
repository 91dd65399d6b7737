package main

import (
	"context"
	"time"
)

// pause waits, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// await reports whether a condition came to hold.
func await(ctx context.Context, within time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(within); ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
		if holds() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
	return false
}
