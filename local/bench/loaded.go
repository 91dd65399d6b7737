package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// loaded measures the scenario's load.
func (t *fixture) loaded(ctx context.Context) (report.Figures, error) {
	count := max(1, t.sc.wallets)
	if t.sc.hot != noHotWallet {
		count++
	}
	wallets, err := load.OpenWallets(t.apis[0], t.apiKey, count)
	if err != nil {
		return nil, err
	}
	if err := t.store(ctx); err != nil {
		return nil, err
	}
	funded, err := t.fund(ctx, wallets)
	if err != nil {
		return nil, err
	}
	l := t.load(wallets)
	switch t.sc.hot {
	case payee:
		l.Wallets, l.Mix.Targets = wallets[1:], wallets[:1]
	case payer:
		l.Wallets, l.Mix.Targets = wallets[:1], wallets[1:]
	}
	f, history, err := t.measure(ctx, l)
	if err != nil {
		return f, err
	}
	history = append(history, funded...)
	if t.sc.stored > 0 {
		f[report.IdleAfterStart] = t.settledAfter.Seconds()
	}
	if err := t.checkAll(ctx, history); err != nil {
		return f, err
	}
	if t.sc.pipeline {
		err = t.comparePipeline(ctx, f, len(wallets))
	}
	return f, err
}

// fund gives each wallet more than the load takes out of it, and waits until that is applied.
func (t *fixture) fund(ctx context.Context, wallets []uuid.UUID) ([]load.Operation, error) {
	if !t.sc.funded {
		return nil, nil
	}
	deposits := make([]load.Operation, len(wallets))
	for i, wallet := range wallets {
		deposits[i] = load.Operation{Wallet: wallet, Kind: "DEPOSIT", Amount: 1e12}
	}
	const atOnce = 1000
	l := &load.Load{APIs: t.apis, APIKey: t.apiKey, Batch: atOnce, Attempt: 15 * time.Second, Patience: time.Minute}
	deposits = l.SendThese(ctx, deposits...)
	if l.Failures.Load() > 0 {
		return nil, fmt.Errorf("fund wallets: %s", *l.LastFail.Load())
	}
	_, err := check.AwaitIdle(ctx, t.conn, 2*time.Minute)
	return deposits, err
}

// load is the scenario's load on some wallets.
func (t *fixture) load(wallets []uuid.UUID) *load.Load {
	return &load.Load{
		APIs: t.apis, APIKey: t.apiKey, Wallets: wallets, Connections: t.sc.connections, RatePerSecond: t.sc.ratePerSecond,
		Duration: t.warmUp + t.benchmark.measured, WithoutKeys: t.sc.withoutKeys, WithdrawUpTo: t.sc.withdrawUpTo, Zipf: t.sc.zipf,
		Batch: t.sc.batch, Mix: t.sc.mix, ResendPercent: t.sc.resendPercent, ReadPercent: t.sc.readPercent,
		Attempt: 15 * time.Second, Patience: time.Minute,
	}
}

// measure runs a load. What is measured begins after the warm-up, by when operations were due. It
// returns when everything is applied.
func (t *fixture) measure(ctx context.Context, l *load.Load) (report.Figures, []load.Operation, error) {
	watch, err := t.watchSome(ctx, l.Wallets)
	if err != nil {
		return nil, nil, err
	}
	sent := make(chan []load.Operation, 1)
	go func() { sent <- l.Send(ctx) }()
	begin, err := t.snapshotAfter(ctx, t.warmUp)
	if err != nil {
		return nil, nil, errors.Join(err, watch.Stop())
	}
	begin.polls = watch.Polls.Load()
	end, err := t.snapshotAfter(ctx, l.Duration-t.warmUp)
	if err != nil {
		return nil, nil, errors.Join(err, watch.Stop())
	}
	end.polls = watch.Polls.Load()
	history := <-sent
	if t.conn != nil {
		_, err = check.AwaitIdle(ctx, t.conn, 2*time.Minute)
	}
	if err := errors.Join(err, watch.Stop()); err != nil {
		return nil, nil, err
	}
	f := report.Figures{report.Refused: float64(l.Refused.Load())}
	measureLoad(f, begin, end, history, watch)
	measureReads(f, l)
	if err := t.measureSettled(ctx, f, begin, end); err != nil {
		return f, history, err
	}
	if n := l.Failures.Load(); n > 0 {
		return f, history, brokenError{fmt.Sprintf("%d operations were not accepted; the last: %s", n, *l.LastFail.Load())}
	}
	return f, history, nil
}

// watchSome watches the first wallets: watching all of many would cost more than what it watches. A
// baseline has none to watch.
func (t *fixture) watchSome(ctx context.Context, wallets []uuid.UUID) (*load.AppliedWatch, error) {
	const watched = 50
	if t.conn == nil {
		return load.NoWatch(), nil
	}
	every := t.sc.watchEvery
	if every == 0 {
		every = load.WatchEvery
	}
	return load.WatchApplied(ctx, t.stack.Backing.DatabaseURL, wallets[:min(len(wallets), watched)], every, func(int64) {})
}

// measureSettled counts what arrived in other wallets between two snapshots.
func (t *fixture) measureSettled(ctx context.Context, f report.Figures, begin, end snapshot) error {
	if t.sc.mix.Transfers == 0 || t.conn == nil {
		return nil
	}
	var settled int64
	err := t.conn.QueryRow(ctx, `SELECT count(*) FROM operation_states WHERE type = 'RECEIVE' AND status = 'PROCESSED' AND applied_at BETWEEN $1 AND $2`, begin.at, end.at).Scan(&settled)
	f[report.Settled] = float64(settled) / end.at.Sub(begin.at).Seconds()
	return err
}

func measureReads(f report.Figures, l *load.Load) {
	if len(l.Reads) == 0 {
		return
	}
	h := load.NewHistogram()
	for _, took := range l.Reads {
		load.Observe(h, took)
	}
	f.Quantiles("read", h)
	f[report.Reads] = float64(len(l.Reads)) / l.Duration.Seconds()
}

func (t *fixture) snapshotAfter(ctx context.Context, wait time.Duration) (snapshot, error) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return snapshot{}, ctx.Err()
	}
	return t.snapshot(ctx)
}

func (t *fixture) log() check.TopicLog { return t.topicLog(t.stack.Topic) }

func (t *fixture) topicLog(topic string) check.TopicLog {
	return check.TopicLog{Options: t.stack.KafkaOptions(), Topic: topic, Partitions: stack.TopicPartitions}
}

// checkAll checks every invariant.
func (t *fixture) checkAll(ctx context.Context, history []load.Operation) error {
	checked := check.Subject{Log: t.log(), Events: t.topicLog(t.stack.EventsTopic), Audit: t.stack.Verify, Without: t.ballast}
	promises, err := checked.Check(ctx, t.conn, history)
	if err != nil {
		return err
	}
	var broken brokenError
	for _, p := range promises {
		broken = append(broken, p.Broken[:min(5, len(p.Broken))]...)
	}
	if broken == nil {
		return nil
	}
	return broken
}
