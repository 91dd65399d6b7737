// Package bench measures rates, latencies, CPU, memory and WAL by scenario, and the machine's own limits.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/local/bench/report"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/machine"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// tooBusyPercent is more than an idle machine's background work.
const tooBusyPercent = 15

// Run measures scenarios and baselines, prints a table, and writes what it is asked to. It reports
// nothing of a database that does not write to its disk.
func Run(ctx context.Context, c stack.Config, args []string, out io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if o.compare && !folders(o.compared) {
		return report.CompareFiles(out, o.compared, o.only)
	}
	chosen := o.scenarios()
	c.Redis = ""
	b := &benchmark{config: c, warmUp: o.warmUp, measured: o.measured, stallsWatched: o.stalls, out: out, programs: []string{""}}
	if o.compare {
		b.programs = o.compared
	}
	b.announce(chosen, o.runs)
	if o.list {
		return nil
	}
	if b.root, err = stack.Workspace(); err != nil {
		return err
	}
	b.bin = filepath.Join(b.root, "bin")
	if err := stack.Build(ctx, b.root, b.bin, out); err != nil {
		return err
	}
	r, err := b.conditions(o.runs)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n  %s, %d cores (%.0f %% busy before), fdatasync p50 %.2f ms, Kafka: %s, synchronous standbys: %d; %s warm-up, %s measured\n",
		r.Kernel, r.Cores, r.BusyBeforePercent, r.FdatasyncP50Ms, r.Kafka, r.Standbys, b.warmUp, b.measured)
	if r.BusyBeforePercent > tooBusyPercent {
		fmt.Fprintln(out, "  The machine is busy with something else: these figures say little.")
	}
	measured, broken, err := b.runAll(ctx, chosen, o.runs)
	if ctx.Err() != nil {
		return proc.ErrInterrupted
	}
	if err != nil {
		return err
	}
	if o.compare {
		before, after := r, r
		before.Commit, after.Commit = o.compared[0], o.compared[1]
		before.Results, after.Results = measured[0], measured[1]
		report.Compare(out, &before, &after, o.only)
		return broken
	}
	r.Results = measured[0]
	report.PrintCPU(out, r.Results)
	r.Judge()
	report.PrintTargets(out, r)
	if err := r.Write(o.json, o.folder); err != nil {
		return err
	}
	return broken
}

// folders says whether two folders of programs are compared, rather than two files of results.
func folders(compared []string) bool {
	return len(compared) == 2 && !slices.ContainsFunc(compared, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || !info.IsDir()
	})
}

type benchmark struct {
	config           stack.Config
	root, bin        string
	warmUp, measured time.Duration
	stallsWatched    time.Duration
	out              io.Writer
	programs         []string // folders of the services that are measured, in turn; "" are those of bin

	state   *proc.State // of the run: its Postgres, Redis and Kafka
	servers *servers.Backing
	run     []map[string]report.Figures // what this run has measured so far, by programs and scenario
}

// announce says what will run, and about how long that takes.
func (b *benchmark) announce(chosen []scenario, runs int) {
	total := time.Duration(0)
	for _, sc := range chosen {
		estimate := sc.estimate(b) * time.Duration(len(b.programs))
		fmt.Fprintf(b.out, "  %-32s about %3.0f s\n", sc.name, estimate.Seconds())
		total += estimate
	}
	ofARun := 15*time.Second + b.warming().estimate(b)
	fmt.Fprintf(b.out, "  %d scenarios, %d times: about %.0f minutes\n\n", len(chosen), runs, ((total+ofARun)*time.Duration(runs)).Minutes()+0.5)
}

// runAll runs everything once, then everything again, so that what changes on the machine meanwhile
// shows as spread. measured is by programs and scenario; programs that are compared take turns at being first.
// broken are the failures and broken promises; the figures are kept nevertheless.
func (b *benchmark) runAll(ctx context.Context, chosen []scenario, runs int) (measured [][]report.Result, broken, err error) {
	figures := make([][][]report.Figures, len(b.programs))
	for p := range figures {
		figures[p] = make([][]report.Figures, len(chosen))
	}
	for run := range runs {
		err := b.withServers(ctx, func() error {
			fmt.Fprintf(b.out, "\n  run %d of %d\n%s\n", run+1, runs, report.TableHead)
			for i, sc := range chosen {
				for turn := range b.programs {
					p := (turn + run) % len(b.programs)
					name := strings.TrimSpace(sc.name + " " + b.programs[p])
					f, err := b.scenario(ctx, sc, b.programs[p])
					var promises brokenError
					if errors.As(err, &promises) {
						broken = errors.Join(broken, fmt.Errorf("%s: %w", name, err))
					} else if err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
					b.run[p][sc.name] = f
					compare(f, sc, b.run[p])
					figures[p][i] = append(figures[p][i], f)
					fmt.Fprintln(b.out, f.Line(name, err != nil))
				}
			}
			return nil
		})
		if err != nil {
			return nil, broken, err
		}
	}
	for p := range figures {
		var results []report.Result
		for i, sc := range chosen {
			results = append(results, report.NewResult(sc.name, figures[p][i]))
		}
		measured = append(measured, results)
	}
	return measured, broken, nil
}

// warming is run before the scenarios of a run, whose first would otherwise pay for what Kafka compiles: it
// costs up to three times as much CPU at first.
func (b *benchmark) warming() scenario {
	return scenario{name: "warm-up", connections: 256, wallets: 1000, warmUp: 10 * time.Second}
}

