package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

func TestAServiceRunsTheProgramThatReplacesIts(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stack.Config{APIs: 1, Relays: 2, Workers: 1})
	other := filepath.Join(t.TempDir(), "another-relay")
	if err := os.Symlink(filepath.Join(s.Bin, "relay"), other); err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(t.Context(), "relay", other); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Replicas("relay") {
		if line := string(proc.CommandLine(p.CurrentPID())); !strings.HasPrefix(line, other) {
			t.Errorf("%s runs %q", p.Name, line)
		}
	}
	added, err := s.Service("relay", 2, "")
	if err != nil {
		t.Fatal(err)
	}
	if added.Argv[0] != other {
		t.Errorf("a further replica would run %s", added.Argv[0])
	}
	s.Deposit(s.APIURLs[0], s.OpenWallets(1)[0])
	s.Until("it is published and applied", time.Minute, func() bool { return s.Outcomes() == 1 })
}

func TestTheDescriptionNamesEachProcessAndWhereEachAPIIs(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stack.Config{APIs: 2, Relays: 1, Workers: 1})
	text, err := os.ReadFile(filepath.Join(s.State.Dir, "stack.json"))
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		APIURL    string
		Processes []struct {
			Name, AdminURL, APIURL string
			PID                    int
		}
	}
	if err := json.Unmarshal(text, &described); err != nil {
		t.Fatal(err)
	}
	var apis []string
	for _, p := range described.Processes {
		if p.PID != s.Process(p.Name).CurrentPID() || p.AdminURL != s.Process(p.Name).AdminURL {
			t.Errorf("%+v is not %s", p, p.Name)
		}
		if p.APIURL != "" {
			apis = append(apis, p.APIURL)
		}
	}
	if len(described.Processes) != 4 || !slices.Equal(apis, s.APIURLs) || described.APIURL != apis[0] {
		t.Errorf("%s", text)
	}
}
