package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

const (
	faultsRatePerSecond = 1000
	// Half of the operations go to one wallet, the others to these.
	faultsOtherWallets = 30
	// The system works if the hot wallet accepts something and no operation waits to be applied for
	// longer than worksWithin, all the time for steadyFor.
	worksWithin = time.Second
	steadyFor   = worksWithin + 500*time.Millisecond // a fault shows only after worksWithin
	// drainRate is what a backlog is allowed to take, in operations a second.
	drainRate = 10_000
	// givenUp is when a system that has not recovered is left alone.
	givenUp = 90 * time.Second
)

// campaign throws faults at a stack of its own, one or a few a round. Each round has fresh wallets and
// a load on them. After each fault it waits until the system has recovered, and at the end of a round
// it holds everything that the clients were told, Postgres, Kafka's log and Redis against each other.
// A watch sees all along what would be over by then.
type campaign struct {
	stack  *stack.Stack
	group  string // of the workers
	random *rand.Rand
	pool   *pgxpool.Pool
	cache  *redis.Client
	log    *logReader
	doors  map[door]way
	lying  *kfake.Cluster // instead of Apache Kafka
	disk   *smallDisk
	away   time.Duration // of standbys, for long
	clock  string        // the file that moves Postgres's clock, if it can be moved

	footprints map[string]footprint // the most after any round, by service
	patience   time.Duration        // with a system that does not recover
	unhurried  bool                 // it may take its time
	standbys   int                  // of Postgres, synchronous ones

	hot      uuid.UUID
	wallets  []uuid.UUID // of this round, the hot one first
	position relayPosition
	offsets  map[int32]int64  // the group's at the beginning of the round
	told     []load.Operation // what a fault's own clients know
	load     *load.Load
	watch    *watch
	takeover atomic.Int64 // nanoseconds until another relay led, if the fault was about that
}

// faultsOptions are the flags of faults.
type faultsOptions struct {
	seed      uint64
	duration  time.Duration
	away      time.Duration
	times     int
	only      *regexp.Regexp
	report    string
	drill     bool
	mutations bool
}

// drillFaults take each part away once, or stop what others wait for.
const drillFaults = `^kill -9 of (an api|the leading relay|a worker|kafka|redis|postgres)$|^SIGSTOP of (an api|the leading relay|a worker),`

func parseFaultsOptions(args []string) (o faultsOptions, err error) {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.Uint64Var(&o.seed, "seed", rand.Uint64(), "the faults, their order and their moments")
	flags.DurationVar(&o.duration, "duration", 10*time.Minute, "throw no new fault after this `time`")
	flags.DurationVar(&o.away, "away", time.Minute, "how `long` a standby is missing for long")
	flags.IntVar(&o.times, "times", 0, "end when each fault was thrown so many `times`, if that is earlier")
	only := flags.String("only", "", "throw only the faults, or remove only the rules, whose names match this `regexp`")
	flags.StringVar(&o.report, "report", "", "keep the report in this `folder`")
	flags.BoolVar(&o.drill, "drill", false, "take each process away three times, to measure how long it is missed")
	flags.BoolVar(&o.mutations, "mutations", false, "see that the campaign finds what is wrong with programs that have lost one of their rules")
	if err = flags.Parse(args); err != nil {
		return o, err
	}
	if o.drill {
		o.times, *only = 3, drillFaults
	}
	o.only, err = regexp.Compile(*only)
	return o, err
}

// rest is what make has no variable for.
func (o faultsOptions) rest() string {
	var rest []string
	if o.times > 0 {
		rest = append(rest, fmt.Sprintf("-times %d", o.times))
	}
	if text := o.only.String(); text != "" {
		rest = append(rest, fmt.Sprintf("-only %q", text))
	}
	return strings.Join(rest, " ")
}

