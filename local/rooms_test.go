package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// below is what each room may import of the others.
var below = map[string][]string{
	"proc":             {},
	"servers":          {"servers/redisset", "proc"},
	"servers/redisset": {"proc"},
	"stack":            {"servers", "proc"},
	"load":             {},
	"receiver":         {"load"},
	"check":            {"load"},
	"machine":          {"proc"},
	"demo":             {"stack", "load", "check", "receiver", "servers", "proc"},
	"bench":            {"bench/fill", "bench/report", "bench/pipeline", "stack", "load", "check", "machine", "servers", "proc"},
	"bench/fill":       {},
	"bench/report":     {},
	"bench/pipeline":   {"check"},
	"faults":           {"faults/system", "faults/kinds", "stack", "load", "check", "machine", "proc"},
	"faults/kinds":     {"faults/system", "stack", "load", "servers", "servers/redisset", "proc"},
	"faults/system":    {"stack", "load", "check", "receiver", "servers", "proc"},
	"stacktest":        {"stack", "load", "check", "servers", "proc"},
}

// Arrows point down only, and the commands know nothing of each other.
func TestRoomsImportOnlyWhatIsBelow(t *testing.T) {
	const local = "github.com/legendary-wallet/legendary-wallet/local/"
	text, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for packages := json.NewDecoder(bytes.NewReader(text)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		room, _ := strings.CutPrefix(p.ImportPath, local)
		allowed, known := below[room]
		if !known {
			continue
		}
		seen++
		for _, path := range p.Imports {
			if other, ours := strings.CutPrefix(path, local); ours && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s", room, other)
			}
		}
	}
	if seen != len(below) {
		t.Errorf("%d of %d rooms are there", seen, len(below))
	}
}
