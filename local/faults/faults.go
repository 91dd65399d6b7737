package faults

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
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/faults/kinds"
	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

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

// Run runs a campaign for a while and returns an error if a promise was broken.
func Run(ctx context.Context, c stack.Config, args []string, out io.Writer) error {
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
	fmt.Fprintf(out, "Legendary Wallet: faults for %s under %d operations a second. SEED=%d throws them in this order again.\n\n", options.duration, system.RatePerSecond, options.seed)
	kafka, file := c.Kafka, c.Kafka
	if c.Brokers > 1 {
		kafka, file = fmt.Sprintf("%s BROKERS=%d", c.Kafka, c.Brokers), fmt.Sprintf("%s-of-%d", c.Kafka, c.Brokers)
	}
	conditions := faultsConditions(kafka)
	fmt.Fprintf(out, "  %s\n", conditions)
	f, err := system.Start(ctx, c, root, options.seed, out)
	if err != nil {
		return err
	}
	defer f.Close()
	f.Away = options.away
	var chosen []system.Fault
	for _, k := range kinds.All(f) {
		if options.only.MatchString(k.Name) {
			chosen = append(chosen, k)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no fault matches %s", options.only)
	}
	report := &faultsReport{
		Date: time.Now().UTC(), Seed: options.seed, Conditions: conditions, Footprints: f.Footprints,
		Command: fmt.Sprintf("make faults KAFKA=%s SEED=%d DURATION=%s", kafka, options.seed, options.duration),
	}
	if options.drill {
		report.Command = fmt.Sprintf("make faults KAFKA=%s SEED=%d ARGS=-drill", kafka, options.seed)
	} else if rest := options.rest(); rest != "" {
		report.Command += fmt.Sprintf(" ARGS='%s'", rest)
	}
	err = runCampaign(ctx, f, chosen, options, report, out)
	if err != nil && ctx.Err() == nil {
		kept := filepath.Join(root, ".local", fmt.Sprintf("faults-%d-%d", options.seed, os.Getpid()))
		if copyErr := os.CopyFS(kept, os.DirFS(filepath.Join(f.Stack.State.Dir, "logs"))); copyErr == nil {
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

// runCampaign throws the kinds in a random order, all of them before any comes again, prints a line for each
// and the report at the end.
func runCampaign(ctx context.Context, f *system.System, kinds []system.Fault, o faultsOptions, report *faultsReport, out io.Writer) (failure error) {
	records := map[string]*record{}
	for _, k := range kinds {
		records[k.Name] = &record{Name: k.Name, NotPossible: k.NotPossible}
		report.Kinds = append(report.Kinds, records[k.Name])
	}
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(k system.Fault) bool { return k.NotPossible != "" })
	fmt.Fprintf(out, "\n  fault    time\n")
	began := time.Now()
	var deck []system.Fault
	for times := 0; failure == nil && len(kinds) > 0; {
		if len(deck) == 0 {
			if o.times > 0 && times == o.times {
				break
			}
			times++
			for _, i := range f.Random.Perm(len(kinds)) {
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
		r, failure = runRound(ctx, f, hand)
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
	} else if audit := check.Audit(ctx, f.Stack.Verify); len(audit.Broken) > 0 {
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
func deal(deck []system.Fault) []system.Fault {
	const handTime, each, most = 18 * time.Second, 2 * time.Second, 6
	var sum time.Duration
	for i, k := range deck {
		sum += k.Holds + each
		alone := k.Within != system.OfService || k.LosesLog
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

// runRound throws some faults, one after the other. An error means that the campaign cannot go on; what
// speaks against the system is a violation.
func runRound(ctx context.Context, f *system.System, kinds []system.Fault) (r round, err error) {
	prepared := func() bool { err = f.PrepareRound(ctx); return err == nil }
	if !proc.Await(ctx, system.GivenUp, prepared) {
		return r, err
	}
	l := &load.Load{
		APIs: f.Stack.APIURLs, APIKey: f.Stack.APIKey, Wallets: append(slices.Repeat(f.Wallets[:1], system.OtherWallets), f.Wallets[1:]...),
		Connections: 100, RatePerSecond: system.RatePerSecond, Duration: time.Hour, ResendPercent: 2,
		Attempt: 5 * time.Second, Patience: time.Minute,
	}
	f.Load = l
	history := make(chan []load.Operation, 1)
	began := time.Now()
	go func() { history <- l.Send(ctx) }()
	defer l.End()
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	f.Watch = f.StartWatch(ctx)
	defer f.Watch.End()
	go f.ReadWallets(reading, f.Watch, f.Wallets[:3])
	const aMoment = 300 * time.Millisecond
	if _, late := f.AwaitWorking(ctx, system.OfService, aMoment); late != "" && !f.Unhurried {
		f.Watch.Violate("before the fault: %s", late)
	}
	// The order is by name, which is what the seed and a report know a fault by.
	for _, k := range kinds {
		t, err := throw(ctx, f, k)
		if err != nil {
			f.Watch.Violate("%s could not be thrown: %v", k.Name, err)
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
	told = append(told, f.Told...)
	if ctx.Err() != nil {
		return r, proc.ErrInterrupted
	}
	broken, err := f.CheckRound(ctx, kinds, told)
	r.violations = append(f.Watch.Stop(), broken...)
	return r, err
}

// throw throws a fault and waits until the system works again.
func throw(ctx context.Context, f *system.System, k system.Fault) (t thrown, err error) {
	proc.Pause(ctx, time.Duration(f.Random.Int64N(int64(300*time.Millisecond))))
	f.Takeover.Store(0)
	f.Watch.Expect(k)
	t = thrown{kind: k.Name, began: time.Now()}
	// What is stopped goes on even if the campaign is interrupted: nothing else could end it.
	heal := func() error { return k.Heal(context.WithoutCancel(ctx)) }
	if err := k.Throw(ctx); err != nil {
		return t, fmt.Errorf("throw: %w", err)
	}
	if k.Heal != nil && k.Holds > 0 {
		proc.Pause(ctx, k.Holds)
		f.Watch.Told(k)
		if err := heal(); err != nil {
			return t, fmt.Errorf("heal: %w", err)
		}
	}
	t.recovery = f.AwaitRecovery(ctx, k.Name, k.Within)
	if k.Heal != nil && k.Holds == 0 {
		if err := heal(); err != nil {
			return t, fmt.Errorf("heal: %w", err)
		}
		f.AwaitRecovery(ctx, k.Name+", after it was over", k.Within)
	}
	t.ended, t.worst, t.takeover = time.Now(), f.Watch.Latest().Worst, time.Duration(f.Takeover.Load())
	if ctx.Err() != nil {
		return t, proc.ErrInterrupted
	}
	chains, err := f.BrokenChains(ctx)
	if err != nil {
		return t, fmt.Errorf("follow the balances: %w", err)
	}
	for _, text := range chains {
		f.Watch.Violate("%s", text)
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
