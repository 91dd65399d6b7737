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

// A route that is added has to be called by the clients of all four languages. followWallet is an event stream: in
// Python and Java the clients would wait for its end, so their scenarios leave it out.
func TestEveryClientCallsEveryOperationOfTheContract(t *testing.T) {
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	operations := found(source(t, root, "openapi.yaml"), `(?m)^      operationId: (\w+)$`)
	if len(operations) < 30 {
		t.Fatalf("openapi.yaml has %v", operations)
	}
	for program, call := range map[string]struct {
		named   func(operation string) string
		pattern string
		leftOut string
	}{
		"go/scenario.go":         {func(o string) string { return strings.ToUpper(o[:1]) + o[1:] }, `\bclient\.(\w+)\(`, ""},
		"typescript/scenario.ts": {strings.Clone, `(?:^|[^.\w])(\w+)\(`, ""},
		"python/scenario.py":     {snakeCase, `\b(\w+)\.sync(?:_detailed)?\(`, "followWallet"},
		"java/Scenario.java":     {strings.Clone, `\b(?:wallets|operations|holds|webhooks|system)\.(\w+?)(?:WithHttpInfo)?\(`, "followWallet"},
	} {
		calls := found(source(t, root, "local", "clients", program), call.pattern)
		for _, operation := range operations {
			if operation != call.leftOut && !slices.Contains(calls, call.named(operation)) {
				t.Errorf("%s does not call %s", program, operation)
			}
		}
	}
}

func snakeCase(name string) string {
	return strings.ToLower(regexp.MustCompile(`[A-Z]`).ReplaceAllString(name, "_$0"))
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
