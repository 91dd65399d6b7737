//go:build e2e

package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// The commands that make run prints do what it says, word for word.
func TestWhatMakeRunPrintsShowsAWebhook(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1, Hooks: 1})
	state, err := proc.KeptState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	printed := testkit.NewLog(t, "the receiver")
	r, err := listenForWebhooks(state, printed)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	answers, err := exec.CommandContext(t.Context(), "sh", "-ec", payIn(s.Stack)+register(s.Stack, r)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, answers)
	}
	if !strings.Contains(string(answers), `"secret":"whsec_`) || strings.Count(string(answers), `"operationType":"DEPOSIT"`) != 2 {
		t.Errorf("the api answers\n%s", answers)
	}
	s.Until("a webhook of the second deposit is printed", time.Minute, func() bool {
		return printed.Count("DEPOSIT 500 PROCESSED;") > 0
	})
}
