// Package report is the benchmark's results: figures, their spread over the runs, the limits they have to
// keep, and the page and the file that show them.
package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Report is what a run of the benchmark comes to.
type Report struct {
	Date              time.Time `json:"date"`
	Commit            string    `json:"commit"`
	Cores             int       `json:"cores"`
	Kafka             string    `json:"kafka"`
	Standbys          int       `json:"standbys,omitempty"` // synchronous ones of Postgres
	Kernel            string    `json:"kernel"`
	FdatasyncP50Ms    float64   `json:"fdatasyncP50Ms"`
	BusyBeforePercent float64   `json:"cpuBusyBeforePercent"`
	Runs              int       `json:"runs"`
	WarmUp            string    `json:"warmUp"`
	Measured          string    `json:"measured"`
	Scaled            string    `json:"limitsScaled,omitempty"`
	Targets           []verdict `json:"targets"`
	Results           []Result  `json:"results"`
}

// Result is the median and the spread of a scenario's figures over the runs.
type Result struct {
	Scenario string            `json:"scenario"`
	Figures  map[Figure]spread `json:"figures"`
}

type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func NewResult(name string, runs []Figures) Result {
	r := Result{Scenario: name, Figures: map[Figure]spread{}}
	values := map[Figure][]float64{}
	for _, f := range runs {
		for name, value := range f {
			values[name] = append(values[name], value)
		}
	}
	for name, v := range values {
		slices.Sort(v)
		r.Figures[name] = spread{Median: (v[(len(v)-1)/2] + v[len(v)/2]) / 2, Min: v[0], Max: v[len(v)-1]}
	}
	return r
}

func (r *Report) figure(scenario string, name Figure) (spread, bool) {
	for _, result := range r.Results {
		if result.Scenario == scenario {
			value, found := result.Figures[name]
			return value, found
		}
	}
	return spread{}, false
}

// A target is a limit that a figure has to keep.
type target struct {
	scenario string
	figure   Figure
	limit    float64
	atLeast  bool
	scale    scale
}

// scale says how a limit moves with the machine.
type scale int

const (
	fixed   scale = iota // a ratio, or a size
	work                 // CPU time: with the do-nothing server's latency
	rate                 // the inverse of that
	latency              // with the slower of the disk and the do-nothing server
)

// PeersNothing is the scenario that shows how fast the machine is: unlike the load generator it does not
// change with this repository.
const PeersNothing = "nothing, by net/http, c=1"

// The machine that the limits were set on.
const (
	peersFdatasyncMs = 0.142
	peersNothingMs   = 0.14
	peersTolerance   = 0.25
)

func targets() []target {
	all := []target{
		{"one wallet, c=1", Latency("accept", "p50"), 2.5, false, latency},
		{"lone operations", Latency("applied", "p50"), 15, false, latency},
		{"one wallet, 1000/s", Latency("accept", "p99"), 15, false, latency},
		{"one wallet, 1000/s", Latency("applied", "p99"), 150, false, latency},
		{"interval 0, 1000/s", Latency("applied", "p99"), 40, false, latency},
		{"one wallet, 1000/s", CPU("system"), 600, false, work},
		{"stalls, 1000/s", Stalls, 0, false, fixed},
		{"batch of 100", OfPipeline, 0.8, true, fixed},
		{"batch of 100", Applied, 25_000, true, rate},
		{"10000 wallets, c=256", OfPipeline, 0.5, true, fixed},
		{"transfers, 10000 wallets, c=256", AcceptedOfDeposits, 0.4, true, fixed},
		{"transfers, 10000 wallets, c=256", SettledOfDeposits, 0.35, true, fixed},
		{"hold and capture, c=256", AcceptedOfDeposits, 0.9, true, fixed}, // two of them are a pair
		{"catch-up of 100000 transfers", OfAlone("accept", "p99"), 2, false, fixed},
		{"drain, one wallet", RelayOfLibrdkafka, 0.6, true, fixed},
		{"drain, one wallet", WorkerOperations, 40_000, true, rate},
		{"drain, 1000 wallets", WorkerOperations, 12_000, true, rate},
		{"stored 1000000", CPUOfEmpty, 1.25, false, fixed},
		{"stored 10000000", CPUOfEmpty, 1.25, false, fixed},
		{"every scenario", RSS("api"), 100, false, fixed},
		{"every scenario", RSS("relay"), 100, false, fixed},
		{"every scenario", RSS("worker"), 100, false, fixed},
	}
	for _, name := range []string{"neighbours", "neighbours of 5000/s"} {
		all = append(all, target{name, OfAlone("accept", "p99"), 2, false, fixed}, target{name, OfAlone("applied", "p99"), 2, false, fixed}, target{name, Refused, 0, false, fixed})
	}
	for _, c := range []int{256, 1000, 2000} {
		name := fmt.Sprintf("one wallet, c=%d", c)
		all = append(all, target{name, CPU("system"), 110, false, work}, target{name, CPU("generator"), 45, false, work}, target{name, Applied, 12_000, true, rate})
	}
	return all
}

