package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/local/bench/pipeline"
	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// A scenario is one load on services of its own, with a database of its own.
type scenario struct {
	name          string
	wallets       int // 0: one
	connections   int
	ratePerSecond int           // 0: closed loop
	warmUp        time.Duration // if longer than that of the others
	withoutKeys   bool
	withdrawUpTo  int64 // more than deposits bring: many fail
	zipf          bool  // some wallets are far busier than others
	flood         int   // operations a second to one more wallet; 0: closed loop
	batch         int   // operations of a request; 0: the call for a single one
	mix           load.Mix
	funded        bool // each wallet has more than the load takes out of it
	hot           hotWallet
	resendPercent int
	readPercent   int
	noEvents      bool     // the worker writes none
	env           []string // of the services
	stored        int      // operations of other wallets that are there before
	rows          int      // operations to drain
	watchEvery    time.Duration
	pipeline      bool // measure the database pipeline alone too, at the mean flush size
	baseline      bool // no services
	byName        bool // only when asked for
	// run measures it; nil is the load above.
	run func(*fixture, context.Context) (report.Figures, error)
	// lasts is about how long it takes, if that is not warm-up and measurement.
	lasts time.Duration
}

// hotWallet is what one more wallet is to the others.
type hotWallet int

const (
	noHotWallet hotWallet = iota
	payee                 // it receives all transfers
	payer                 // it makes all transfers
)

func scenarios(rows int, stallsWatched time.Duration) []scenario {
	// At 1,000 operations a second it takes longer until Kafka's code is compiled and caches are filled.
	const slow = 20 * time.Second
	all := baselines()
	for _, c := range []int{1, 64, 256, 1000, 2000} {
		all = append(all, scenario{name: fmt.Sprintf("one wallet, c=%d", c), connections: c, pipeline: c == 256})
	}
	return append(all,
		scenario{name: "one wallet, c=256, no keys", connections: 256, withoutKeys: true},
		scenario{name: "one wallet, c=1000, no keys", connections: 1000, withoutKeys: true},
		scenario{name: "one wallet, 1000/s", connections: 256, ratePerSecond: 1000, warmUp: slow},
		scenario{name: "one wallet, 5000/s", connections: 1000, ratePerSecond: 5000},
		scenario{name: "interval 0, 1000/s", connections: 256, ratePerSecond: 1000, warmUp: slow, env: []string{"BATCH_INTERVAL=0s"}},
		scenario{name: "interval 10 ms, 1000/s", connections: 256, ratePerSecond: 1000, warmUp: slow, env: []string{"BATCH_INTERVAL=10ms"}},
		scenario{name: "lone operations", connections: 4, ratePerSecond: 5, watchEvery: time.Millisecond},
		scenario{name: "many fail, c=256", connections: 256, withdrawUpTo: 4000},
		scenario{name: "replays, c=256", connections: 256, resendPercent: 11},
		scenario{name: "reads mixed in, c=256", connections: 256, readPercent: 50},
		scenario{name: "batch of 10", connections: 64, batch: 10},
		scenario{name: "batch of 100", connections: 16, batch: 100, pipeline: true},
		scenario{name: "batch of 1000", connections: 4, batch: 1000},
		scenario{name: "10000 wallets, c=256", wallets: 10_000, connections: 256, pipeline: true},
		scenario{name: "one wallet, c=256, no events", connections: 256, noEvents: true},
		scenario{name: "10000 wallets, c=256, no events", wallets: 10_000, connections: 256, noEvents: true},
		scenario{name: "10000 wallets, zipf, c=256", wallets: 10_000, connections: 256, zipf: true},
		scenario{name: "transfers, 10000 wallets, c=256", wallets: 10_000, connections: 256, mix: load.Mix{Transfers: 100}, funded: true},
		scenario{name: "256 wallets pay one, c=256", wallets: 256, connections: 256, mix: load.Mix{Transfers: 100}, funded: true, hot: payee},
		scenario{name: "one wallet pays 10000, by 100", wallets: 10_000, connections: 16, batch: 100, mix: load.Mix{Transfers: 100}, funded: true, hot: payer},
		scenario{name: "hold and capture, c=256", wallets: 10_000, connections: 256, mix: load.Mix{Holds: 100, Pairs: true}, funded: true},
		scenario{name: "neighbours", wallets: 1000, connections: 256, ratePerSecond: 1000, run: (*fixture).neighbours, lasts: 35 * time.Second},
		scenario{name: "neighbours of 5000/s", wallets: 1000, connections: 256, ratePerSecond: 1000, flood: 5000, run: (*fixture).neighbours, lasts: 35 * time.Second},
		scenario{name: "drain, one wallet", rows: rows, run: (*fixture).drain, lasts: 10*time.Second + time.Duration(rows)*80*time.Microsecond},
		scenario{name: "drain, 1000 wallets", wallets: 1000, rows: rows / 4, run: (*fixture).drain, lasts: 10*time.Second + time.Duration(rows/4)*140*time.Microsecond},
		scenario{name: "stalls, 1000/s", connections: 256, ratePerSecond: 1000, byName: true, run: (*fixture).stalls, lasts: stallsWatched + 30*time.Second},
	)
}

