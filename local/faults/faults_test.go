package faults

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

func TestARoundTakesOneSlowFaultOrSomeQuickOnes(t *testing.T) {
	quick, held, slow := system.Fault{Name: "quick", Within: system.OfService}, system.Fault{Name: "held", Within: system.OfService, Holds: 5 * time.Second}, system.Fault{Name: "slow", Within: system.OfServer}
	for name, c := range map[string]struct {
		deck []system.Fault
		want int
	}{
		"quick":                     {[]system.Fault{quick, quick, quick, quick, quick, quick, quick}, 6},
		"the end of the deck":       {[]system.Fault{quick, quick}, 2},
		"held ones":                 {[]system.Fault{held, held, held}, 2},
		"a held one, and quick":     {[]system.Fault{held, quick, held, held}, 3},
		"slow":                      {[]system.Fault{slow, quick}, 1},
		"slow after quick":          {[]system.Fault{quick, quick, slow}, 2},
		"what loses the log, alone": {[]system.Fault{quick, {Within: system.OfService, LosesLog: true}}, 1},
	} {
		if hand := deal(c.deck, false); len(hand) != c.want {
			t.Errorf("%s: %d faults", name, len(hand))
		}
		if hand := deal(c.deck, true); len(hand) != 1 {
			t.Errorf("%s, each alone: %d faults", name, len(hand))
		}
	}
}

func TestAReportIsForPeopleAndForPrograms(t *testing.T) {
	dir := t.TempDir()
	r := &report{
		Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seed: 7, Faults: 3, Kinds: []*record{
			{Name: "one", Thrown: 3, Recoveries: []float64{3, 1, 2}, WorstAccept: 4},
			{Name: "another", NotPossible: "no root"},
		},
	}
	if err := r.write(dir, "apache-10m"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "faults-2026-01-02-apache-10m.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026-01-02 03:04", "seed 7", "| one | 3 | 2.0 | 3.0 | 0.0 | 4.0 |", "| another | not possible here: no root"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var read report
	if text, err = os.ReadFile(filepath.Join(dir, "faults-2026-01-02-apache-10m.json")); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &read); err != nil || read.Faults != 3 || len(read.Kinds) != 2 {
		t.Errorf("%v: %s", err, text)
	}
}

// A find that no longer matches would take nothing away.
func TestMutationsOfTheCampaignMatchTheCode(t *testing.T) {
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range slices.Concat(faultMutations, standbyMutations) {
		source, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(m.edits); i += 2 {
			if n := strings.Count(string(source), m.edits[i]); n != 1 {
				t.Errorf("%s: %s has %q %d times", m.rule, m.file, m.edits[i], n)
			}
		}
	}
}