// faults runs a campaign for a while and returns an error if a promise was broken.
func faults(ctx context.Context, c stack.Config, args []string, out io.Writer) error {
	options, err := parseFaultsOptions(args)
	if err != nil {
		return err
	}
	if c.DatabaseURL != "" || c.RedisURL != "" || c.KafkaBrokers != "" {
		return errors.New("faults kills the servers it works with, and so starts its own: unset DATABASE_URL, REDIS_URL and KAFKA_BROKERS")
	}
	c.APIs, c.Relays, c.Workers = max(2, c.APIs), max(2, c.Relays), max(2, c.Workers)
	root, err := stack.Workspace()
	if err != nil {
		return err
	}
	if options.mutations {
		return mutate(ctx, c, options, root, out)
	}
	fmt.Fprintf(out, "Legendary Wallet: faults for %s under %d operations a second. SEED=%d throws them in this order again.\n\n", options.duration, faultsRatePerSecond, options.seed)
	kafka, file := c.Kafka, c.Kafka
	if c.Brokers > 1 {
		kafka, file = fmt.Sprintf("%s BROKERS=%d", c.Kafka, c.Brokers), fmt.Sprintf("%s-of-%d", c.Kafka, c.Brokers)
	}
	conditions := faultsConditions(kafka)
	fmt.Fprintf(out, "  %s\n", conditions)
	f, err := startCampaign(ctx, c, root, options.seed, out)
	if err != nil {
		return err
	}
	defer f.close()
	f.away = options.away
	var kinds []kind
	for _, k := range f.kinds() {
		if options.only.MatchString(k.name) {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) == 0 {
		return fmt.Errorf("no fault matches %s", options.only)
	}
	report := &faultsReport{
		Date: time.Now().UTC(), Seed: options.seed, Conditions: conditions, Footprints: f.footprints,
		Command: fmt.Sprintf("make faults KAFKA=%s SEED=%d DURATION=%s", kafka, options.seed, options.duration),
	}
	if options.drill {
		report.Command = fmt.Sprintf("make faults KAFKA=%s SEED=%d ARGS=-drill", kafka, options.seed)
	} else if rest := options.rest(); rest != "" {
		report.Command += fmt.Sprintf(" ARGS='%s'", rest)
	}
	err = f.run(ctx, kinds, options, report, out)
	if err != nil && ctx.Err() == nil {
		kept := filepath.Join(root, ".local", fmt.Sprintf("faults-%d-%d", options.seed, os.Getpid()))
		if copyErr := os.CopyFS(kept, os.DirFS(filepath.Join(f.stack.State.Dir, "logs"))); copyErr == nil {
			fmt.Fprintf(out, "\n  The logs of all processes are in %s.\n", kept)
		}
	}
	if options.report != "" {
		name := fmt.Sprintf("%s-%.0fm", file, report.Seconds/60)
		if options.drill {
			name = "drill"
		}
		if writeErr := report.write(options.report, name); writeErr != nil {
			return errors.Join(err, writeErr)
		}
	}
	return err
}

// startCampaign builds the programs, starts a stack with doors between its parts, and all that a
// campaign needs around it.
func startCampaign(ctx context.Context, c stack.Config, root string, seed uint64, out io.Writer) (f *campaign, err error) {
	state, err := proc.TemporaryState()
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(state.Dir, "bin")
	f = &campaign{stack: stack.New(state, c, bin, out), group: "wallet-worker", random: rand.New(rand.NewPCG(seed, 0))}
	begun := f // an error returns none
	defer func() {
		if err != nil {
			begun.close()
			if ctx.Err() != nil {
				err = proc.ErrInterrupted
			}
		}
	}()
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	if err := stack.Build(ctx, root, bin, out, "-tags", "failpoints"); err != nil {
		return nil, err
	}
	if c.Kafka == "kfake" {
		const brokers = 3 // so that leaders can move
		if f.lying, err = kfake.NewCluster(kfake.NumBrokers(brokers)); err != nil {
			return nil, err
		}
		f.stack.Backing.KafkaBrokers = strings.Join(f.lying.ListenAddrs(), ",")
	}
	f.planClock()
	if f.standbys = c.Standbys; f.standbys == 0 {
		f.planSmallDisk()
	} else {
		f.disk = &smallDisk{err: errors.New("a standby would share it: STANDBYS=0")}
	}
	if err := f.planKafkaDoors(); err != nil {
		return nil, err
	}
	f.stack.Hooks = stack.Hooks{ServersReady: f.openDoors, Prepared: f.moveToSmallDisk}
	if err := f.stack.Start(ctx, c); err != nil {
		return nil, err
	}
	return f, f.connect(ctx)
}

func (f *campaign) connect(ctx context.Context) (err error) {
	f.footprints, f.patience = map[string]footprint{}, givenUp
	// What a fault ends is its news, not that of the children's supervision.
	f.stack.Quiet()
	options, err := redis.ParseURL(f.stack.Backing.RedisURL)
	if err != nil {
		return err
	}
	f.cache = redis.NewClient(options)
	if f.log, err = followLog(strings.Split(f.stack.Backing.KafkaBrokers, ","), f.stack.Topic); err != nil {
		return err
	}
	f.pool, err = pgxpool.New(ctx, f.stack.Backing.DatabaseURL)
	return err
}

func (f *campaign) disconnect() {
	if f.pool != nil {
		f.pool.Close()
	}
	if f.log != nil {
		f.log.close()
	}
	if f.cache != nil {
		_ = f.cache.Close()
	}
}

func (f *campaign) close() {
	f.disconnect()
	f.stack.Stop()
	f.closeDoors()
	if f.lying != nil {
		f.lying.Close()
	}
	f.stack.State.Close()
}

// run throws the kinds in a random order, all of them before any comes again, prints a line for each
// and the report at the end.
func (f *campaign) run(ctx context.Context, kinds []kind, o faultsOptions, report *faultsReport, out io.Writer) (failure error) {
	records := map[string]*record{}
	for _, k := range kinds {
		records[k.name] = &record{Name: k.name, NotPossible: k.notPossible}
		report.Kinds = append(report.Kinds, records[k.name])
	}
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return k.notPossible != "" })
	fmt.Fprintf(out, "\n  fault    time\n")
	began := time.Now()
	var deck []kind
	for times := 0; failure == nil && len(kinds) > 0; {
		if len(deck) == 0 {
			if o.times > 0 && times == o.times {
				break
			}
			times++
			for _, i := range f.random.Perm(len(kinds)) {
				deck = append(deck, kinds[i])
			}
		}
		if time.Since(began) > o.duration {
			break
		}
		hand := deal(deck)
		deck = deck[len(hand):]
		at := time.Since(began)
		var r round
		r, failure = f.round(ctx, hand)
		for _, t := range r.thrown {
			report.Faults++
			fmt.Fprintf(out, "  %5d %6.0fs  %-56s recovered in %4.1f s, longest wait %4.1f s, worst accept %4.1f s\n",
				report.Faults, at.Seconds(), t.kind, t.recovery.Seconds(), t.worst.Seconds(), t.accept.Seconds())
			k := records[t.kind]
			k.Thrown++
			k.Recoveries = append(k.Recoveries, t.recovery.Seconds())
			k.LongestWait, k.WorstAccept = max(k.LongestWait, t.worst.Seconds()), max(k.WorstAccept, t.accept.Seconds())
			k.Takeover = max(k.Takeover, t.takeover.Seconds())
			k.Violations += len(r.violations)
		}
		report.Rounds++
		report.Accepted, report.NotAnswered, report.loaded = report.Accepted+r.accepted, report.NotAnswered+r.unanswered, report.loaded+r.loaded
		report.Broken = append(report.Broken, r.violations...)
		printViolations(out, r.violations)
		if failure != nil {
			fmt.Fprintf(out, "  %v\n", failure)
		}
	}
	report.Seconds = time.Since(began).Seconds()
	report.AcceptedPerSecond = float64(report.Accepted) / max(1, report.loaded.Seconds())
	if ctx.Err() != nil {
		failure = proc.ErrInterrupted
	} else if failure != nil {
		fmt.Fprintln(out, "\n  the campaign ended in the middle of a round: there is no last audit")
	} else if audit := check.Audit(ctx, f.stack.Verify); len(audit.Broken) > 0 {
		fmt.Fprintln(out, "\n  ctl verify of everything:")
		printViolations(out, audit.Broken)
		report.Broken = append(report.Broken, audit.Broken...)
	}
	report.Violations = len(report.Broken)
	report.print(out)
	if failure != nil {
		return failure
	}
	if report.Violations > 0 {
		return errors.New("a promise is broken")
	}
	fmt.Fprintln(out, "\n  Every promise holds.")
	return nil
}

