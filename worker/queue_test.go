package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitForCompany(t *testing.T) {
	t.Parallel()
	q := newQueue(100*time.Millisecond, 2000)
	immediate := newQueue(0, 2000)
	for _, test := range []struct {
		fact       string
		queue      *queue
		queued     int
		sinceStart time.Duration
		want       time.Duration
	}{
		{"after a quiet interval a message starts at once", q, 1, 100 * time.Millisecond, 0},
		{"after a long quiet too", q, 1, time.Hour, 0},
		{"within the interval it waits for the rest of it", q, 1, 30 * time.Millisecond, 70 * time.Millisecond},
		{"a full batch starts early", q, 2000, 30 * time.Millisecond, 0},
		{"one less does not", q, 1999, 30 * time.Millisecond, 70 * time.Millisecond},
		{"interval 0 never waits", immediate, 1, 0, 0},
	} {
		if got := test.queue.wait(test.queued, test.sinceStart); got != test.want {
			t.Errorf("%s: %v, want %v", test.fact, got, test.want)
		}
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	add := func(q *queue, n int) {
		for range n {
			q.add(received{})
		}
	}
	run := func(fact string, test func(t *testing.T, q *queue)) {
		t.Run(fact, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				test(t, newQueue(100*time.Millisecond, 50))
			})
		})
	}
	next := func(t *testing.T, q *queue, messages int, after time.Duration) {
		t.Helper()
		begin := time.Now()
		batch := q.next(t.Context(), nil)
		if got := time.Since(begin); len(batch) != messages || got != after {
			t.Fatalf("%d messages after %v, want %d after %v", len(batch), got, messages, after)
		}
	}
	run("a lone message is not delayed", func(t *testing.T, q *queue) {
		time.AfterFunc(time.Minute, func() { add(q, 1) })
		next(t, q, 1, time.Minute)
		time.AfterFunc(time.Second, func() { add(q, 1) })
		next(t, q, 1, time.Second)
	})
	run("what gathers in an interval goes together", func(t *testing.T, q *queue) {
		add(q, 1)
		next(t, q, 1, 0)
		for i := range 9 {
			time.AfterFunc(time.Duration(i+1)*10*time.Millisecond, func() { add(q, 2) })
		}
		next(t, q, 18, 100*time.Millisecond)
	})
	run("a full batch does not wait, and takes all there is", func(t *testing.T, q *queue) {
		add(q, 1)
		next(t, q, 1, 0)
		time.AfterFunc(20*time.Millisecond, func() { add(q, 70) })
		next(t, q, 70, 20*time.Millisecond)
	})
	run("a batch is limited", func(t *testing.T, q *queue) {
		add(q, maxOperations+60)
		next(t, q, maxOperations, 0)
		next(t, q, 60, 0)
	})
	run("a slow transaction counts towards the interval", func(t *testing.T, q *queue) {
		add(q, 1)
		next(t, q, 1, 0)
		add(q, 3)
		time.Sleep(70 * time.Millisecond)
		next(t, q, 3, 30*time.Millisecond)
	})
	run("a time or the end of the context comes first", func(t *testing.T, q *queue) {
		begin := time.Now()
		if batch := q.next(t.Context(), time.After(time.Second)); len(batch) != 0 || time.Since(begin) != time.Second {
			t.Errorf("%d messages after %v", len(batch), time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if batch := q.next(ctx, nil); len(batch) != 0 || time.Since(begin) != 2*time.Second {
			t.Errorf("%d messages after %v", len(batch), time.Since(begin))
		}
	})
}
