package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A scenario is one load on a fresh stack.
type scenario struct {
	name          string
	wallets       int
	connections   int
	ratePerSecond int // 0: closed loop
	withoutKeys   bool
	doNothing     bool // against a server that does nothing: what the generator and the machine can do
}

var scenarios = []scenario{
	{name: "nothing, c=1", wallets: 1, connections: 1, doNothing: true},
	{name: "nothing, c=64", wallets: 1, connections: 64, doNothing: true},
	{name: "nothing, c=256", wallets: 1, connections: 256, doNothing: true},
	{name: "nothing, c=1000", wallets: 1, connections: 1000, doNothing: true},
	{name: "one wallet, c=1", wallets: 1, connections: 1},
	{name: "one wallet, c=64", wallets: 1, connections: 64},
	{name: "one wallet, c=256", wallets: 1, connections: 256},
	{name: "one wallet, c=1000", wallets: 1, connections: 1000},
	{name: "one wallet, c=256, no keys", wallets: 1, connections: 256, withoutKeys: true},
	{name: "one wallet, 1000/s", wallets: 1, connections: 256, ratePerSecond: 1000},
	{name: "10000 wallets, c=256", wallets: 10_000, connections: 256},
}

// tooBusyPercent is more than an idle machine's background work.
const tooBusyPercent = 15

// watchedWallets bounds what watching for applied operations costs.
const watchedWallets = 50

// result is what one scenario came to.
type result struct {
	Scenario       string             `json:"scenario"`
	Seconds        float64            `json:"seconds"`
	AcceptedPerSec float64            `json:"acceptedPerSecond"`
	AppliedPerSec  float64            `json:"appliedPerSecond"`
	AcceptMs       quantiles          `json:"acceptMs"`
	AppliedMs      quantiles          `json:"acceptToAppliedMs"`
	CPUMicrosPerOp map[string]float64 `json:"cpuMicrosPerOperation"`
	PeakRSSMiB     map[string]float64 `json:"peakRssMiB"`
	WALBytesPerOp  float64            `json:"walBytesPerOperation"`
	RatioToNothing float64            `json:"ratioToDoNothingServer,omitempty"`
	BrokenPromises []string           `json:"brokenPromises"`
	Failures       int64              `json:"failures"`
	scenario       scenario
	cpuOfSystem    float64
	cpuOfGenerator float64
}

type quantiles struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// report is what a run writes.
type report struct {
	Date              time.Time `json:"date"`
	Cores             int       `json:"cores"`
	Kafka             string    `json:"kafka"`
	Kernel            string    `json:"kernel"`
	FdatasyncP50Ms    float64   `json:"fdatasyncP50Ms"`
	BusyBeforePercent float64   `json:"cpuBusyBeforePercent"`
	Results           []result  `json:"results"`
}

// bench runs scenarios, each on a stack of its own, and prints a table. It reports nothing of a
// database that does not write to its disk.
func bench(ctx context.Context, c config, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "run the scenarios whose names match this `regexp`")
	seconds := flags.Duration("time", 10*time.Second, "how long each is measured")
	warmUp := flags.Duration("warm-up", 3*time.Second, "how long each runs before that")
	file := flags.String("json", "", "write the results to this `file` too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	root, err := workspace()
	if err != nil {
		return err
	}
	bin := filepath.Join(root, "bin")
	if err := build(ctx, root, bin, out); err != nil {
		return err
	}
	b := benchmark{config: c, bin: bin, warmUp: *warmUp, measured: *seconds, out: out}
	r, err := b.conditions()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n  %s, %d cores (%.0f %% busy before), fdatasync p50 %.2f ms, Kafka: %s; %s warm-up, %s measured\n",
		r.Kernel, r.Cores, r.BusyBeforePercent, r.FdatasyncP50Ms, r.Kafka, b.warmUp, b.measured)
	if r.BusyBeforePercent > tooBusyPercent {
		fmt.Fprintln(out, "  The machine is busy with something else: these figures say little.")
	}
	fmt.Fprintf(out, "\n%s\n", tableHead)
	for _, sc := range scenarios {
		if !chosen.MatchString(sc.name) {
			continue
		}
		result, err := b.run(ctx, sc)
		if ctx.Err() != nil {
			return errInterrupted
		}
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		result.compare(r.Results)
		r.Results = append(r.Results, result)
		fmt.Fprintln(out, result)
	}
	printCPU(out, r.Results)
	if *file != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*file, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	for _, result := range r.Results {
		if len(result.BrokenPromises) > 0 || result.Failures > 0 {
			return fmt.Errorf("%s: %d failures, broken promises: %q", result.Scenario, result.Failures, result.BrokenPromises)
		}
	}
	return nil
}

type benchmark struct {
	config           config
	bin              string
	warmUp, measured time.Duration
	out              io.Writer
}

