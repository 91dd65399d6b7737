package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/machine"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// report is what a campaign came to.
type report struct {
	Date              time.Time                   `json:"date"`
	Command           string                      `json:"command"`
	Seed              uint64                      `json:"seed"`
	Conditions        string                      `json:"conditions"`
	Seconds           float64                     `json:"seconds"`
	Faults            int                         `json:"faults"`
	Rounds            int                         `json:"rounds"`
	Accepted          int64                       `json:"accepted"`
	AcceptedPerSecond float64                     `json:"acceptedPerSecond"`
	NotAnswered       int64                       `json:"notAnswered"`
	Violations        int                         `json:"violations"`
	Kinds             []*record                   `json:"kinds"`
	Footprints        map[string]system.Footprint `json:"mostAfterARound"`
	Broken            []string                    `json:"broken"`
	Mutations         []caught                    `json:"mutations,omitempty"`
	loaded            time.Duration
}

// record is what came of one kind of fault.
type record struct {
	Name       string    `json:"fault"`
	Thrown     int       `json:"thrown"`
	Recoveries []float64 `json:"recoverySeconds"`
	// LongestWait is the longest that something has waited: an operation to be applied, or the hot
	// wallet to accept one.
	LongestWait float64 `json:"longestWaitSeconds"`
	// WorstAccept is the longest that a client waited for an answer, from when its operation was due.
	WorstAccept float64 `json:"worstAcceptSeconds"`
	// Takeover is the longest until another relay led.
	Takeover    float64 `json:"takeoverSeconds,omitempty"`
	Violations  int     `json:"violations"`
	NotPossible string  `json:"notPossible,omitempty"`
	// Webhooks is what their receiver got in the rounds of this fault.
	Webhooks webhooks `json:"webhooks,omitzero"`
}

// webhooks are operations, but for OutOfOrder, which are runs.
type webhooks struct {
	Rounds     int `json:"rounds"`
	Operations int `json:"operations"`
	Missed     int `json:"missed"`
	Doubled    int `json:"doubled"`
	OutOfOrder int `json:"outOfOrder"`
}

func (w *webhooks) add(r check.Receipt) {
	if r.Operations == 0 {
		return // nobody was told
	}
	w.Rounds++
	w.Operations, w.Missed, w.Doubled, w.OutOfOrder = w.Operations+r.Operations, w.Missed+r.Missed, w.Doubled+r.Doubled, w.OutOfOrder+r.OutOfOrder
}

func (r *record) add(t thrown, violations int, receipt check.Receipt) {
	r.Webhooks.add(receipt)
	r.Thrown++
	r.Recoveries = append(r.Recoveries, t.recovery.Seconds())
	r.LongestWait, r.WorstAccept = max(r.LongestWait, t.worst.Seconds()), max(r.WorstAccept, t.accept.Seconds())
	r.Takeover = max(r.Takeover, t.takeover.Seconds())
	r.Violations += violations
}

func (r *record) p50() float64 {
	if len(r.Recoveries) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Recoveries))
	return sorted[len(sorted)/2]
}

func (r *record) longest() float64 {
	if len(r.Recoveries) == 0 {
		return 0
	}
	return slices.Max(r.Recoveries)
}

// conditions says what the times depend on.
func conditions(kafka string) string {
	kernel, _ := machine.Kernel()
	busy, _ := machine.MeasureBusy(time.Second)
	fdatasync, _ := machine.MeasureFdatasync()
	return fmt.Sprintf("%s, %d cores (%.0f %% busy with something else before), everything on this one machine at nice %d, fdatasync p50 %.2f ms, Kafka: %s",
		kernel, runtime.NumCPU(), busy, machine.Niceness(), fdatasync, kafka)
}

func (r *report) summary() string {
	return fmt.Sprintf("%d faults in %d rounds and %.0f s; %d operations accepted, %.0f/s while clients sent; %d not answered within their patience; %d violations",
		r.Faults, r.Rounds, r.Seconds, r.Accepted, r.AcceptedPerSecond, r.NotAnswered, r.Violations)
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n  %-56s %6s %12s %6s %12s %12s %9s %10s\n", "fault", "thrown", "recovery p50", "max, s", "longest wait", "worst accept", "takeover", "violations")
	for _, k := range r.Kinds {
		if k.NotPossible != "" {
			fmt.Fprintf(out, "  %-56s %6s %s\n", k.Name, "-", k.NotPossible)
			continue
		}
		fmt.Fprintf(out, "  %-56s %6d %12.1f %6.1f %12.1f %12.1f %9s %10d\n", k.Name, k.Thrown, k.p50(), k.longest(), k.LongestWait, k.WorstAccept, k.takeover(), k.Violations)
	}
	fmt.Fprint(out, r.webhooks())
	for service, most := range r.Footprints {
		fmt.Fprintf(out, "  most after a round, %-8s %4.0f MiB, %4d goroutines\n", service, most.ResidentMiB, most.Goroutines)
	}
	fmt.Fprintf(out, "\n  %s\n", r.summary())
}

