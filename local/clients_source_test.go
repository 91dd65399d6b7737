package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// A client that needs a cast would say that the contract is typed badly.
func TestClientsNeitherCastNorGiveTypesUp(t *testing.T) {
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	for source, givingUp := range map[string]string{
		"typescript/scenario.ts": `\b(any|unknown|as|satisfies)\b|@ts-|\w!`,
		"events/consumer.py":     `\b(Any|cast)\b|type: ?ignore`,
		"python/scenario.py":     `\b(Any|cast)\b|type: ?ignore`,
		"go/scenario.go":         `\bany\b|interface\{|unsafe|reflect`,
	} {
		program, err := os.ReadFile(filepath.Join(root, "local", "clients", source))
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(givingUp).FindString(string(program)); found != "" {
			t.Errorf("%s: %s", source, found)
		}
	}
}

// What docs/clients.md shows of the clients are lines of the programs that run here.
func TestDocsShowLinesOfTheClients(t *testing.T) {
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	for fence, source := range map[string]string{"go": "go/scenario.go", "ts": "typescript/scenario.ts", "python": "python/scenario.py", "java": "java/Scenario.java"} {
		program, err := os.ReadFile(filepath.Join(root, "local", "clients", source))
		if err != nil {
			t.Fatal(err)
		}
		lines := map[string]bool{"": true}
		for line := range strings.Lines(string(program)) {
			lines[strings.TrimSpace(line)] = true
		}
		_, block, found := strings.Cut(string(page), "\n```"+fence+"\n")
		if !found {
			t.Errorf("docs/clients.md shows no client in %s", fence)
		}
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			if !lines[strings.TrimSpace(line)] {
				t.Errorf("docs/clients.md shows a line that %s has not: %s", source, line)
			}
		}
	}
}

// What docs/clients.md lists are the codes of the api and the worker's reasons, all of them, and openapi.yaml names
// each too.
func TestDocsListEveryCodeAndReason(t *testing.T) {
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	page, contract := source(t, root, "docs", "clients.md"), source(t, root, "openapi.yaml")
	codes := found(source(t, root, "api", "problem.go"), `(?m)^\t\w+ +code = "([a-z-]+)"$`)
	reasons := found(source(t, root, "worker", "rules.go"), `(?m)^\t\w+ += "([A-Z_]+)"$`)
	if len(codes) < 10 || len(reasons) < 10 {
		t.Fatalf("codes %v, reasons %v", codes, reasons)
	}
	if diff := cmp.Diff(codes, found(page, "(?m)^\\| `([a-z-]+)` \\| [45]")); diff != "" {
		t.Errorf("codes (-in problem.go +in docs/clients.md):\n%s", diff)
	}
	_, table, _ := strings.Cut(page, "| failureReason |")
	table, _, _ = strings.Cut(table, "\n\n")
	if diff := cmp.Diff(reasons, found(table, "`([A-Z_]+)`")); diff != "" {
		t.Errorf("reasons (-in rules.go +in docs/clients.md):\n%s", diff)
	}
	for _, word := range slices.Concat(codes, reasons) {
		if !strings.Contains(contract, "`"+word+"`") {
			t.Errorf("openapi.yaml does not name %s", word)
		}
	}
}

func source(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// found are the different words that a pattern finds, sorted.
func found(text, pattern string) []string {
	words := []string{}
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		words = append(words, match[1])
	}
	slices.Sort(words)
	return slices.Compact(words)
}