// conditions are what the figures depend on.
func (b *benchmark) conditions() (report, error) {
	r := report{Date: time.Now().UTC(), Cores: runtime.NumCPU(), Kafka: b.config.kafka, Results: []result{}}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return r, err
	}
	r.Kernel = "Linux " + string(kernel[:len(kernel)-1])
	if r.FdatasyncP50Ms, err = measureFdatasync(); err != nil {
		return r, err
	}
	r.BusyBeforePercent, err = measureBusy(time.Second)
	return r, err
}

// run measures one scenario.
func (b *benchmark) run(ctx context.Context, sc scenario) (result, error) {
	state, err := temporaryState()
	if err != nil {
		return result{}, err
	}
	defer state.close()
	s := newStack(state, b.config, b.bin, io.Discard)
	defer s.stop()
	if sc.doNothing {
		if err := s.startNothing(ctx); err != nil {
			return result{}, err
		}
		return b.measure(ctx, s, sc, nil, []uuid.UUID{uuid.New()})
	}
	if err := s.start(ctx, b.config); err != nil {
		return result{}, err
	}
	conn, err := pgx.Connect(ctx, s.parts.databaseURL)
	if err != nil {
		return result{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := requireDurable(ctx, conn); err != nil {
		return result{}, err
	}
	wallets, err := openWallets(s.apiURLs[0], s.apiKey, sc.wallets)
	if err != nil {
		return result{}, err
	}
	return b.measure(ctx, s, sc, conn, wallets)
}

// measure runs the load. What is measured begins after the warm-up, by when operations were due.
func (b *benchmark) measure(ctx context.Context, s *stack, sc scenario, conn *pgx.Conn, wallets []uuid.UUID) (result, error) {
	l := &load{
		apis: s.apiURLs, apiKey: s.apiKey, wallets: wallets, connections: sc.connections, ratePerSecond: sc.ratePerSecond,
		duration: b.warmUp + b.measured, withoutKeys: sc.withoutKeys, attempt: 15 * time.Second, patience: time.Minute,
	}
	watch := &appliedWatch{}
	if conn != nil {
		var err error
		if watch, err = watchApplied(ctx, s.parts.databaseURL, wallets[:min(len(wallets), watchedWallets)], func(int64) {}); err != nil {
			return result{}, err
		}
	}
	sent := make(chan []operation, 1)
	go func() { sent <- l.send(ctx) }()
	begin, err := s.snapshot(ctx, conn, b.warmUp)
	if err != nil {
		return result{}, err
	}
	end, err := s.snapshot(ctx, conn, b.measured)
	if err != nil {
		return result{}, err
	}
	history := <-sent
	r := result{Scenario: sc.name, scenario: sc, Failures: l.failures.Load(), BrokenPromises: []string{}}
	if conn != nil {
		promises, err := s.checkPromises(ctx, conn, history)
		if err != nil {
			return r, err
		}
		if err := watch.stop(); err != nil {
			return r, err
		}
		for _, p := range promises {
			r.BrokenPromises = append(r.BrokenPromises, p.broken...)
		}
	}
	r.fill(begin, end, history, watch)
	return r, nil
}

// snapshot is the state of the system's counters at one moment.
type snapshot struct {
	at       time.Time
	used     map[string]usage
	applied  int64
	walBytes int64
}

// snapshot takes one after a wait.
func (s *stack) snapshot(ctx context.Context, conn *pgx.Conn, wait time.Duration) (snapshot, error) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return snapshot{}, ctx.Err()
	}
	shot := snapshot{at: time.Now(), used: s.measureUsage()}
	if conn == nil {
		return shot, nil
	}
	err := conn.QueryRow(ctx, "SELECT (SELECT sum(applied_seq) FROM wallets)::bigint, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").Scan(&shot.applied, &shot.walBytes)
	return shot, err
}

func (r *result) fill(begin, end snapshot, history []operation, watch *appliedWatch) {
	var measured []operation
	for _, op := range history {
		if op.due.After(begin.at) && op.due.Before(end.at) && !op.answered.IsZero() {
			measured = append(measured, op)
		}
	}
	answered := 0
	for _, op := range history {
		if op.answered.After(begin.at) && op.answered.Before(end.at) {
			answered++
		}
	}
	r.Seconds = end.at.Sub(begin.at).Seconds()
	r.AcceptedPerSec = float64(answered) / r.Seconds
	r.AppliedPerSec = float64(end.applied-begin.applied) / r.Seconds
	accept, applied := latencies(measured, watch)
	r.AcceptMs, r.AppliedMs = newQuantiles(accept), newQuantiles(applied)
	operations := max(1, float64(answered))
	r.WALBytesPerOp = float64(end.walBytes-begin.walBytes) / operations
	r.CPUMicrosPerOp, r.PeakRSSMiB = map[string]float64{}, map[string]float64{}
	for name, used := range end.used {
		cost := float64((used.cpu - begin.used[name].cpu).Microseconds()) / operations
		r.CPUMicrosPerOp[name] = cost
		if name == "generator" {
			r.cpuOfGenerator = cost
		} else {
			r.cpuOfSystem += cost
		}
		if used.rssMiB > 0 {
			r.PeakRSSMiB[name] = used.rssMiB
		}
	}
}

