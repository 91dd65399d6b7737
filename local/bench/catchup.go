package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// catchUp measures deposits to 1,000 wallets, alone and while the worker applies transfers between the
// others that have waited for it.
func (t *fixture) catchUp(ctx context.Context) (report.Figures, error) {
	wallets, err := load.OpenWallets(t.apis[0], t.apiKey, t.sc.wallets)
	if err != nil {
		return nil, err
	}
	paid, paying := wallets[:1000], wallets[1000:]
	history, err := t.fund(ctx, paying)
	if err != nil {
		return nil, err
	}
	deposits := func() *load.Load {
		l := t.load(paid)
		l.InTurn = true
		return l
	}
	alone, sent, err := t.measure(ctx, deposits())
	if err != nil {
		return alone, err
	}
	history = append(history, sent...)
	worker := t.stack.Process("worker")
	worker.Stop()
	const perSecond = 5000
	transfers := t.load(paying)
	transfers.Mix = load.Mix{Transfers: 100}
	transfers.RatePerSecond, transfers.Duration = perSecond, time.Duration(t.sc.rows)*time.Second/perSecond
	history = append(history, transfers.Send(ctx)...)
	if n := transfers.Failures.Load(); n > 0 {
		return nil, fmt.Errorf("%d transfers were not accepted; the last: %s", n, *transfers.LastFail.Load())
	}
	if err := worker.Begin(); err != nil {
		return nil, err
	}
	f, sent, err := t.measure(ctx, deposits())
	history = append(history, sent...)
	if err != nil {
		return f, err
	}
	besideOf(f, alone, "deposits")
	return f, t.checkAll(ctx, history)
}
