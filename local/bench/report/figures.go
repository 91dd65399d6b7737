package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Figures are what one run of a scenario came to, by name; the unit is part of the name.
type Figures map[string]float64

func (f Figures) Quantiles(name string, h *hdrhistogram.Histogram) {
	if h.TotalCount() == 0 {
		return
	}
	for quantile, percentile := range map[string]float64{"p50": 50, "p99": 99, "p99.9": 99.9, "max": 100} {
		f[name+" "+quantile+" ms"] = float64(h.ValueAtPercentile(percentile)) / 1000
	}
}

const TableHead = `                                  accepted  applied     accept, ms              applied, ms        CPU µs/operation    WAL  trips     of      of
  scenario                          /s        /s     p50    p99   p99.9    p50     p99   p99.9   system  generator  B/op    /op  nothing pipeline`

// Line is a row of the table. What is not in the table, a drain's rates, follows it.
func (f Figures) Line(name string, broken bool) string {
	cell := func(format, figure string) string {
		value, found := f[figure]
		if !found {
			return fmt.Sprintf("%*s", len(fmt.Sprintf(format, 0.0)), "-")
		}
		return fmt.Sprintf(format, value)
	}
	line := fmt.Sprintf("  %-32s", name)
	for _, column := range []struct{ format, figure string }{
		{"%8.0f", "accepted/s"},
		{" %8.0f", "applied/s"},
		{" %7.2f", "accept p50 ms"},
		{" %7.1f", "accept p99 ms"},
		{" %7.1f", "accept p99.9 ms"},
		{" %7.1f", "applied p50 ms"},
		{" %7.1f", "applied p99 ms"},
		{" %7.1f", "applied p99.9 ms"},
		{" %8.0f", "CPU system µs/op"},
		{" %8.0f", "CPU generator µs/op"},
		{" %7.0f", "WAL B/op"},
		{" %6.2f", "round trips/op"},
		{" %7.2f", "of nothing"},
		{" %7.2f", "of pipeline"},
	} {
		line += cell(column.format, column.figure)
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if slices.Contains(ownLine, name) && (f[name] > 0 || !strings.Contains(name, "503")) {
			line += fmt.Sprintf("\n      %s %s", name, short(f[name]))
		}
	}
	if broken {
		line += "  BROKEN"
	}
	return line
}

// ownLine are the figures that only some scenarios have, or that should be none.
var ownLine = []string{
	"pipeline accepted/s", "pipeline applied/s", "produced/s", "consumed/s", "relay rows/s", "worker operations/s", "relay of librdkafka",
	"worker of librdkafka", "reads/s", "read p50 ms", "read p99 ms", "neighbours alone accept p99 ms", "neighbours alone applied p99 ms",
	"neighbours accept p99 ms", "neighbours applied p99 ms", "accept p99 of alone", "applied p99 of alone", "answers 503", "stalls over 200 ms",
	"quiet after a start s", "relay CPU system µs/row", "worker CPU system µs/op",
}

// PrintCPU shows where the time of an operation goes.
func PrintCPU(out io.Writer, results []result) {
	fmt.Fprintln(out, "\n  CPU µs per operation by process; RSS MiB; operations per flush, rows per wave, messages per batch")
	for _, r := range results {
		fmt.Fprintf(out, "  %-32s", r.Scenario)
		for _, name := range slices.Sorted(maps.Keys(r.Figures)) {
			if process, found := strings.CutPrefix(name, "CPU "); found && !strings.Contains(name, "system") {
				fmt.Fprintf(out, "  %s %.0f", strings.TrimSuffix(process, " µs/op"), r.Figures[name].Median)
			}
		}
		for _, name := range []string{"RSS api MiB", "RSS relay MiB", "RSS worker MiB", "operations/flush", "rows/wave", "messages/batch"} {
			if value, found := r.Figures[name]; found {
				fmt.Fprintf(out, "  %s %.0f", strings.TrimSuffix(name, " MiB"), value.Median)
			}
		}
		fmt.Fprintln(out)
	}
}
