package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A mutation takes one of the relay's rules out. The test must then fail: if it does not, it no
// longer proves the rule.
type mutation struct{ name, test, file, find, replace string }

var mutations = []mutation{
	{
		"R1: a window's rows are all published before the next window", "TestSimulation",
		"publish.go", "case taken < len(rows):\n\t\tp.after = rows[taken-1].ID\n", "",
	},
	{
		"R1: a large window is published by its own snapshot, not by the first rows found", "TestSimulation",
		"publish.go", "len(rows) <= s.limits.rows {", "true {",
	},
	{
		"R1: a large window is read to its end", "TestSimulation",
		"publish.go", "case upTo < p.last:\n\t\tp.after = upTo\n", "",
	},
	{
		"R1: rows are published in id order", "TestWindowsHoldWhatBecameVisible",
		"../db/walletdb/relay.sql.go", "AS cur FROM w ORDER BY id", "AS cur FROM w ORDER BY id DESC",
	},
	{
		"R1: transactions that were running are read later", "TestWindowsHoldWhatBecameVisible",
		"../db/walletdb/relay.sql.go", "FROM pg_snapshot_xip($1::pg_snapshot) x (xid)", "FROM (SELECT NULL::xid8 LIMIT 0) x (xid)",
	},
	{
		"R2: a wave that failed is read again", "TestSimulation",
		"publish.go", "if err := s.publish(ctx, messages); err != nil {\n\t\t\treturn 0, false, err\n\t\t}", "_ = s.publish(ctx, messages)",
	},
	{
		"R2: nothing is sent behind a gap", "TestNothingIsSentBehindAGap",
		"kafka.go", `"enable.gapless.guarantee": true`, `"enable.gapless.guarantee": false`,
	},
	{
		"R3: a wave is published when all of it is acknowledged", "TestAWaveIsPublishedWhenAllOfItIsAcknowledged",
		"kafka.go", "for acknowledged < len(messages) {", "for acknowledged < len(messages)-1 {",
	},
	{
		"R3: a position is saved after the acknowledgement", "TestSimulation",
		"publish.go", "\tif len(messages) > 0 {\n\t\tif err := s.publish", "\ts.at = window.past(rows, taken, upTo)\n\tif len(messages) > 0 {\n\t\tif err := s.publish",
	},
	{
		"R4: the registered count decides the partition", "TestSimulation",
		"publish.go", "partition(r.Key, partitions), partitions}", "-1, partitions}",
	},
}

func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			source, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(source), m.find) == 0 {
				t.Fatalf("%s has no %q any more: change the mutation with the code", m.file, m.find)
			}
			original, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			mutant := filepath.Join(t.TempDir(), filepath.Base(m.file))
			if err := os.WriteFile(mutant, []byte(strings.ReplaceAll(string(source), m.find, m.replace)), 0o600); err != nil {
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
			output, err := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-overlay="+file, "-run=^"+m.test+"$", ".").CombinedOutput()
			if err == nil || !strings.Contains(string(output), "--- FAIL: "+m.test) {
				t.Errorf("not caught: %v\n%s", err, output)
			} else {
				t.Logf("%s", strings.SplitN(string(output), "\n", 3)[1])
			}
		})
	}
}
