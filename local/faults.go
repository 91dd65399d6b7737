package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	faultsRatePerSecond = 1000
	// Half of the operations go to one wallet, the others to these.
	faultsOtherWallets = 30
	// The system works if the hot wallet accepts something and no operation waits to be applied for
	// longer than worksWithin, all the time for steadyFor.
	worksWithin = time.Second
	steadyFor   = 2 * time.Second
	// drainRate is what a backlog is allowed to take, in operations a second.
	drainRate = 10_000
	// givenUp is when a system that has not recovered is left alone.
	givenUp = 90 * time.Second
)

// campaign throws faults at a stack of its own, one a round. Each round has fresh wallets and a load
// on them, waits until the system has recovered, and then holds everything that the clients were
// told, Postgres, Kafka's log and Redis against each other.
type campaign struct {
	*stack
	random *rand.Rand
	pool   *pgxpool.Pool
	cache  *redis.Client
	log    *logReader

	hot      uuid.UUID
	wallets  []uuid.UUID // of this round, the hot one first
	position relayPosition
	told     []operation // what a fault's own clients know
	// worst is the longest that something has waited since the fault: an operation to be applied, or
	// the hot wallet to accept one.
	worst time.Duration
}

// record is what came of one kind of fault.
type record struct {
	name       string
	recoveries []time.Duration
	worst      time.Duration
	violations int
}