func newQuantiles(h *hdrhistogram.Histogram) quantiles {
	ms := func(percentile float64) float64 { return float64(h.ValueAtPercentile(percentile)) / 1000 }
	return quantiles{ms(50), ms(99), ms(99.9), ms(100)}
}

// compare finds the do-nothing server's rate at the same number of connections. In an open loop the
// rate says nothing.
func (r *result) compare(before []result) {
	for _, nothing := range before {
		if nothing.scenario.doNothing && !r.scenario.doNothing && r.scenario.ratePerSecond == 0 && nothing.scenario.connections == r.scenario.connections {
			r.RatioToNothing = r.AcceptedPerSec / nothing.AcceptedPerSec
		}
	}
}

const tableHead = `                             accepted  applied     accept, ms              applied, ms       CPU µs/operation    WAL     of
  scenario                     /s        /s     p50    p99   p99.9    p50    p99   p99.9   system  generator  B/op  nothing`

func (r result) String() string {
	ratio, applied, kept := "     -", "      -       -       -", ""
	if r.RatioToNothing > 0 {
		ratio = fmt.Sprintf("%6.2f", r.RatioToNothing)
	}
	if !r.scenario.doNothing {
		applied = fmt.Sprintf("%7.1f %7.1f %7.1f", r.AppliedMs.P50, r.AppliedMs.P99, r.AppliedMs.P999)
	}
	if len(r.BrokenPromises) > 0 || r.Failures > 0 {
		kept = "  BROKEN"
	}
	return fmt.Sprintf("  %-26s %8.0f %8.0f %7.2f %7.1f %7.1f %s %8.0f %8.0f %7.0f  %s%s", r.Scenario, r.AcceptedPerSec, r.AppliedPerSec,
		r.AcceptMs.P50, r.AcceptMs.P99, r.AcceptMs.P999, applied, r.cpuOfSystem, r.cpuOfGenerator, r.WALBytesPerOp, ratio, kept)
}

// printCPU shows where the time of an operation goes.
func printCPU(out io.Writer, results []result) {
	fmt.Fprintln(out, "\n  CPU µs per operation by process")
	for _, r := range results {
		fmt.Fprintf(out, "  %-26s", r.Scenario)
		for _, name := range slices.Sorted(maps.Keys(r.CPUMicrosPerOp)) {
			fmt.Fprintf(out, "  %s %.0f", name, r.CPUMicrosPerOp[name])
		}
		fmt.Fprintln(out)
	}
}

// requireDurable refuses a database that answers before its disk has.
func requireDurable(ctx context.Context, conn *pgx.Conn) error {
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return err
		}
		if value != "on" {
			return fmt.Errorf("Postgres runs with %s=%s: what that measures is not this system", name, value)
		}
	}
	return nil
}

// measureFdatasync is the time that the disk takes to keep what a small transaction writes.
func measureFdatasync() (p50Ms float64, err error) {
	file, err := os.CreateTemp("", "fdatasync-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	const rounds = 200
	block := make([]byte, 8192)
	var took []time.Duration
	for i := range int64(rounds) {
		started := time.Now()
		if _, err := file.WriteAt(block, i*int64(len(block))); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			return 0, err
		}
		took = append(took, time.Since(started))
	}
	slices.Sort(took)
	return float64(took[rounds/2].Microseconds()) / 1000, nil
}

// measureBusy tells how much of the machine something else takes.
func measureBusy(during time.Duration) (percent float64, err error) {
	read := func() (busy, total int64, err error) {
		text, err := os.ReadFile("/proc/stat")
		if err != nil {
			return 0, 0, err
		}
		var user, nice, system, idle, wait, irq, softirq, steal int64
		if _, err := fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal); err != nil {
			return 0, 0, err
		}
		busy = user + nice + system + irq + softirq + steal
		return busy, busy + idle + wait, nil
	}
	busy, total, err := read()
	if err != nil {
		return 0, err
	}
	time.Sleep(during)
	busyAfter, totalAfter, err := read()
	return 100 * float64(busyAfter-busy) / float64(max(1, totalAfter-total)), err
}

// startNothing starts the yardstick instead of the system.
func (s *stack) startNothing(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	p := &process{
		name: "nothing", argv: []string{self(), "nothing", address(port)}, log: s.state.log("nothing"),
		changed: func(string) {},
		ready: func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address(port))
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
	s.apiURLs = []string{"http://" + address(port)}
	s.services = []*process{p}
	return p.start(ctx)
}

// serveNothing reads requests and answers them like an api that has nothing to do.
func serveNothing(addr string) error {
	var sequence atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"operationId":"0d9f8b0e-8a37-5d0c-9c8e-0f7c8e0b7f11","walletId":"01a20d5d-ed73-7e8d-bc6e-41743501eb7e","sequence":%d,"operationType":"DEPOSIT","amount":1000,"status":"PENDING","createdAt":"2026-01-01T00:00:00.000000Z"}`, sequence.Add(1))
	})
	err := (&http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