// verdict is a target that was measured.
type verdict struct {
	Scenario string  `json:"scenario"`
	Figure   string  `json:"figure"`
	Wants    string  `json:"wants"`
	Measured float64 `json:"measured"`
	Met      bool    `json:"met"`
	// Scaled is the limit for this machine, where that is another one.
	Scaled    string `json:"scaled,omitempty"`
	MetScaled bool   `json:"metScaled"`
}

// Judge holds the figures against the targets.
func (r *Report) Judge() {
	nothing, found := r.figure(PeersNothing, Latency("accept", "p50"))
	disk, cpu := scaleOf(r.FdatasyncP50Ms/peersFdatasyncMs), 1.0
	if found { // else nobody asked for the baseline
		cpu = scaleOf(nothing.Median / peersNothingMs)
	}
	factors := map[scale]float64{fixed: 1, work: cpu, rate: 1 / cpu, latency: max(disk, cpu)}
	if disk != 1 || cpu != 1 {
		r.Scaled = fmt.Sprintf("This machine is not the one that the limits were set on: fdatasync p50 is %.2f ms (there %.3f)", r.FdatasyncP50Ms, peersFdatasyncMs)
		if found {
			r.Scaled += fmt.Sprintf(", the do-nothing server's at c=1 %.2f ms (there %.2f)", nothing.Median, peersNothingMs)
		}
		r.Scaled += fmt.Sprintf(". Scaled to it, CPU limits are multiplied by %.2f, rates by %.2f, latencies by %.2f.", cpu, 1/cpu, max(disk, cpu))
	}
	for i, result := range r.Results {
		empty, found := r.figure("stored 0", CPU("system"))
		if used, measured := result.Figures[CPU("system")]; found && measured && strings.HasPrefix(result.Scenario, "stored ") {
			ratio := used.Median / empty.Median
			r.Results[i].Figures[CPUOfEmpty] = spread{ratio, ratio, ratio}
		}
	}
	for _, t := range targets() {
		value, found := r.figure(t.scenario, t.figure)
		if t.scenario == "every scenario" {
			for _, result := range r.Results {
				if figure, measured := result.Figures[t.figure]; measured {
					value, found = spread{Median: max(value.Median, figure.Max)}, true
				}
			}
		}
		if found {
			v := verdict{Scenario: t.scenario, Figure: t.figure.String(), Measured: value.Median}
			v.Wants, v.Met = t.judge(value.Median, 1)
			if factors[t.scale] != 1 {
				v.Scaled, v.MetScaled = t.judge(value.Median, factors[t.scale])
			}
			r.Targets = append(r.Targets, v)
		}
	}
}

func (t target) judge(value, factor float64) (wants string, met bool) {
	if t.atLeast {
		return "≥ " + short(t.limit*factor), value >= t.limit*factor
	}
	return "≤ " + short(t.limit*factor), value <= t.limit*factor
}

