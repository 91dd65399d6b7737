package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A mutation takes one of the worker's rules out. The test must then fail: if it does not, it no
// longer proves the rule.
type mutation struct {
	name, test, file string
	edits            []string // what is found, what it is replaced by, and so on
}

const applySQL = "../db/walletdb/apply.sql.go"

var mutations = []mutation{
	{"a wallet moves forward only", "TestAWalletNeverGoesBack", applySQL, []string{
		"w.id = a.id AND w.applied_seq < a.applied_seq", "w.id = a.id",
	}},
	{"what is applied is not read again", "TestMessagesThatComeTwiceLateOrNeverChangeNothing", applySQL, []string{
		"p.seq > w.applied_seq AND", "",
	}},
	{"the operations are read by a later statement than the lock", "TestTwoWorkersApplyOneWalletAtOnce", applySQL, []string{
		"ORDER BY id FOR NO KEY UPDATE\n", "ORDER BY id\n",
		"JOIN wallets w ON", "JOIN (SELECT * FROM wallets WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE) w ON",
	}},
	{"operations are applied without gaps", "TestSimulation", "rules.go", []string{
		"ops[n].Seq == appliedSeq+1+int64(n)", "true",
	}},
	{"a stuck wallet holds the offset back", "TestSimulation", "partition.go", []string{
		"if len(p.stuck) == 0 {\n\t\tp.report(nil)", "{\n\t\tp.report(nil)",
	}},
}

func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			source, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(m.edits); i += 2 {
				if strings.Count(string(source), m.edits[i]) != 1 {
					t.Fatalf("%s has not one %q: change the mutation with the code", m.file, m.edits[i])
				}
			}
			original, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			mutant := filepath.Join(t.TempDir(), filepath.Base(m.file))
			if err := os.WriteFile(mutant, []byte(strings.NewReplacer(m.edits...).Replace(string(source))), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutant}})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "overlay.json")
			if err := os.WriteFile(file, overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			output, err := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-ldflags=-s -w", "-count=1", "-overlay="+file, "-run=^"+m.test+"$", ".").CombinedOutput()
			if err == nil || !strings.Contains(string(output), "--- FAIL: "+m.test) {
				t.Errorf("not caught: %v\n%s", err, output)
			}
		})
	}
}
