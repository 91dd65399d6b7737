package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/machine"
)

func TestMeasuredIsWhatWasDueBetweenTheSnapshots(t *testing.T) {
	began := time.Now()
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	history := []load.Operation{
		{Due: at(0.5), Answered: at(1.5), Sequence: 1}, // due in the warm-up, answered when it counts
		{Due: at(1.5), Answered: at(1.7), Sequence: 2},
		{Due: at(2.8), Answered: at(3.5), Sequence: 3}, // answered too late to count for the rate
		{Due: at(2.9)}, // never answered
	}
	f := figures{}
	measureLoad(f,
		snapshot{at: at(1), applied: 10, walBytes: 100, used: map[string]machine.Usage{"api": {CPU: time.Millisecond}}, metrics: map[string]float64{"wallet_api_flush_operations_sum": 10, "wallet_api_flush_operations_count": 10}, commits: 100},
		snapshot{at: at(3), applied: 14, walBytes: 300, used: map[string]machine.Usage{"api": {CPU: 3 * time.Millisecond}}, metrics: map[string]float64{"wallet_api_flush_operations_sum": 13, "wallet_api_flush_operations_count": 11}, commits: 110, polls: 6},
		history, &load.AppliedWatch{Steps: map[uuid.UUID][]load.AppliedStep{}})
	want := figures{"accepted/s": 1, "applied/s": 2, "WAL B/op": 100, "CPU api µs/op": 1000, "CPU system µs/op": 1000, "operations/flush": 3, "transactions/op": 2, "round trips/op": 2.5}
	for name, value := range want {
		if f[name] != value {
			t.Errorf("%s is %g, want %g", name, f[name], value)
		}
	}
	if f["accept p50 ms"] < 199 || f["accept max ms"] < 699 || f["accept max ms"] > 701 {
		t.Errorf("%+v", f)
	}
}

func TestResultsOfSeveralRunsAreMedianAndSpread(t *testing.T) {
	r := newResult("a", []figures{{"x": 5}, {"x": 1}, {"x": 2}})
	if want := (spread{Median: 2, Min: 1, Max: 5}); r.Figures["x"] != want {
		t.Errorf("%v", r.Figures["x"])
	}
	if r = newResult("a", []figures{{"x": 1}, {"x": 2}}); r.Figures["x"].Median != 1.5 {
		t.Errorf("%v", r.Figures["x"])
	}
}

func TestLimitsMoveWithAMachineThatIsAnotherOne(t *testing.T) {
	measured := func(fdatasync, nothing float64) report {
		r := report{FdatasyncP50Ms: fdatasync, Results: []result{
			newResult(peersNothing, []figures{{"accept p50 ms": nothing}}),
			newResult("one wallet, c=1", []figures{{"accept p50 ms": 3, "RSS api MiB": 50}}),
			newResult("one wallet, c=256", []figures{{"CPU system µs/op": 120, "applied/s": 11_000, "RSS api MiB": 101}}),
		}}
		r.judge()
		return r
	}
	for name, test := range map[string]struct {
		fdatasync, nothing   float64
		latency, work, rates string
	}{
		"the same machine":         {0.15, 0.13, "", "", ""},
		"a slow disk":              {0.284, 0.14, "≤ 5 met", "", ""},
		"half as fast":             {0.142, 0.28, "≤ 5 met", "≤ 220 met", "≥ 6000 met"},
		"twice as fast":            {0.142, 0.07, "", "≤ 55", "≥ 24000"},
		"half as fast, quick disk": {0.071, 0.28, "≤ 5 met", "≤ 220 met", "≥ 6000 met"},
	} {
		r := measured(test.fdatasync, test.nothing)
		for _, v := range r.Targets {
			want := map[string]string{"accept p50 ms": test.latency, "CPU system µs/op": test.work, "applied/s": test.rates}[v.Figure]
			got := v.Scaled
			if v.MetScaled {
				got += " met"
			}
			if got != want || v.Met {
				t.Errorf("%s: %+v, want the scaled limit %q", name, v, want)
			}
		}
		if len(r.Targets) != 4 {
			t.Errorf("%s: %d targets", name, len(r.Targets))
		}
	}
}

func TestReportIsOnePageAndResultsCanBeCompared(t *testing.T) {
	dir := t.TempDir()
	for name, rate := range map[string]float64{"old": 100, "new": 150} {
		r := report{Commit: name, Results: []result{newResult("one <wallet>", []figures{{"applied/s": rate, "CPU api µs/op": 5}})}}
		if err := r.write("", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "new", "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one &lt;wallet&gt;", "<svg", "applied/s: 150 (150 to 150)"} {
		if !strings.Contains(string(page), text) {
			t.Errorf("the page has no %q", text)
		}
	}
	if outside := regexp.MustCompile(`(src|href)=|url\(|@import|<script`).Find(page); outside != nil {
		t.Errorf("the page needs something else: %s", outside)
	}
	var out strings.Builder
	if err := compareFiles(&out, []string{filepath.Join(dir, "old", "results.json"), filepath.Join(dir, "new", "results.json")}, regexp.MustCompile("")); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`applied/s +100 +150 +1\.50 !`).MatchString(out.String()) {
		t.Errorf("compared:\n%s", out.String())
	}
}
