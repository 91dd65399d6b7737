package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// newest is the newest result of each kind. A kind is what follows the date in a folder's name.
type newest struct {
	All       *results // all scenarios
	Stalls    *results // ten minutes at 1,000/s
	Stored    *results // on stored operations
	Stored50M *results // on 50,000,000
	Faults    *faults  // the campaign of all kinds on Apache Kafka
	KFake     *faults  // that with broker faults
}

// results are what a run of the benchmark wrote.
type results struct {
	Folder   string    `json:"-"` // from the top of the repository, with slashes
	Date     time.Time `json:"date"`
	Commit   string    `json:"commit"`
	Cores    int       `json:"cores"`
	Kafka    string    `json:"kafka"`
	Kernel   string    `json:"kernel"`
	Disk     float64   `json:"fdatasyncP50Ms"`
	Busy     float64   `json:"cpuBusyBeforePercent"`
	Runs     int       `json:"runs"`
	WarmUp   string    `json:"warmUp"`
	Measured string    `json:"measured"`
	Scaled   string    `json:"limitsScaled"`
	Targets  []target  `json:"targets"`
	Results  []struct {
		Scenario string            `json:"scenario"`
		Figures  map[string]spread `json:"figures"`
	} `json:"results"`
}

type spread struct{ Median, Min, Max float64 }

// target is a limit that a figure has to keep, and whether it does.
type target struct {
	Scenario  string  `json:"scenario"`
	Figure    string  `json:"figure"`
	Wants     string  `json:"wants"`
	Measured  float64 `json:"measured"`
	Met       bool    `json:"met"`
	Scaled    string  `json:"scaled"`
	MetScaled bool    `json:"metScaled"`
}

// Day is the date in UTC.
func (r *results) Day() string { return r.Date.UTC().Format(time.DateOnly) }

// Spread returns a figure of a scenario over the runs.
func (r *results) Spread(scenario, figure string) (spread, error) {
	for _, result := range r.Results {
		if value, found := result.Figures[figure]; found && result.Scenario == scenario {
			return value, nil
		}
	}
	return spread{}, fmt.Errorf("%s has no %q of %q", r.Folder, figure, scenario)
}

// Median returns the median of a figure. A figure that is missing is an error, so that no page is written without it.
func (r *results) Median(scenario, figure string) (float64, error) {
	value, err := r.Spread(scenario, figure)
	return value.Median, err
}

// load is a row of the tables of rates and latencies.
type load struct {
	Name                                                                 string
	Accepted, Applied, AcceptP50, AcceptP99, AppliedP50, AppliedP99, CPU float64
}

// Load returns the row of a scenario under a name that a reader understands.
func (r *results) Load(name, scenario string) (load, error) {
	l := load{Name: name}
	var missing []error
	for figure, into := range map[string]*float64{
		"accepted/s": &l.Accepted, "applied/s": &l.Applied, "CPU system µs/op": &l.CPU,
		"accept p50 ms": &l.AcceptP50, "accept p99 ms": &l.AcceptP99,
		"applied p50 ms": &l.AppliedP50, "applied p99 ms": &l.AppliedP99,
	} {
		var err error
		if *into, err = r.Median(scenario, figure); err != nil {
			missing = append(missing, err)
		}
	}
	return l, errors.Join(missing...)
}

// share is what each process of a scenario uses, in µs of CPU an operation.
type share struct {
	Name    string
	Figures []float64
}

// processes are the columns of a share. Postgres is split by the login that it works for.
var processes = []string{"api", "postgres for api", "kafka", "relay", "worker", "postgres for relay", "postgres for worker", "redis", "system", "generator"}

// Share returns the CPU of the processes in a scenario.
func (r *results) Share(name, scenario string) (share, error) {
	s := share{Name: name}
	for _, process := range processes {
		value, err := r.Median(scenario, "CPU "+process+" µs/op")
		if err != nil {
			return s, err
		}
		s.Figures = append(s.Figures, value)
	}
	return s, nil
}

// faults are what a fault campaign wrote.
type faults struct {
	File       string    `json:"-"` // from the top of the repository, without its ending
	Date       time.Time `json:"date"`
	Command    string    `json:"command"`
	Conditions string    `json:"conditions"`
	Seconds    float64   `json:"seconds"`
	Faults     float64   `json:"faults"`
	Accepted   float64   `json:"accepted"`
	Violations float64   `json:"violations"`
	Kinds      []struct {
		Name        string `json:"fault"`
		Thrown      int    `json:"thrown"`
		NotPossible string `json:"notPossible"`
	} `json:"kinds"`
}

func (f *faults) Day() string { return f.Date.UTC().Format(time.DateOnly) }

func (f *faults) Minutes() float64 { return f.Seconds / 60 }

// Thrown is how many kinds of faults were thrown at all.
func (f *faults) Thrown() (kinds float64) {
	for _, kind := range f.Kinds {
		if kind.Thrown > 0 {
			kinds++
		}
	}
	return kinds
}

var dated = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-.+)?$`)

func readNewest(root string) (*newest, error) {
	n := &newest{}
	kinds := map[string]**results{"": &n.All, "-stalls": &n.Stalls, "-stored": &n.Stored, "-stored-50m": &n.Stored50M}
	files, err := filepath.Glob(filepath.Join(root, "local", "results", "*", "results.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		folder := filepath.Base(filepath.Dir(file))
		name := dated.FindStringSubmatch(folder)
		if name == nil || kinds[name[1]] == nil {
			continue // of a kind that no page quotes
		}
		r := &results{Folder: "local/results/" + folder}
		if err := readJSON(file, r); err != nil {
			return nil, err
		}
		if kept := kinds[name[1]]; *kept == nil || r.Date.After((*kept).Date) {
			*kept = r
		}
	}
	for kind, r := range kinds {
		if *r == nil {
			return nil, fmt.Errorf("local/results has no DATE%s", kind)
		}
	}
	return n, n.readFaults(root)
}

// readFaults looks for the campaigns that threw whatever they could.
func (n *newest) readFaults(root string) error {
	files, err := filepath.Glob(filepath.Join(root, "local", "reports", "faults-*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		f := &faults{File: "local/reports/" + strings.TrimSuffix(filepath.Base(file), ".json")}
		if err := readJSON(file, f); err != nil {
			return err
		}
		kept := &n.Faults
		if strings.Contains(f.Conditions, "Kafka: kfake") {
			kept = &n.KFake
		}
		if partial.MatchString(f.Command) || *kept != nil && f.Date.Before((*kept).Date) {
			continue
		}
		*kept = f
	}
	if n.Faults == nil || n.KFake == nil {
		return errors.New("local/reports has no fault campaign of all kinds on Apache Kafka, or none on kfake")
	}
	return nil
}

var partial = regexp.MustCompile(`-only|-drill|-mutations`)

func readJSON(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
