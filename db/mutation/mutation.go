// Package mutation proves that tests can fail. A mutation takes a rule out of a copy of the code, and
// the test that guards the rule must then fail: if it does not, the test is blind.
package mutation

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
// the rule, the test that found it out, the time which that test took, and what it said. The tests are
// built once, with all the mutants of functions, and again for each mutation of anything else.
func Run(t *testing.T, mutations []Mutation) {
	chosen := filepath.Join(t.TempDir(), "chosen")
	all, err := together(mutations, chosen)
	if err != nil {
		t.Fatal(err)
	}
	shared := build(t, all)
	shared.pass(t, mutations)
	for i, m := range mutations {
		t.Run(m.rule, func(t *testing.T) {
			tests := shared
			if all.has[i] {
				if err := os.WriteFile(chosen, []byte(strconv.Itoa(i)), 0o600); err != nil {
					t.Fatal(err)
				}
			} else {
				mutant, err := m.mutant()
				if err != nil {
					t.Fatal(err)
				}
				tests = build(t, overlay{files: map[string]string{m.file: mutant}})
			}
			output, err := tests.run(t, m.test, "-test.timeout=2m", "-test.failfast")
			failed := regexp.MustCompile(`--- FAIL: ` + m.test + ` \((\S+)\)`).FindSubmatch(output)
			if err == nil || failed == nil {
				t.Fatalf("not caught by %s: %v\n%s", m.test, err, output)
			}
			t.Logf("| %s | %s | %s | %s |", m.rule, m.test, failed[1], lastComplaint(output))
		})
	}
}

// Folder names the setting of a folder for a program that the tests build: the next mutant needs no other.
const Folder = "MUTANTS_FOLDER"

// tests are those of the package, built with mutants.
type tests struct {
	binary string
	flags  string // GOFLAGS, which other builds have to have for the same mutants
}

func build(t *testing.T, o overlay) tests {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "mutants.test")
	// Without inlining and debugging data the tests are built faster.
	flags := "GOFLAGS=" + os.Getenv("GOFLAGS") + " -vet=off -ldflags=-w '-gcflags=-l -dwarf=false' -overlay=" + o.write(t)
	child := exec.CommandContext(t.Context(), "go", "test", "-tags=e2e", "-c", "-o", binary, ".")
	child.Env = append(os.Environ(), flags)
	if output, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return tests{binary, flags}
}

// run runs some of them, by a regexp.
func (b tests) run(t *testing.T, names string, flags ...string) ([]byte, error) {
	t.Helper()
	child := exec.CommandContext(t.Context(), b.binary, append(flags, "-test.count=1", "-test.parallel=8", "-test.run=^("+names+")$")...)
	child.Env = append(os.Environ(), b.flags, Folder+"="+filepath.Dir(b.binary)) // for the builds that a test does itself
	return child.CombinedOutput()
}

// pass fails unless the tests pass while no mutant is chosen: what breaks them all would catch every mutant.
func (b tests) pass(t *testing.T, mutations []Mutation) {
	t.Helper()
	names := map[string]bool{}
	for _, m := range mutations {
		names[m.test] = true
	}
	if output, err := b.run(t, strings.Join(slices.Sorted(maps.Keys(names)), "|"), "-test.timeout=10m"); err != nil {
		t.Fatalf("without a mutant: %v\n%s", err, output)
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
