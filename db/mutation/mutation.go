// Package mutation proves that tests can fail. A mutation takes a rule out of a copy of the code, and
// the test that guards the rule must then fail: if it does not, the test is blind.
package mutation

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A Mutation takes one rule out.
type Mutation struct {
	rule, test, file string
	edits            []string
}

// Of takes the rule out of a file, named from the package's folder: edits are what is found there,
// exactly once and however its white space is, what it is replaced by, and so on. The test of that name
// must then fail.
func Of(rule, test, file string, edits ...string) Mutation { return Mutation{rule, test, file, edits} }

// Apply fails unless each mutation can be made, and names a test of the package. It takes no time: a
// change of the code that a mutation does not know of is found at once, and not when Run is next due.
func Apply(t *testing.T, mutations []Mutation) {
	t.Helper()
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var sources []byte
	for _, file := range tests {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, source...)
	}
	for _, m := range mutations {
		if _, err := m.mutant(); err != nil {
			t.Errorf("%s: %v", m.rule, err)
		}
		if !strings.Contains(string(sources), "func "+m.test+"(") {
			t.Errorf("%s: there is no %s", m.rule, m.test)
		}
	}
}

// Run tries each mutation on the package in the current folder, and logs a row of a table about it:
// the rule, the test that found it out, the time which that test took, and what it said.
func Run(t *testing.T, mutations []Mutation) {
	for _, m := range mutations {
		t.Run(m.rule, func(t *testing.T) {
			// GOFLAGS reaches the builds that a test does itself. Without inlining and debugging data they are made faster.
			child := exec.CommandContext(t.Context(), "go", "test", "-tags=e2e", "-count=1", "-timeout=2m", "-failfast", "-parallel=8", "-run=^"+m.test+"$", ".")
			child.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -vet=off -ldflags=-w '-gcflags=-l -dwarf=false' -overlay="+overlay(t, m))
			output, err := child.CombinedOutput()
			failed := regexp.MustCompile(`--- FAIL: ` + m.test + ` \((\S+)\)`).FindSubmatch(output)
			if err == nil || failed == nil {
				t.Fatalf("not caught by %s: %v\n%s", m.test, err, output)
			}
			t.Logf("| %s | %s | %s | %s |", m.rule, m.test, failed[1], lastComplaint(output))
		})
	}
}

// mutant is the file without the rule.
func (m Mutation) mutant() (string, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	var replace []string
	for i := 0; i < len(m.edits); i += 2 {
		words := strings.Fields(m.edits[i])
		for j, word := range words {
			words[j] = regexp.QuoteMeta(word)
		}
		found := regexp.MustCompile(strings.Join(words, `\s+`)).FindAllString(string(source), -1)
		if len(found) != 1 {
			return "", fmt.Errorf("%s has %q %d times, not once: change the mutation with the code", m.file, m.edits[i], len(found))
		}
		replace = append(replace, found[0], m.edits[i+1])
	}
	return strings.NewReplacer(replace...).Replace(string(source)), nil
}

// overlay writes the mutant, and returns the file that tells the go command of it.
func overlay(t *testing.T, m Mutation) string {
	t.Helper()
	text, err := m.mutant()
	if err != nil {
		t.Fatal(err)
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		t.Fatal(err)
	}
	mutant := filepath.Join(t.TempDir(), filepath.Base(m.file))
	if err := os.WriteFile(mutant, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	file := mutant + ".overlay"
	if err := os.WriteFile(file, replaced, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var complaint = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.+)$`)

// lastComplaint is the last thing that a failed test said, in short.
func lastComplaint(output []byte) string {
	said := complaint.FindAllSubmatch(output, -1)
	if said == nil {
		return "no word"
	}
	text := []rune(string(said[len(said)-1][1]))
	return string(text[:min(len(text), 120)])
}