// withServers starts Postgres, Redis and Kafka for one run. Scenarios have databases, topics and
// services of their own on them.
func (b *benchmark) withServers(ctx context.Context, run func() error) (err error) {
	if b.state, err = proc.TemporaryState(); err != nil {
		return err
	}
	defer b.state.Close()
	b.servers = stack.BackingOf(b.config)
	if err := b.servers.Start(ctx, b.state, b.out, func(string, string) {}); err != nil {
		return err
	}
	defer b.servers.Stop()
	if err := stack.NewOn(b.state, b.servers, b.config, b.bin, b.out).StartStandbys(ctx, b.config.Standbys); err != nil {
		return err
	}
	b.run = make([]map[string]report.Figures, len(b.programs))
	for p := range b.run {
		b.run[p] = map[string]report.Figures{}
	}
	warming := *b
	warming.measured = time.Second
	if _, err := warming.scenario(ctx, b.warming(), ""); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	return run()
}

// brokenError is what a scenario's operations came to against the promises.
type brokenError []string

func (e brokenError) Error() string { return strings.Join(e, "; ") }

// fixture is where one scenario runs: the services, started for it, with a new database and a new topic.
type fixture struct {
	benchmark *benchmark
	stack     *stack.Stack  // nil for a baseline
	idle      *proc.Process // does nothing, and is measured instead
	apis      []string      // where the load goes
	apiKey    string
	sc        scenario
	warmUp    time.Duration
	conn      *pgx.Conn
	// ballast is wallets whose operations are neither the load's nor in the log.
	ballast []uuid.UUID
	// settledAfter is how long the relay and the worker were busy after they had started on the ballast.
	settledAfter time.Duration
}

// scenario measures one scenario and checks every promise. Dropping the last scenario's database has
// made Postgres write everything out, so that each begins with a checkpoint behind it.
func (b *benchmark) scenario(ctx context.Context, sc scenario, programs string) (f report.Figures, err error) {
	t := &fixture{benchmark: b, sc: sc, warmUp: max(b.warmUp, sc.warmUp)}
	if sc.baseline {
		return sc.run(t, ctx)
	}
	c := b.config
	c.Standbys = 0 // all scenarios have those of the run
	c.Topic = "bench-" + uuid.NewString()[:8]
	c.EventsTopic, c.Hooks = c.Topic+"-events", 0 // without webhooks, so that events alone are compared with none
	if sc.noEvents || programs != "" && !tellOfEvents(programs) {
		c.EventsTopic = ""
	}
	c.Env = append([]string{"KAFKA_GROUP=" + c.Topic}, sc.env...)
	url, drop, err := b.newDatabase(ctx, strings.ReplaceAll(c.Topic, "-", "_"))
	if err != nil {
		return nil, err
	}
	defer drop()
	servers := &servers.Backing{DatabaseURL: url, RedisURL: b.servers.RedisURL, KafkaBrokers: b.servers.KafkaBrokers, Brokers: b.servers.Brokers, Processes: b.servers.Processes}
	t.stack = stack.NewOn(b.state, servers, c, b.bin, io.Discard)
	defer func() { proc.StopAll(t.stack.Services) }()
	if programs != "" {
		for _, service := range []string{"api", "relay", "worker"} {
			if err := t.stack.Replace(ctx, service, filepath.Join(programs, service)); err != nil {
				return nil, err
			}
		}
	}
	if err := t.stack.Start(ctx, c); err != nil {
		return nil, err
	}
	t.apis, t.apiKey = t.stack.APIURLs, t.stack.APIKey
	if t.conn, err = pgx.Connect(ctx, url); err != nil {
		return nil, err
	}
	defer t.conn.Close(context.WithoutCancel(ctx))
	if err := check.RequireDurable(ctx, t.conn); err != nil {
		return nil, err
	}
	run := sc.run
	if run == nil {
		run = (*fixture).loaded
	}
	return run(t, ctx)
}

// tellOfEvents says whether programs have outcomes told of: those before v0.2.0 have no hooks beside them.
func tellOfEvents(programs string) bool {
	_, err := os.Stat(filepath.Join(programs, "hooks"))
	return err == nil
}

// newDatabase names a database, which migrating creates.
func (b *benchmark) newDatabase(ctx context.Context, name string) (url string, drop func(), err error) {
	config, err := pgx.ParseConfig(b.servers.DatabaseURL)
	if err != nil {
		return "", nil, err
	}
	url = fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable", config.User, config.Password, config.Host, config.Port, name)
	return url, func() {
		ctx := context.WithoutCancel(ctx)
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return
		}
		defer conn.Close(ctx)
		_, _ = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	}, nil
}

// conditions are what the figures depend on.
func (b *benchmark) conditions(runs int) (report.Report, error) {
	r := report.Report{
		Date: time.Now().UTC(), Cores: runtime.NumCPU(), Kafka: b.config.Kafka, Standbys: b.config.Standbys, Runs: runs,
		WarmUp: b.warmUp.String(), Measured: b.measured.String(), Commit: commit(b.root),
	}
	var err error
	if r.Kernel, err = machine.Kernel(); err != nil {
		return r, err
	}
	if r.FdatasyncP50Ms, err = machine.MeasureFdatasync(); err != nil {
		return r, err
	}
	r.BusyBeforePercent, err = machine.MeasureBusy(time.Second)
	return r, err
}
