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
		{fact: "after a quiet interval a message starts at once", queue: q, queued: 1, sinceStart: 100 * time.Millisecond, want: 0},
		{fact: "after a long quiet too", queue: q, queued: 1, sinceStart: time.Hour, want: 0},
		{fact: "within the interval it waits for the rest of it", queue: q, queued: 1, sinceStart: 30 * time.Millisecond, want: 70 * time.Millisecond},
		{fact: "a full batch starts early", queue: q, queued: 2000, sinceStart: 30 * time.Millisecond, want: 0},
		{fact: "one less does not", queue: q, queued: 1999, sinceStart: 30 * time.Millisecond, want: 70 * time.Millisecond},
		{fact: "interval 0 never waits", queue: immediate, queued: 1, sinceStart: 0, want: 0},
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
	run("a full batch does not wait", func(t *testing.T, q *queue) {
		add(q, 1)
		next(t, q, 1, 0)
		time.AfterFunc(20*time.Millisecond, func() { add(q, 50) })
		next(t, q, 50, 20*time.Millisecond)
	})
	run("a full batch takes all there is", func(t *testing.T, q *queue) {
		add(q, 1)
		next(t, q, 1, 0)
		add(q, 70)
		next(t, q, 70, 0)
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
