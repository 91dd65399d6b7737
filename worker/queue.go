package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

// received is a message in its place. A message that could not be read is zero but for its offset.
type received struct {
	event.Hint
	offset int64
	parent *trace.SpanContext // nil: it is not traced
}

// queue gathers a partition's messages into batches.
type queue struct {
	interval time.Duration // least time between the starts of two batches
	size     int           // messages that start a batch early

	mu       sync.Mutex
	messages []received
	arrived  chan struct{} // has a token after an add that may make a batch due
	started  time.Time     // of the last batch; only next uses it
}

func newQueue(interval time.Duration, size int) *queue {
	return &queue{interval: interval, size: size, arrived: make(chan struct{}, 1)}
}

// wait returns how much longer queued messages wait for others. A message after an idle interval
// starts a batch at once; under load everything that came in the interval is one batch.
func (q *queue) wait(queued int, sinceStart time.Duration) time.Duration {
	if queued >= q.size {
		return 0
	}
	return max(0, q.interval-sinceStart)
}

// add never blocks, and returns how many messages are waiting.
func (q *queue) add(m received) int {
	q.mu.Lock()
	q.messages = append(q.messages, m)
	queued := len(q.messages)
	q.mu.Unlock()
	if queued == 1 || queued == q.size { // others change nothing about when the next batch is due
		select {
		case q.arrived <- struct{}{}:
		default:
		}
	}
	return queued
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.messages)
}

// next waits until a batch is due and takes it. The batch is empty when the time until comes first,
// or when ctx ends.
func (q *queue) next(ctx context.Context, until <-chan time.Time) []received {
	for {
		var due <-chan time.Time
		if queued := q.length(); queued > 0 {
			wait := q.wait(queued, time.Since(q.started))
			if wait == 0 {
				return q.take()
			}
			due = time.After(wait)
		}
		select {
		case <-q.arrived:
		case <-due:
		case <-until:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (q *queue) take() []received {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.started = time.Now()
	n := min(len(q.messages), maxOperations)
	batch := slices.Clone(q.messages[:n])
	q.messages = slices.Delete(q.messages, 0, n)
	return batch
}