// deal takes the next round's faults from the top of the deck: one that is slow, or as many as are
// over within handTime.
func deal(deck []kind) []kind {
	const handTime, each, most = 18 * time.Second, 2 * time.Second, 6
	var sum time.Duration
	for i, k := range deck {
		sum += k.holds + each
		alone := k.within != ofService || k.losesLog
		if i > 0 && (alone || sum > handTime || i == most) {
			return deck[:i]
		}
		if alone {
			return deck[:1]
		}
	}
	return deck
}

func printViolations(out io.Writer, violations []string) {
	const shown = 8
	for _, line := range violations[:min(shown, len(violations))] {
		fmt.Fprintf(out, "      ✗ %s\n", strings.TrimSpace(line))
	}
	if more := len(violations) - shown; more > 0 {
		fmt.Fprintf(out, "      and %d more\n", more)
	}
}

type round struct {
	thrown               []thrown
	loaded               time.Duration
	accepted, unanswered int64
	violations           []string
}

// thrown is what came of one fault.
type thrown struct {
	kind                              string
	began, ended                      time.Time
	recovery, worst, accept, takeover time.Duration
}

// round throws some faults, one after the other. An error means that the campaign cannot go on; what
// speaks against the system is a violation.
func (f *campaign) round(ctx context.Context, kinds []kind) (r round, err error) {
	prepared := func() bool { err = f.prepareRound(ctx); return err == nil }
	if !proc.Await(ctx, givenUp, prepared) {
		return r, err
	}
	l := &load.Load{
		APIs: f.stack.APIURLs, APIKey: f.stack.APIKey, Wallets: append(slices.Repeat(f.wallets[:1], faultsOtherWallets), f.wallets[1:]...),
		Connections: 100, RatePerSecond: faultsRatePerSecond, Duration: time.Hour, ResendPercent: 2,
		Attempt: 5 * time.Second, Patience: time.Minute,
	}
	f.load = l
	history := make(chan []load.Operation, 1)
	began := time.Now()
	go func() { history <- l.Send(ctx) }()
	defer l.End()
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	f.watch = f.startWatch(ctx)
	defer f.watch.end()
	go f.readWallets(reading, f.watch, f.wallets[:3])
	const aMoment = 300 * time.Millisecond
	if _, late := f.awaitWorking(ctx, ofService, aMoment); late != "" && !f.unhurried {
		f.watch.violate("before the fault: %s", late)
	}
	// The order is by name, which is what the seed and a report know a fault by.
	for _, k := range kinds {
		t, err := f.throw(ctx, k)
		if err != nil {
			f.watch.violate("%s could not be thrown: %v", k.name, err)
			break
		}
		r.thrown = append(r.thrown, t)
	}
	l.End()
	stopReading()
	told := <-history
	r.loaded, r.accepted, r.unanswered = time.Since(began), l.Accepted.Load(), l.Failures.Load()
	for i := range r.thrown {
		r.thrown[i].accept = worstAccept(told, r.thrown[i].began, r.thrown[i].ended)
	}
	told = append(told, f.told...)
	if ctx.Err() != nil {
		return r, proc.ErrInterrupted
	}
	broken, err := f.checkRound(ctx, kinds, told)
	r.violations = append(f.watch.stop(), broken...)
	return r, err
}

