package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/bench/fill"
	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// drain measures how fast the relay publishes a backlog, without a worker, and then how fast the
// worker applies it, without anything to publish. Starting is not counted.
func (t *fixture) drain(ctx context.Context) (report.Figures, error) {
	wallets, err := load.OpenWallets(t.apis[0], t.apiKey, max(1, t.sc.wallets))
	if err != nil {
		return nil, err
	}
	relay, worker := t.stack.Process("relay"), t.stack.Process("worker")
	relay.Stop()
	worker.Stop()
	if err := fill.Wallets(ctx, t.conn, t.stack.Topic, wallets, t.sc.rows, false); err != nil {
		return nil, err
	}
	length, closeLog, err := t.log().Length()
	if err != nil {
		return nil, err
	}
	defer closeLog()
	f := report.Figures{}
	if err := t.drained(ctx, f, relay, report.RelayRows, length); err != nil {
		return f, err
	}
	applied := func(ctx context.Context) (n int64, err error) {
		err = t.conn.QueryRow(ctx, "SELECT sum(applied_seq)::bigint FROM wallets").Scan(&n)
		return n, err
	}
	if err := t.drained(ctx, f, worker, report.WorkerOperations, applied); err != nil {
		return f, err
	}
	stored, err := walletdb.New(t.conn).StoredOperations(ctx, walletdb.StoredOperationsParams{})
	if err != nil {
		return f, err
	}
	history := make([]load.Operation, len(stored))
	for i, row := range stored {
		history[i] = load.Operation{Wallet: row.WalletID, ID: row.ID, Kind: string(row.Type), Amount: row.Amount, Sequence: row.Seq, Answered: time.Now()}
	}
	return f, t.checkAll(ctx, history)
}

// drained starts a service and measures it from the first thing it does until all rows are done.
func (t *fixture) drained(ctx context.Context, f report.Figures, p *proc.Process, rate report.Figure, done func(context.Context) (int64, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := p.Begin(); err != nil {
		return err
	}
	var begin snapshot
	var first int64
	for {
		n, err := done(ctx)
		if err != nil {
			return fmt.Errorf("drain of the %s: %w", p.Name, err)
		}
		if begin.at.IsZero() && n > 0 {
			begin, first = snapshot{at: time.Now(), used: t.usage()}, n
		}
		if n >= int64(t.sc.rows) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	end := snapshot{at: time.Now(), used: t.usage()}
	rows := int64(t.sc.rows) - first
	f[rate] = float64(rows) / end.at.Sub(begin.at).Seconds()
	use := report.Figures{}
	measureUse(use, begin, end, int(rows))
	for process := range end.used {
		f[costOf(rate, p.Name, process)] = use[report.CPU(process)]
	}
	f[costOf(rate, p.Name, "system")] = use[report.CPU("system")]
	f[report.RSS(p.Name)] = use[report.RSS(p.Name)]
	return nil
}

// costOf is what a row, or an operation, of a drain costs a process.
func costOf(rate report.Figure, drain, process string) report.Figure {
	cost := report.CPU(process).Of(drain)
	if rate == report.RelayRows {
		return cost.PerRow()
	}
	return cost
}
