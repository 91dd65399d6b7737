package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/bench/fill"
	"github.com/legendary-wallet/legendary-wallet/local/load"
)

// store fills what the scenario begins with into wallets of its own, while the relay and the worker
// are stopped.
func (t *fixture) store(ctx context.Context) (err error) {
	if t.sc.stored == 0 {
		return nil
	}
	const wallets = 1000
	if t.ballast, err = load.OpenWallets(t.apis[0], t.apiKey, wallets); err != nil {
		return err
	}
	for _, name := range []string{"relay", "worker"} {
		t.stack.Process(name).Stop()
	}
	if err := fill.Wallets(ctx, t.conn, t.stack.Topic, t.ballast, t.sc.stored, true); err != nil {
		return err
	}
	for _, name := range []string{"relay", "worker"} {
		if err := t.stack.Process(name).Start(ctx); err != nil {
			return err
		}
	}
	return t.settle(ctx)
}

// settle waits until the services are quiet: a worker that starts looks through the whole outbox, once.
// It is measured apart.
func (t *fixture) settle(ctx context.Context) error {
	const window, within = 500 * time.Millisecond, 5 * time.Minute
	began := time.Now()
	for {
		before := t.usage()
		select {
		case <-time.After(window):
		case <-ctx.Done():
			return ctx.Err()
		}
		after := t.usage()
		used := time.Duration(0)
		for _, name := range []string{"relay", "worker", "postgres for relay", "postgres for worker"} {
			used += after[name].CPU - before[name].CPU
		}
		if used < window/10 {
			t.settledAfter = time.Since(began)
			return nil
		}
		if time.Since(began) > within {
			return fmt.Errorf("the relay and the worker are not quiet %s after their start", within)
		}
	}
}