// short writes a number with the digits that mean something.
func short(value float64) string {
	if value >= 100 {
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.3g", value)
}

// scaleOf leaves limits alone on a machine that is about as fast.
func scaleOf(ratio float64) float64 {
	if ratio > 1-peersTolerance && ratio < 1+peersTolerance {
		return 1
	}
	return ratio
}

func PrintTargets(out io.Writer, r Report) {
	if len(r.Targets) == 0 {
		return
	}
	fmt.Fprintf(out, "\n  Targets. %s\n", r.Scaled)
	marks := map[bool]string{true: "✓", false: "✗"}
	for _, v := range r.Targets {
		scaled := ""
		if v.Scaled != "" {
			scaled = fmt.Sprintf("   scaled %s %s", v.Scaled, marks[v.MetScaled])
		}
		fmt.Fprintf(out, "  %s %-24s %-24s %10s %10s%s\n", marks[v.Met], v.Scenario, v.Figure, v.Wants, short(v.Measured), scaled)
	}
}

//go:embed report.html
var reportHTML string

// Write keeps the results where they are asked for.
func (r *Report) Write(file, folder string) error {
	if file != "" {
		if err := r.writeJSON(file); err != nil {
			return err
		}
	}
	if folder == "" {
		return nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := r.writeJSON(filepath.Join(folder, "results.json")); err != nil {
		return err
	}
	page, err := os.Create(filepath.Join(folder, "report.html"))
	if err != nil {
		return err
	}
	defer page.Close()
	return r.writeHTML(page)
}

func (r *Report) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// plot is a bar chart of some figures over the scenarios that have them.
type plot struct {
	Title string
	Bars  []bar
}

type bar struct {
	Scenario string
	Y        int
	Parts    []part
	Text     string
	TextX    float64
}

type part struct {
	X, Width    float64
	Color, Name string
}

const (
	plotLeft  = 230
	plotWidth = 560
	barHeight = 22
)

var colors = []string{"#3366aa", "#77aadd", "#ee8866", "#bbcc33", "#aa4499", "#999933", "#44bb99", "#dddddd", "#ffaabb", "#222255", "#225555"}

// newPlot puts the figures of a scenario one behind the other if they add up, else over each other,
// the largest last.
func (r *Report) newPlot(title string, stacked bool, names ...Figure) plot {
	p := plot{Title: title}
	longest := 0.0
	for _, result := range r.Results {
		if stacked && result.Scenario == "lone operations" {
			continue // an idle system's CPU time, shared by a handful of operations
		}
		b := bar{Scenario: result.Scenario, Y: len(p.Bars) * barHeight}
		end := 0.0
		var texts []string
		for i, name := range names {
			value, found := result.Figures[name]
			if !found || value.Median <= 0 {
				continue
			}
			x := end
			if stacked {
				end += value.Median
			} else {
				end = max(end, value.Median)
			}
			b.Parts = append(b.Parts, part{x, end - x, colors[i%len(colors)], fmt.Sprintf("%s: %s (%s to %s)", name, short(value.Median), short(value.Min), short(value.Max))})
			texts = append(texts, short(value.Median))
		}
		if len(b.Parts) == 0 {
			continue
		}
		b.Text = strings.Join(texts, " / ")
		if stacked {
			b.Text = short(end)
		}
		b.TextX = end
		longest = max(longest, end)
		p.Bars = append(p.Bars, b)
	}
	for i := range p.Bars {
		toPixels := plotWidth / max(longest, 1e-9)
		p.Bars[i].TextX = plotLeft + p.Bars[i].TextX*toPixels + 5
		for j := range p.Bars[i].Parts {
			part := &p.Bars[i].Parts[j]
			part.X, part.Width = plotLeft+part.X*toPixels, part.Width*toPixels
		}
	}
	return p
}

// Height is that of the drawing.
func (p plot) Height() int { return len(p.Bars)*barHeight + 4 }

// Legend names the colours.
func (p plot) Legend() map[string]string {
	legend := map[string]string{}
	for _, b := range p.Bars {
		for _, part := range b.Parts {
			name, _, _ := strings.Cut(part.Name, ": ")
			legend[name] = part.Color
		}
	}
	return legend
}

func (r *Report) writeHTML(out io.Writer) error {
	cpu := map[Figure]bool{}
	columns := map[Figure]bool{}
	for _, result := range r.Results {
		for name := range result.Figures {
			columns[name] = true
			if _, found := name.process(); found {
				cpu[name] = true
			}
		}
	}
	page, err := template.New("report").Funcs(template.FuncMap{"short": short}).Parse(reportHTML)
	if err != nil {
		return err
	}
	return page.Execute(out, map[string]any{
		"Report": r, "Figures": sorted(columns),
		"Plots": []plot{
			r.newPlot("Accepted and applied operations a second", false, Accepted, Applied),
			r.newPlot("CPU µs per operation, by process", true, sorted(cpu)...),
			r.newPlot("Until accepted: p50 / p99 / p99.9, ms", false, Latency("accept", "p50"), Latency("accept", "p99"), Latency("accept", "p99.9")),
			r.newPlot("Until applied: p50 / p99 / p99.9, ms", false, Latency("applied", "p50"), Latency("applied", "p99"), Latency("applied", "p99.9")),
			r.newPlot("Drained and raw librdkafka, a second", false, RelayRows, WorkerOperations, Produced, Consumed),
			r.newPlot("Ratio to the do-nothing server and to the database pipeline", false, OfNothing, OfPipeline),
			r.newPlot("WAL bytes per operation", false, WAL),
			r.newPlot("RSS of api / relay / worker, MiB", false, RSS("api"), RSS("relay"), RSS("worker")),
		},
	})
}

// CompareFiles is Compare of two kept results.
func CompareFiles(out io.Writer, files []string, scenarios *regexp.Regexp) error {
	if len(files) != 2 {
		return fmt.Errorf("-compare wants two files of results or two folders of programs, not %d paths", len(files))
	}
	var reports [2]Report
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &reports[i]); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	Compare(out, &reports[0], &reports[1], scenarios)
	return nil
}

// Compare prints the figures of two results next to each other.
func Compare(out io.Writer, before, after *Report, scenarios *regexp.Regexp) {
	fmt.Fprintf(out, "  %s → %s; a ratio is followed by ! where the two spreads do not touch\n", before.Commit, after.Commit)
	for _, result := range after.Results {
		if !scenarios.MatchString(result.Scenario) {
			continue
		}
		fmt.Fprintf(out, "\n  %s\n", result.Scenario)
		for _, name := range sorted(result.Figures) {
			now := result.Figures[name]
			was, found := before.figure(result.Scenario, name)
			if !found || was.Median == 0 {
				continue
			}
			mark := ""
			if now.Min > was.Max || now.Max < was.Min {
				mark = " !"
			}
			fmt.Fprintf(out, "    %-28s %12s %12s %6.2f%s\n", name, short(was.Median), short(now.Median), now.Median/was.Median, mark)
		}
	}
}