// faults runs a campaign for a while and returns an error if a promise was broken.
func faults(ctx context.Context, c config, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	seed := flags.Uint64("seed", rand.Uint64(), "the faults, their order and their moments")
	duration := flags.Duration("duration", 10*time.Minute, "throw no new fault after this `time`")
	only := flags.String("only", "", "throw only the faults whose names match this `regexp`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if c.databaseURL != "" || c.redisURL != "" || c.kafkaBrokers != "" {
		return errors.New("faults kills the servers it works with, and so starts its own: unset DATABASE_URL, REDIS_URL and KAFKA_BROKERS")
	}
	c.apis, c.relays, c.workers = max(2, c.apis), max(2, c.relays), max(2, c.workers)
	root, err := workspace()
	if err != nil {
		return err
	}
	state, err := temporaryState()
	if err != nil {
		return err
	}
	defer state.close()
	fmt.Fprintf(out, "Legendary Wallet: faults for %s under %d operations a second. SEED=%d throws them in this order again.\n\n", *duration, faultsRatePerSecond, *seed)
	bin := filepath.Join(state.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if err := build(ctx, root, bin, out, "-tags", "failpoints"); err != nil {
		return err
	}
	f := &campaign{stack: newStack(state, c, bin, out), random: rand.New(rand.NewPCG(*seed, 0))}
	if err := f.start(ctx, c); err != nil {
		return err
	}
	defer f.stop()
	if err := f.connect(ctx); err != nil {
		return err
	}
	defer f.disconnect()
	var kinds []kind
	for _, k := range f.kinds() {
		if wanted.MatchString(k.name) {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) == 0 {
		return fmt.Errorf("no fault matches %s", *only)
	}
	err = f.run(ctx, kinds, *duration, out)
	if err != nil && ctx.Err() == nil {
		kept := filepath.Join(root, ".local", fmt.Sprintf("faults-%d-%d", *seed, os.Getpid()))
		if copyErr := os.CopyFS(kept, os.DirFS(filepath.Join(state.dir, "logs"))); copyErr == nil {
			fmt.Fprintf(out, "\n  The logs of all processes are in %s.\n", kept)
		}
	}
	return err
}

func (f *campaign) connect(ctx context.Context) (err error) {
	// What a fault ends is its news, not that of the children's supervision.
	f.mu.Lock()
	f.out = io.Discard
	f.mu.Unlock()
	options, err := redis.ParseURL(f.parts.redisURL)
	if err != nil {
		return err
	}
	f.cache = redis.NewClient(options)
	if f.log, err = followLog(f.parts.kafkaBrokers, f.topic); err != nil {
		return err
	}
	f.pool, err = pgxpool.New(ctx, f.parts.databaseURL)
	return err
}

func (f *campaign) disconnect() {
	f.pool.Close()
	f.log.close()
	_ = f.cache.Close()
}

// run throws the kinds in a random order, all of them before any comes again, prints a line for each
// and the report at the end.
func (f *campaign) run(ctx context.Context, kinds []kind, duration time.Duration, out io.Writer) error {
	records := make([]record, len(kinds))
	for i, k := range kinds {
		records[i].name = k.name
	}
	fmt.Fprintf(out, "\n  round    time  fault\n")
	began := time.Now()
	var accepted, unanswered int64
	var loaded time.Duration
	broken, number := 0, 0
	var failure error
campaign:
	for {
		for _, i := range f.random.Perm(len(kinds)) {
			if time.Since(began) > duration {
				break campaign
			}
			number++
			fmt.Fprintf(out, "  %5d %6.0fs  %-56s", number, time.Since(began).Seconds(), kinds[i].name)
			r, err := f.round(ctx, kinds[i])
			if err != nil {
				fmt.Fprintf(out, " %v\n", err)
				failure = err
				break campaign
			}
			accepted, unanswered, loaded = accepted+r.accepted, unanswered+r.unanswered, loaded+r.loaded
			records[i].recoveries = append(records[i].recoveries, r.recovery)
			records[i].worst = max(records[i].worst, f.worst)
			records[i].violations += len(r.violations)
			broken += len(r.violations)
			fmt.Fprintf(out, " recovered in %4.1f s, longest wait %4.1f s, %4.0f accepted/s\n", r.recovery.Seconds(), f.worst.Seconds(), float64(r.accepted)/r.loaded.Seconds())
			printViolations(out, r.violations)
		}
	}
	if ctx.Err() != nil {
		failure = errInterrupted
	} else if failure != nil {
		fmt.Fprintln(out, "\n  the campaign ended in the middle of a round: there is no last audit")
	} else if audit := f.audit(ctx); len(audit.broken) > 0 {
		fmt.Fprintln(out, "\n  ctl verify of everything:")
		printViolations(out, audit.broken)
		broken += len(audit.broken)
	}
	printRecords(out, records)
	fmt.Fprintf(out, "\n  %d operations accepted, %.0f/s while clients sent; %d not answered within their patience; %d violations\n",
		accepted, float64(accepted)/max(1, loaded.Seconds()), unanswered, broken)
	if failure != nil {
		return failure
	}
	if broken > 0 {
		return errors.New("a promise is broken")
	}
	fmt.Fprintln(out, "\n  Every promise holds.")
	return nil
}

func printViolations(out io.Writer, violations []string) {
	const shown = 8
	for _, line := range violations[:min(shown, len(violations))] {
		fmt.Fprintf(out, "      ✗ %s\n", line)
	}
	if more := len(violations) - shown; more > 0 {
		fmt.Fprintf(out, "      and %d more\n", more)
	}
}

func printRecords(out io.Writer, records []record) {
	fmt.Fprintf(out, "\n  %-56s %6s %14s %6s %13s %11s\n", "fault", "thrown", "recovery p50", "max, s", "longest wait", "violations")
	for _, r := range records {
		slices.Sort(r.recoveries)
		p50, longest := "-", "-"
		if n := len(r.recoveries); n > 0 {
			p50, longest = fmt.Sprintf("%.1f", r.recoveries[n/2].Seconds()), fmt.Sprintf("%.1f", r.recoveries[n-1].Seconds())
		}
		fmt.Fprintf(out, "  %-56s %6d %14s %6s %13.1f %11d\n", r.name, len(r.recoveries), p50, longest, r.worst.Seconds(), r.violations)
	}
}

type round struct {
	recovery             time.Duration
	loaded               time.Duration
	accepted, unanswered int64
	violations           []string
}

// round throws one fault. An error means that the campaign cannot go on; what speaks against the
// system is a violation.
func (f *campaign) round(ctx context.Context, k kind) (r round, err error) {
	if f.wallets, err = openWallets(f.apiURLs[0], f.apiKey, 1+faultsOtherWallets); err != nil {
		return r, err
	}
	f.hot, f.told = f.wallets[0], nil
	if f.position, err = f.relayPosition(ctx); err != nil {
		return r, err
	}
	l := &load{
		apis: f.apiURLs, apiKey: f.apiKey, wallets: append(slices.Repeat(f.wallets[:1], faultsOtherWallets), f.wallets[1:]...),
		connections: 100, ratePerSecond: faultsRatePerSecond, duration: time.Hour, resendPercent: 2,
		attempt: 5 * time.Second, patience: time.Minute,
	}
	history := make(chan []operation, 1)
	began := time.Now()
	go func() { history <- l.send(ctx) }()
	defer l.end()
	violate := func(text string) { r.violations = append(r.violations, text) }
	if _, late := f.awaitWorking(ctx, time.Now(), k.within); late != "" {
		violate("before the fault: " + late)
	}
	pause(ctx, time.Duration(f.random.Int64N(int64(300*time.Millisecond))))

	f.worst = 0
	// What is stopped goes on even if the campaign is interrupted: nothing else could end it.
	heal := func() error { return k.heal(context.WithoutCancel(ctx)) }
	if err = k.throw(ctx); err == nil && k.heal != nil && k.holds > 0 {
		pause(ctx, k.holds)
		err = heal()
	}
	thrown := time.Now()
	if err != nil {
		return r, fmt.Errorf("throw or heal: %w", err)
	}
	var late string
	if r.recovery, late = f.awaitWorking(ctx, thrown, k.within); late != "" {
		violate(late)
	}
	if k.heal != nil && k.holds == 0 {
		if err := heal(); err != nil {
			return r, fmt.Errorf("heal: %w", err)
		}
		if _, late := f.awaitWorking(ctx, time.Now(), k.within); late != "" {
			violate("after it was over: " + late)
		}
	}
	l.end()
	told := append(<-history, f.told...)
	r.loaded, r.accepted, r.unanswered = time.Since(began), l.accepted.Load(), l.failures.Load()
	if ctx.Err() != nil {
		return r, errInterrupted
	}
	for _, p := range slices.Concat(f.services, f.parts.processes) {
		if err := p.awaitReady(ctx, false); err != nil {
			violate(p.name + " " + err.Error())
		}
	}
	broken, err := f.checkRound(ctx, k, told)
	r.violations = append(r.violations, broken...)
	return r, err
}

// pause waits, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// awaitWorking returns how long after began the system worked again, and a complaint if that was
// later than it promises.
func (f *campaign) awaitWorking(ctx context.Context, began time.Time, within time.Duration) (time.Duration, string) {
	var steadySince, moved time.Time
	var sequence, backlog int64
	var trouble error
	for ctx.Err() == nil && time.Since(began) < givenUp {
		s, err := f.sample(ctx)
		now := time.Now()
		if err == nil && s.sequence > sequence {
			sequence, moved = s.sequence, now
		}
		if moved.IsZero() {
			moved = began
		}
		backlog, f.worst = max(backlog, s.backlog), max(f.worst, s.oldest, now.Sub(moved))
		trouble = err
		switch {
		case err != nil || s.oldest > worksWithin || now.Sub(moved) > worksWithin:
			steadySince = time.Time{}
		case steadySince.IsZero():
			steadySince = now
		}
		if !steadySince.IsZero() && now.Sub(steadySince) > steadyFor {
			took := steadySince.Sub(began)
			if limit := within + time.Duration(backlog)*time.Second/drainRate; took > limit {
				return took, fmt.Sprintf("it recovered after %.1f s, not within %.1f s", took.Seconds(), limit.Seconds())
			}
			return took, ""
		}
		pause(ctx, 50*time.Millisecond)
	}
	return time.Since(began), fmt.Sprintf("it did not recover within %s: %d operations wait, %v", givenUp, backlog, trouble)
}

type sample struct {
	sequence int64         // of the hot wallet
	backlog  int64         // operations that wait to be applied
	oldest   time.Duration // how long the first of them has waited
}

func (f *campaign) sample(ctx context.Context) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, worksWithin)
	defer cancel()
	var seconds float64
	err = f.pool.QueryRow(ctx, `
		SELECT coalesce(max(s.last_seq) FILTER (WHERE w.id = $1), 0), coalesce(sum(s.last_seq - w.applied_seq), 0)::bigint,
		       coalesce(extract(epoch FROM clock_timestamp() - min(o.created_at)), 0)::float8
		FROM wallets w JOIN wallet_sequences s ON s.wallet_id = w.id
		LEFT JOIN operations o ON o.wallet_id = w.id AND o.seq = w.applied_seq + 1
		WHERE w.id = ANY ($2)`, f.hot, f.wallets).Scan(&s.sequence, &s.backlog, &seconds)
	s.oldest = time.Duration(seconds * float64(time.Second))
	return s, err
}

