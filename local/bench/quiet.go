package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// quietScenario is some minutes in which nothing is asked for, each followed by a deposit.
func quietScenario(minutes int) scenario {
	return scenario{
		name: "quiet", byName: true, lasts: 7*time.Second + time.Duration(minutes)*62*time.Second,
		run: func(t *fixture, ctx context.Context) (report.Figures, error) { return t.quiet(ctx, minutes) },
	}
}

// quiet measures what each process costs that has nothing to do, and how a deposit fares that comes
// after such a minute.
func (t *fixture) quiet(ctx context.Context, minutes int) (report.Figures, error) {
	wallets, err := load.OpenWallets(t.apis[0], t.apiKey, 1)
	if err != nil {
		return nil, err
	}
	f := report.Figures{}
	accept, applied := load.NewHistogram(), load.NewHistogram()
	var history []load.Operation
	for range minutes {
		begin, err := t.snapshotAfter(ctx, time.Second)
		if err != nil {
			return nil, err
		}
		end, err := t.snapshotAfter(ctx, time.Minute)
		if err != nil {
			return nil, err
		}
		for name, used := range end.used {
			ms := float64((used.CPU - begin.used[name].CPU).Microseconds()) / 1000 / end.at.Sub(begin.at).Seconds()
			f[report.IdleCPU(name)] += ms / float64(minutes)
		}
		sent, watch, err := t.lone(ctx, wallets[0], int64(len(history))+1)
		if err != nil {
			return nil, err
		}
		accepted, seen := load.Latencies(sent, watch)
		accept.Merge(accepted)
		applied.Merge(seen)
		history = append(history, sent...)
	}
	f.Quantiles("accept", accept)
	f.Quantiles("applied", applied)
	if _, err := check.AwaitIdle(ctx, t.conn, time.Minute); err != nil {
		return f, err
	}
	return f, t.checkAll(ctx, history)
}

// lone sends a wallet's nth deposit, and watches until it is applied.
func (t *fixture) lone(ctx context.Context, wallet uuid.UUID, n int64) ([]load.Operation, *load.AppliedWatch, error) {
	done := make(chan struct{})
	ends := sync.OnceFunc(func() { close(done) })
	watch, err := load.WatchApplied(ctx, t.stack.Backing.DatabaseURL, []uuid.UUID{wallet}, time.Millisecond, func(applied int64) {
		if applied >= n {
			ends()
		}
	})
	if err != nil {
		return nil, nil, err
	}
	sent := t.load(nil).SendThese(ctx, load.Operation{Wallet: wallet, Kind: "DEPOSIT", Amount: 1})
	select {
	case <-done:
	case <-time.After(time.Minute):
		err = errors.New("a lone deposit was not applied within a minute")
	case <-ctx.Done():
		err = ctx.Err()
	}
	return sent, watch, errors.Join(err, watch.Stop())
}
