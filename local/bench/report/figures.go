package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Figures are what one run of a scenario came to.
type Figures map[Figure]float64

// Quantiles adds those of the time until something.
func (f Figures) Quantiles(until string, h *hdrhistogram.Histogram) {
	if h.TotalCount() == 0 {
		return
	}
	for quantile, percentile := range map[string]float64{"p50": 50, "p99": 99, "p99.9": 99.9, "max": 100} {
		f[Latency(until, quantile)] = float64(h.ValueAtPercentile(percentile)) / 1000
	}
}

// TableHead is over the lines.
const TableHead = `                                  accepted  applied     accept, ms              applied, ms        CPU µs/operation    WAL  trips     of      of
  scenario                          /s        /s     p50    p99   p99.9    p50     p99   p99.9   system  generator  B/op    /op  nothing pipeline`

// Line is a row of the table. What is not in the table, a drain's rates, follows it.
func (f Figures) Line(name string, broken bool) string {
	cell := func(format string, figure Figure) string {
		value, found := f[figure]
		if !found {
			return fmt.Sprintf("%*s", len(fmt.Sprintf(format, 0.0)), "-")
		}
		return fmt.Sprintf(format, value)
	}
	line := fmt.Sprintf("  %-32s", name)
	for _, column := range []struct {
		format string
		figure Figure
	}{
		{"%8.0f", Accepted},
		{" %8.0f", Applied},
		{" %7.2f", Latency("accept", "p50")},
		{" %7.1f", Latency("accept", "p99")},
		{" %7.1f", Latency("accept", "p99.9")},
		{" %7.1f", Latency("applied", "p50")},
		{" %7.1f", Latency("applied", "p99")},
		{" %7.1f", Latency("applied", "p99.9")},
		{" %8.0f", CPU("system")},
		{" %8.0f", CPU("generator")},
		{" %7.0f", WAL},
		{" %6.2f", RoundTrips},
		{" %7.2f", OfNothing},
		{" %7.2f", OfPipeline},
	} {
		line += cell(column.format, column.figure)
	}
	for _, name := range sorted(f) {
		if slices.Contains(ownLine, name) && (f[name] > 0 || name != Refused) {
			line += fmt.Sprintf("\n      %s %s", name, short(f[name]))
		}
	}
	if broken {
		line += "  BROKEN"
	}
	return line
}

// ownLine are the figures that only some scenarios have, or that should be none.
var ownLine = []Figure{
	PipelineAccepted, PipelineApplied, Produced, Consumed, RelayRows, WorkerOperations, RelayOfLibrdkafka,
	WorkerOfLibrdkafka, Settled, AcceptedOfDeposits, SettledOfDeposits, Reads, Latency("read", "p50"), Latency("read", "p99"), Latency("accept", "p99").Of("neighbours alone"), Latency("applied", "p99").Of("neighbours alone"),
	Latency("accept", "p99").Of("neighbours"), Latency("applied", "p99").Of("neighbours"), Latency("accept", "p99").Of("deposits alone"), Latency("accept", "p99").Of("deposits"), OfAlone("accept", "p99"), OfAlone("applied", "p99"), Refused, Stalls,
	IdleAfterStart, VerifyTook, VerifiedOperations, RSS("verify"), IdleCPU("api"), IdleCPU("relay"), IdleCPU("worker"), IdleCPU("postgres"), IdleCPU("kafka"), IdleCPU("redis"), CPU("system").Of("relay").PerRow(), CPU("system").Of("worker"),
}

// PrintCPU shows where the time of an operation goes.
func PrintCPU(out io.Writer, results []Result) {
	fmt.Fprintln(out, "\n  CPU µs per operation by process; RSS MiB; operations per flush, rows per wave, messages per batch")
	for _, r := range results {
		fmt.Fprintf(out, "  %-32s", r.Scenario)
		for _, name := range sorted(r.Figures) {
			if process, found := name.process(); found {
				fmt.Fprintf(out, "  %s %.0f", process, r.Figures[name].Median)
			}
		}
		for _, name := range []Figure{RSS("api"), RSS("relay"), RSS("worker"), OperationsPerFlush, RowsPerBatch, MessagesPerBatch} {
			if value, found := r.Figures[name]; found {
				fmt.Fprintf(out, "  %s %.0f", strings.TrimSuffix(name.String(), " MiB"), value.Median)
			}
		}
		fmt.Fprintln(out)
	}
}

// sorted are the figures by name.
func sorted[T any](of map[Figure]T) []Figure { return slices.SortedFunc(maps.Keys(of), Figure.compare) }
