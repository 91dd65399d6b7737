package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