// storedScenario is the load of "one wallet, c=256" on tables that are not empty, with as many
// published rows behind the relay.
func storedScenario(stored int) scenario {
	return scenario{
		name: fmt.Sprintf("stored %d", stored), connections: 256, stored: stored, byName: true,
		lasts: 20*time.Second + time.Duration(stored)*60*time.Microsecond,
	}
}

// estimate is about how long a scenario takes, with starting, checking and stopping.
func (sc scenario) estimate(b *benchmark) time.Duration {
	if sc.lasts > 0 {
		return sc.lasts
	}
	total := max(b.warmUp, sc.warmUp) + b.measured
	if !sc.baseline {
		total += 7 * time.Second
	}
	if sc.pipeline {
		total += pipeline.Lasts
	}
	return total
}

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

// neighbours measures 1,000 wallets of one operation a second each, alone and beside one that is
// flooded.
func (t *fixture) neighbours(ctx context.Context) (report.Figures, error) {
	wallets, err := load.OpenWallets(t.apis[0], t.apiKey, t.sc.wallets+1)
	if err != nil {
		return nil, err
	}
	quiet, flooded := wallets[1:], wallets[:1]
	inTurn := func() *load.Load { l := t.load(quiet); l.InTurn = true; return l }
	alone, history, err := t.measure(ctx, inTurn())
	if err != nil {
		return alone, err
	}
	flood := t.load(flooded)
	flood.RatePerSecond, flood.Connections, flood.Duration = t.sc.flood, 1000, time.Hour
	flooding := make(chan []load.Operation, 1)
	go func() { flooding <- flood.Send(ctx) }()
	f, beside, err := t.besideFlood(ctx, inTurn(), flood)
	history = append(append(history, beside...), <-flooding...)
	if err != nil {
		return f, err
	}
	maps.DeleteFunc(f, func(figure report.Figure, _ float64) bool { // these are the flood's
		return figure.IsCost() || figure == report.Applied
	})
	for _, until := range []string{"accept", "applied"} {
		p99 := report.Latency(until, "p99")
		f[p99.Of("neighbours")], f[p99.Of("neighbours alone")] = f[p99], alone[p99]
		f[report.OfAlone(until, "p99")] = f[p99] / alone[p99]
	}
	return f, t.checkAll(ctx, history)
}

// besideFlood ends the flood with the load: what waits to be applied is applied then.
func (t *fixture) besideFlood(ctx context.Context, l, flood *load.Load) (report.Figures, []load.Operation, error) {
	ends := time.AfterFunc(l.Duration, flood.End)
	defer func() { ends.Stop(); flood.End() }()
	return t.measure(ctx, l)
}

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
	if err := fill(ctx, t.conn, t.stack.Topic, wallets, t.sc.rows, false); err != nil {
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

// stalls lists when nothing was accepted, or nothing applied, for more than stallFrom. The lines
// about checkpoints in Postgres's log show whether those are to blame.
func (t *fixture) stalls(ctx context.Context) (report.Figures, error) {
	const stallFrom = 200 * time.Millisecond
	wallets, err := load.OpenWallets(t.apis[0], t.apiKey, 1)
	if err != nil {
		return nil, err
	}
	l := t.load(wallets)
	l.Duration = t.benchmark.stallsWatched + t.warmUp
	watch, err := load.WatchApplied(ctx, t.stack.Backing.DatabaseURL, wallets, load.WatchEvery, func(int64) {})
	if err != nil {
		return nil, err
	}
	f, history, err := t.measure(ctx, l)
	if stopErr := watch.Stop(); err != nil || stopErr != nil {
		return f, errors.Join(err, stopErr)
	}
	var accepted, applied []time.Time
	for _, op := range history {
		accepted = append(accepted, op.Answered)
	}
	for _, step := range watch.Steps[wallets[0]] {
		applied = append(applied, step.At)
	}
	for what, times := range map[string][]time.Time{"accepted": accepted, "applied": applied} {
		slices.SortFunc(times, time.Time.Compare)
		for i := 1; i < len(times); i++ {
			if pause := times[i].Sub(times[i-1]); pause > stallFrom {
				f[report.Stalls]++
				fmt.Fprintf(t.benchmark.out, "      %s UTC: nothing %s for %d ms\n", times[i-1].UTC().Format("15:04:05.000"), what, pause.Milliseconds())
			}
		}
	}
	f[report.Stalls] += 0
	logs, _ := filepath.Glob(filepath.Join(t.benchmark.state.Dir, "postgres", "embedded_postgres_log*"))
	for _, path := range logs {
		log, _ := os.ReadFile(path)
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "checkpoint") {
				fmt.Fprintf(t.benchmark.out, "      %s", line)
			}
		}
	}
	return f, t.checkAll(ctx, history)
}
