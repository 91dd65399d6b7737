package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestResultsOfSeveralRunsAreMedianAndSpread(t *testing.T) {
	x := Figure{Name: "x"}
	r := NewResult("a", []Figures{{x: 5}, {x: 1}, {x: 2}})
	if want := (spread{Median: 2, Min: 1, Max: 5}); r.Figures[x] != want {
		t.Errorf("%v", r.Figures[x])
	}
	if r = NewResult("a", []Figures{{x: 1}, {x: 2}}); r.Figures[x].Median != 1.5 {
		t.Errorf("%v", r.Figures[x])
	}
}

func TestLimitsMoveWithAMachineThatIsAnotherOne(t *testing.T) {
	measured := func(fdatasync, nothing float64) Report {
		r := Report{FdatasyncP50Ms: fdatasync, Results: []Result{
			NewResult(PeersNothing, []Figures{{Latency("accept", "p50"): nothing}}),
			NewResult("one wallet, c=1", []Figures{{Latency("accept", "p50"): 3, RSS("api"): 50}}),
			NewResult("one wallet, c=256", []Figures{{CPU("system"): 120, Applied: 11_000, RSS("api"): 101}}),
		}}
		r.Judge()
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
		r := Report{Commit: name, Results: []Result{NewResult("one <wallet>", []Figures{{Applied: rate, CPU("api"): 5}})}}
		if err := r.Write("", filepath.Join(dir, name)); err != nil {
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
	if err := CompareFiles(&out, []string{filepath.Join(dir, "old", "results.json"), filepath.Join(dir, "new", "results.json")}, regexp.MustCompile("")); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`applied/s +100 +150 +1\.50 !`).MatchString(out.String()) {
		t.Errorf("compared:\n%s", out.String())
	}
}

func TestFiguresAreReadAsTheyAreWritten(t *testing.T) {
	for _, figure := range []Figure{
		Accepted, RowsPerBatch, RoundTrips, WAL, IdleAfterStart, Refused, Stalls, OfPipeline, CPU("api"), CPU("postgres for relay"), RSS("worker"),
		CPU("system").Of("relay").PerRow(), Latency("applied", "p99.9"), Latency("accept", "p99").Of("neighbours"), OfAlone("accept", "p99"),
	} {
		text, err := json.Marshal(map[Figure]int{figure: 1})
		if err != nil {
			t.Fatal(err)
		}
		var read map[Figure]int
		if err := json.Unmarshal(text, &read); err != nil || read[figure] != 1 {
			t.Errorf("%s is read as %v, %v", text, read, err)
		}
	}
}