// prepareRound opens the wallets of a round and notes where everything stands.
func (f *campaign) prepareRound(ctx context.Context) (err error) {
	if f.wallets, err = load.OpenWallets(f.stack.APIURLs[0], f.stack.APIKey, 1+faultsOtherWallets); err != nil {
		return err
	}
	f.hot, f.told = f.wallets[0], nil
	if f.position, err = f.relayPosition(ctx); err != nil {
		return err
	}
	if f.offsets, err = f.committedOffsets(ctx); err != nil {
		return fmt.Errorf("read the committed offsets: %w", err)
	}
	return f.awaitCached(ctx)
}

// awaitCached returns when the apis cache what they read, which they do not for 5 s after some faults.
func (f *campaign) awaitCached(ctx context.Context) (err error) {
	c := load.Client{Addr: strings.TrimPrefix(f.stack.APIURLs[0], "http://"), APIKey: f.stack.APIKey, Timeout: 5 * time.Second}
	defer c.Close()
	found := false
	if !proc.Await(ctx, 20*time.Second, func() bool {
		if _, err = c.Do(http.MethodGet, "/api/v1/wallets/"+f.hot.String(), "", nil); err == nil {
			_, found, err = walletcache.Get(ctx, f.cache, f.hot)
		}
		return found && err == nil
	}) {
		return fmt.Errorf("nothing that is read is cached: %w", err)
	}
	return nil
}