// checkRound holds what the clients were told, the tables, the log and the cache against each other,
// for the round's wallets.
func (f *campaign) checkRound(ctx context.Context, k kind, told []operation) (broken []string, err error) {
	quiet := func() bool {
		s, err := f.sample(ctx)
		return err == nil && s.backlog == 0
	}
	if !await(ctx, 60*time.Second, quiet) {
		broken = append(broken, "something is pending a minute after the last operation")
	}
	totals, err := f.totals(ctx)
	if err != nil {
		return nil, fmt.Errorf("read totals: %w", err)
	}
	rows, err := f.pool.Query(ctx, "SELECT wallet_id, seq, id, type, amount FROM operations WHERE wallet_id = ANY ($1) ORDER BY wallet_id, seq", f.wallets)
	if err != nil {
		return nil, fmt.Errorf("read operations: %w", err)
	}
	stored, err := pgx.CollectRows(rows, pgx.RowToStructByPos[walletdb.StoredOperationsRow])
	if err != nil {
		return nil, fmt.Errorf("read operations: %w", err)
	}
	promises := []promise{checkTotals(totals), checkClients(told, stored), checkOrder(told, stored)}
	if !k.losesLog {
		var log promise
		await(ctx, 15*time.Second, func() bool {
			log = checkLog(f.log.of(f.wallets), stored)
			return len(log.broken) == 0
		})
		promises = append(promises, log)
	}
	f.log.forget()
	for _, p := range promises {
		broken = append(broken, p.broken...)
	}
	chains, err := f.brokenChains(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow the balances: %w", err)
	}
	// The worker writes to Redis after its commit.
	var entries []string
	await(ctx, 10*time.Second, func() bool {
		entries = f.wrongEntries(ctx)
		return len(entries) == 0
	})
	return slices.Concat(broken, chains, entries), nil
}

