package load

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

// WatchEvery is how exactly it is known when an operation was applied: at most so much, and the time of
// a query, too late.
const WatchEvery = 5 * time.Millisecond

// AppliedWatch sees, over a connection of its own, when wallets' outcomes became readable: a wallet's
// applied_seq is committed with the outcomes up to it, so who reads it can read them. A step's time is
// that of the answer.
type AppliedWatch struct {
	Steps map[uuid.UUID][]AppliedStep
	Polls atomic.Int64
	End   context.CancelFunc
	done  chan error
	once  sync.Once
	err   error
}

type AppliedStep struct {
	At  time.Time
	seq int64
}

// WatchApplied watches until Stop, and reports to progress the sum of the sequences.
func WatchApplied(ctx context.Context, databaseURL string, wallets []uuid.UUID, every time.Duration, progress func(applied int64)) (*AppliedWatch, error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &AppliedWatch{Steps: map[uuid.UUID][]AppliedStep{}, End: cancel, done: make(chan error, 1)}
	go func() {
		defer conn.Close(context.WithoutCancel(ctx))
		w.done <- w.watch(ctx, walletdb.New(conn), wallets, every, progress)
	}()
	return w, nil
}

func (w *AppliedWatch) watch(ctx context.Context, queries *walletdb.Queries, wallets []uuid.UUID, every time.Duration, progress func(applied int64)) error {
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
		w.Polls.Add(1)
		at, total := time.Now(), int64(0)
		for _, row := range rows {
			total += row.AppliedSeq
			steps := w.Steps[row.ID]
			if row.AppliedSeq > 0 && (len(steps) == 0 || steps[len(steps)-1].seq < row.AppliedSeq) {
				w.Steps[row.ID] = append(steps, AppliedStep{at, row.AppliedSeq})
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

// NoWatch has seen nothing.
func NoWatch() *AppliedWatch {
	w := &AppliedWatch{done: make(chan error, 1)}
	w.done <- nil
	w.End = func() {}
	return w
}

func (w *AppliedWatch) Stop() error {
	w.once.Do(func() {
		w.End()
		w.err = <-w.done
	})
	return w.err
}

// when reports false if the operation was not seen applied.
func (w *AppliedWatch) when(wallet uuid.UUID, seq int64) (time.Time, bool) {
	steps := w.Steps[wallet]
	i := sort.Search(len(steps), func(i int) bool { return steps[i].seq >= seq })
	if i == len(steps) {
		return time.Time{}, false
	}
	return steps[i].At, true
}

// Latencies are the times from when operations were due: until they were acknowledged, and until
// they were seen applied. Counting from when they were due, not sent, keeps the wait of those that
// a slow answer held up.
func Latencies(history []Operation, watch *AppliedWatch) (accept, applied *hdrhistogram.Histogram) {
	accept, applied = NewHistogram(), NewHistogram()
	for _, op := range history {
		if op.Answered.IsZero() {
			continue
		}
		Observe(accept, op.Answered.Sub(op.Due))
		if at, seen := watch.when(op.Wallet, op.Sequence); seen {
			Observe(applied, at.Sub(op.Due))
		}
	}
	return accept, applied
}

const longestLatency = 10 * time.Minute

func NewHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longestLatency.Microseconds(), 3)
}

// Observe drops nothing: what does not fit counts as the longest.
func Observe(h *hdrhistogram.Histogram, took time.Duration) {
	_ = h.RecordValue(min(max(1, took.Microseconds()), longestLatency.Microseconds()))
}

func Percentiles(name string, h *hdrhistogram.Histogram) string {
	ms := func(percentile float64) float64 { return float64(h.ValueAtPercentile(percentile)) / 1000 }
	return fmt.Sprintf("  %-20s %8.1f %8.1f %8.1f ms", name, ms(50), ms(99), ms(100))
}
