package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/machine"
)

// verifyScenario replays so many operations of every type with the operator's command.
func verifyScenario(operations int64) scenario {
	return scenario{
		name: "verify", byName: true, connections: 256, wallets: 300, mix: load.EveryType, lasts: 10*time.Second + time.Duration(operations)*500*time.Microsecond,
		run: func(t *fixture, ctx context.Context) (report.Figures, error) { return t.verify(ctx, operations) },
	}
}

// verify measures how long ctl verify takes for what a load of all types has left behind, and its memory.
func (t *fixture) verify(ctx context.Context, operations int64) (report.Figures, error) {
	wallets, err := load.OpenWallets(t.apis[0], t.apiKey, t.sc.wallets)
	if err != nil {
		return nil, err
	}
	l := t.load(wallets)
	l.Duration = time.Hour
	watch, err := load.WatchApplied(ctx, t.stack.Backing.DatabaseURL, wallets, time.Second, func(applied int64) {
		if applied >= operations {
			l.End()
		}
	})
	if err != nil {
		return nil, err
	}
	history := l.Send(ctx)
	if err := watch.Stop(); err != nil {
		return nil, err
	}
	if _, err := check.AwaitIdle(ctx, t.conn, 2*time.Minute); err != nil {
		return nil, err
	}
	f := report.Figures{}
	var applied int64
	if err := t.conn.QueryRow(ctx, "SELECT sum(applied_seq)::bigint FROM wallets").Scan(&applied); err != nil {
		return nil, err
	}
	begin := time.Now()
	mebibytes, err := machine.RunMeasured(t.stack.Verifier(ctx))
	if err != nil {
		return f, brokenError{fmt.Sprintf("verify: %v", err)}
	}
	f[report.VerifyTook], f[report.VerifiedOperations], f[report.RSS("verify")] = time.Since(begin).Seconds(), float64(applied), mebibytes
	return f, t.checkAll(ctx, history)
}