func (f *campaign) totals(ctx context.Context) (t walletdb.TotalsRow, err error) {
	err = f.pool.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM operations WHERE wallet_id = ANY ($1)),
		       (SELECT count(*) FROM outcomes WHERE wallet_id = ANY ($1)),
		       (SELECT sum(last_seq) FROM wallet_sequences WHERE wallet_id = ANY ($1))::bigint,
		       (SELECT sum(applied_seq) FROM wallets WHERE id = ANY ($1))::bigint,
		       (SELECT sum(balance) FROM wallets WHERE id = ANY ($1))::bigint,
		       (SELECT coalesce(sum(CASE type WHEN 'DEPOSIT' THEN amount ELSE -amount END), 0)
		        FROM operation_states WHERE wallet_id = ANY ($1) AND status = 'PROCESSED')::bigint`, f.wallets).
		Scan(&t.Operations, &t.Outcomes, &t.LastSeq, &t.AppliedSeq, &t.Balance, &t.Processed)
	return t, err
}

// brokenChains finds the outcomes that do not follow from the one before.
func (f *campaign) brokenChains(ctx context.Context) ([]string, error) {
	rows, err := f.pool.Query(ctx, `
		SELECT format('wallet %s: sequence %s does not follow from the one before', wallet_id, seq) FROM (
		  SELECT wallet_id, seq, status, type, amount,
		         seq - lag(seq, 1, 0::bigint) OVER w AS step, balance_after - lag(balance_after, 1, 0::bigint) OVER w AS change
		  FROM operation_states WHERE wallet_id = ANY ($1) WINDOW w AS (PARTITION BY wallet_id ORDER BY seq)) s
		WHERE step <> 1 OR change IS DISTINCT FROM CASE WHEN status <> 'PROCESSED' THEN 0 WHEN type = 'DEPOSIT' THEN amount ELSE -amount END`, f.wallets)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// wrongEntries finds the wallets whose entry in Redis is another than Postgres's. No entry is fine.
func (f *campaign) wrongEntries(ctx context.Context) (wrong []string) {
	wallets, err := f.storedWallets(ctx)
	if err != nil {
		return []string{"read wallets: " + err.Error()}
	}
	for _, w := range wallets {
		entry, found, err := walletcache.Get(ctx, f.cache, w.ID)
		if err != nil {
			return append(wrong, "read the cache: "+err.Error())
		}
		if found && (entry.AppliedSeq != w.AppliedSeq || entry.Balance != w.Balance) {
			wrong = append(wrong, fmt.Sprintf("the cache says %d at version %d of wallet %s, stored is %d at %d", entry.Balance, entry.AppliedSeq, w.ID, w.Balance, w.AppliedSeq))
		}
	}
	return wrong
}

func (f *campaign) storedWallets(ctx context.Context) ([]walletdb.Wallet, error) {
	rows, err := f.pool.Query(ctx, "SELECT id, applied_seq, balance FROM wallets WHERE id = ANY ($1)", f.wallets)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (w walletdb.Wallet, err error) {
		return w, row.Scan(&w.ID, &w.AppliedSeq, &w.Balance)
	})
}

// await reports whether a condition came to hold.
func await(ctx context.Context, within time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(within); ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
		if holds() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
	return false
}

// logReader collects Kafka's log as it grows.
type logReader struct {
	client *kgo.Client
	mu     sync.Mutex
	log    []message
}

func followLog(brokers, topic string) (*logReader, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(topic), kgo.DefaultProduceTopic(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	r := &logReader{client: client}
	go r.follow()
	return r, nil
}

// follow goes on until close. It passes over errors, which are the faults', and over what is not an
// operation: a record that it misses is missed by the check.
func (r *logReader) follow() {
	for {
		fetches := r.client.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		r.mu.Lock()
		for record := range fetches.RecordsAll() {
			if m, ok := parseMessage(record); ok {
				r.log = append(r.log, m)
			}
		}
		r.mu.Unlock()
	}
}

// of returns the messages of some wallets, in the order of their partitions.
func (r *logReader) of(wallets []uuid.UUID) (log []message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.log {
		if slices.Contains(wallets, m.WalletID) {
			log = append(log, m)
		}
	}
	return log
}

func (r *logReader) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = nil
}

func (r *logReader) close() { r.client.Close() }