func (r *record) takeover() string {
	if r.Takeover == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r.Takeover)
}

// name is a part of the file names, by servers and minutes.
func (r *report) name(c stack.Config, o options) string {
	if o.drill {
		return "drill"
	}
	backing := c.Kafka
	if c.Brokers > 1 {
		backing = fmt.Sprintf("%s-of-%d", c.Kafka, c.Brokers)
	}
	if c.Redis != "" {
		backing += "-" + c.Redis
	}
	return fmt.Sprintf("%s-%.0fm", backing, r.Seconds/60)
}

// write keeps the report as faults-DATE-SERVERS-MINUTES in a folder, for people and for programs.
func (r *report) write(folder, name string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(folder, "faults-"+r.Date.Format("2006-01-02")+"-"+name)
	if err := os.WriteFile(path+".json", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(path+".md", []byte(r.markdown()), 0o644)
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Faults, %s\n\n`%s`, seed %d. %s.\n\n", r.Date.Format("2006-01-02 15:04 MST"), r.Command, r.Seed, r.Conditions)
	if len(r.Mutations) > 0 {
		b.WriteString("Each row is a campaign on programs built without one rule. One that finds nothing would prove nothing.\n\n")
		b.WriteString("| rule removed | how it was caught | what was seen first | after, s |\n|---|---|---|---:|\n")
		for _, m := range r.Mutations {
			fmt.Fprintf(&b, "| %s | %s | %s | %.0f |\n", m.Rule, m.By, strings.ReplaceAll(m.Seen, "|", "/"), m.Seconds)
		}
		return b.String()
	}
	fmt.Fprintf(&b, "**%s.**\n\n", r.summary())
	b.WriteString("Recovery is the time from the fault, or from its end if it says how long it lasts, until for a second and a half the hot wallet accepted and no operation waited longer than a second to be applied. " +
		"The longest wait is of an operation to be applied or of the hot wallet to accept one; the worst accept is what a client waited for its answer, from when its operation was due, meanwhile.\n\n")
	b.WriteString("| fault | thrown | recovery p50, s | max, s | longest wait, s | worst accept, s | relay takeover, s | violations |\n|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, k := range r.Kinds {
		if k.NotPossible != "" {
			fmt.Fprintf(&b, "| %s | not possible here: %s | | | | | | |\n", k.Name, k.NotPossible)
			continue
		}
		fmt.Fprintf(&b, "| %s | %d | %.1f | %.1f | %.1f | %.1f | %s | %d |\n", k.Name, k.Thrown, k.p50(), k.longest(), k.LongestWait, k.WorstAccept, k.takeover(), k.Violations)
	}
	b.WriteString(r.webhooks())
	b.WriteString("\n| service | most memory after a round, MiB | most goroutines |\n|---|---:|---:|\n")
	for _, service := range []string{"api", "relay", "worker", "hooks"} {
		most := r.Footprints[service]
		fmt.Fprintf(&b, "| %s | %.0f | %d |\n", service, most.ResidentMiB, most.Goroutines)
	}
	if len(r.Broken) > 0 {
		b.WriteString("\nBroken:\n\n")
		for _, text := range r.Broken {
			fmt.Fprintf(&b, "- %s\n", strings.TrimSpace(text))
		}
	}
	return b.String()
}

// webhooks says what their receiver got, if somebody was told.
func (r *report) webhooks() string {
	var b strings.Builder
	for _, k := range r.Kinds {
		if w := k.Webhooks; w.Rounds > 0 {
			fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", k.Name, w.Rounds, w.Operations, w.Missed, w.Doubled, w.OutOfOrder)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\nWhat a receiver of webhooks got in the rounds with a fault, of the operations that were finished. Out of order are runs of a wallet that came before those ahead of them.\n\n" +
		"| fault | rounds | operations | missed | doubled | out of order |\n|---|---:|---:|---:|---:|---:|\n" + b.String()
}
