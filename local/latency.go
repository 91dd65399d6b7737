package main

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// watchEvery is how exactly it is known when an operation was applied: at most so much, and the time of
// a query, too late.
const watchEvery = 5 * time.Millisecond

// appliedWatch sees, over a connection of its own, when wallets' outcomes became readable: a wallet's
// applied_seq is committed with the outcomes up to it, so who reads it can read them. A step's time is
// that of the answer.
type appliedWatch struct {
	steps map[uuid.UUID][]appliedStep
	polls atomic.Int64
	end   context.CancelFunc
	done  chan error
	once  sync.Once
	err   error
}

type appliedStep struct {
	at  time.Time
	seq int64
}

// watchApplied watches until stop, and tells progress the sum of the sequences.
func watchApplied(ctx context.Context, databaseURL string, wallets []uuid.UUID, every time.Duration, progress func(applied int64)) (*appliedWatch, error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &appliedWatch{steps: map[uuid.UUID][]appliedStep{}, end: cancel, done: make(chan error, 1)}
	go func() {
		defer conn.Close(context.WithoutCancel(ctx))
		w.done <- w.watch(ctx, walletdb.New(conn), wallets, every, progress)
	}()
	return w, nil
}

func (w *appliedWatch) watch(ctx context.Context, queries *walletdb.Queries, wallets []uuid.UUID, every time.Duration, progress func(applied int64)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		rows, err := queries.AppliedSequences(ctx, wallets)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch what is applied: %w", err)
		}
		w.polls.Add(1)
		at, total := time.Now(), int64(0)
		for _, row := range rows {
			total += row.AppliedSeq
			steps := w.steps[row.ID]
			if row.AppliedSeq > 0 && (len(steps) == 0 || steps[len(steps)-1].seq < row.AppliedSeq) {
				w.steps[row.ID] = append(steps, appliedStep{at, row.AppliedSeq})
			}
		}
		progress(total)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *appliedWatch) stop() error {
	w.once.Do(func() {
		w.end()
		w.err = <-w.done
	})
	return w.err
}

// when reports false if the operation was not seen applied.
func (w *appliedWatch) when(wallet uuid.UUID, seq int64) (time.Time, bool) {
	steps := w.steps[wallet]
	i := sort.Search(len(steps), func(i int) bool { return steps[i].seq >= seq })
	if i == len(steps) {
		return time.Time{}, false
	}
	return steps[i].at, true
}

// latencies are the times from when operations were due: until they were acknowledged, and until
// they were seen applied. Counting from when they were due, not sent, keeps the wait of those that
// a slow answer held up.
func latencies(history []operation, watch *appliedWatch) (accept, applied *hdrhistogram.Histogram) {
	accept, applied = newHistogram(), newHistogram()
	for _, op := range history {
		if op.answered.IsZero() {
			continue
		}
		observe(accept, op.answered.Sub(op.due))
		if at, seen := watch.when(op.wallet, op.sequence); seen {
			observe(applied, at.Sub(op.due))
		}
	}
	return accept, applied
}

const longestLatency = 10 * time.Minute

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longestLatency.Microseconds(), 3)
}

// observe drops nothing: what does not fit counts as the longest.
func observe(h *hdrhistogram.Histogram, took time.Duration) {
	_ = h.RecordValue(min(max(1, took.Microseconds()), longestLatency.Microseconds()))
}

func percentiles(name string, h *hdrhistogram.Histogram) string {
	ms := func(percentile float64) float64 { return float64(h.ValueAtPercentile(percentile)) / 1000 }
	return fmt.Sprintf("  %-20s %8.1f %8.1f %8.1f ms", name, ms(50), ms(99), ms(100))
}