// throw throws a fault and waits until the system works again.
func (f *campaign) throw(ctx context.Context, k kind) (t thrown, err error) {
	proc.Pause(ctx, time.Duration(f.random.Int64N(int64(300*time.Millisecond))))
	f.takeover.Store(0)
	f.watch.expect(k)
	t = thrown{kind: k.name, began: time.Now()}
	// What is stopped goes on even if the campaign is interrupted: nothing else could end it.
	heal := func() error { return k.heal(context.WithoutCancel(ctx)) }
	if err := k.throw(ctx); err != nil {
		return t, fmt.Errorf("throw: %w", err)
	}
	if k.heal != nil && k.holds > 0 {
		proc.Pause(ctx, k.holds)
		f.watch.told(k)
		if err := heal(); err != nil {
			return t, fmt.Errorf("heal: %w", err)
		}
	}
	t.recovery = f.awaitRecovery(ctx, k.name, k.within)
	if k.heal != nil && k.holds == 0 {
		if err := heal(); err != nil {
			return t, fmt.Errorf("heal: %w", err)
		}
		f.awaitRecovery(ctx, k.name+", after it was over", k.within)
	}
	t.ended, t.worst, t.takeover = time.Now(), f.watch.latest().worst, time.Duration(f.takeover.Load())
	if ctx.Err() != nil {
		return t, proc.ErrInterrupted
	}
	chains, err := f.brokenChains(ctx)
	if err != nil {
		return t, fmt.Errorf("follow the balances: %w", err)
	}
	for _, text := range chains {
		f.watch.violate("%s", text)
	}
	return t, nil
}

// worstAccept is the longest that a client waited for an operation that was due in between, or was
// just under way.
func worstAccept(told []load.Operation, from, to time.Time) (worst time.Duration) {
	const underWay = 50 * time.Millisecond
	for _, op := range told {
		if !op.Answered.IsZero() && op.Due.After(from.Add(-underWay)) && op.Due.Before(to) {
			worst = max(worst, op.Answered.Sub(op.Due))
		}
	}
	return worst
}

// awaitRecovery returns how long it took from now until the system worked again. Later than it
// promises is a violation.
func (f *campaign) awaitRecovery(ctx context.Context, of string, within time.Duration) time.Duration {
	took, late := f.awaitWorking(ctx, within, steadyFor)
	if late != "" && !f.unhurried {
		f.watch.violate("%s: %s", of, late)
	}
	return took
}

func (f *campaign) awaitWorking(ctx context.Context, within, steady time.Duration) (time.Duration, string) {
	began := time.Now()
	var steadySince time.Time
	for ctx.Err() == nil && time.Since(began) < f.patience {
		now := time.Now()
		switch p := f.watch.latest(); {
		case p.err != nil || p.oldest > worksWithin || now.Sub(p.moved) > worksWithin:
			steadySince = time.Time{}
		case steadySince.IsZero():
			steadySince = now
		}
		if !steadySince.IsZero() && now.Sub(steadySince) > steady {
			took := steadySince.Sub(began)
			if limit := within + time.Duration(f.watch.latest().most)*time.Second/drainRate; took > limit {
				return took, fmt.Sprintf("it recovered after %.1f s, not within %.1f s", took.Seconds(), limit.Seconds())
			}
			return took, ""
		}
		proc.Pause(ctx, 50*time.Millisecond)
	}
	p := f.watch.latest()
	return time.Since(began), fmt.Sprintf("it did not recover within %s: %d operations wait, %v", f.patience, p.backlog, p.err)
}
