//go:build e2e

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// The programs of the last release serve the newest schema; they are replaced by those of today one by
// one under load, and after that taken back one by one. The topic of events comes when those of today run, and stays.
func TestTheLastReleaseWorksOnTheNewestSchema(t *testing.T) {
	s := &system{stacktest.NewWithoutEvents(t, stack.Config{APIs: 2, Relays: 2, Workers: 2})}
	s.OtherTimes, s.EventGaps = true, true
	today := s.Bin
	last := lastRelease(t)
	for _, p := range s.Services {
		p.Replace(programOf(last, p))
		s.Kill(p, syscall.SIGTERM)
	}
	l := s.Load(s.OpenWallets(20))
	lag := s.watchLag()
	for _, bin := range []string{today, last} {
		s.UntilApplied(time.Minute)
		for _, p := range s.Services {
			p.Replace(programOf(bin, p))
			s.roll(p, lag)
		}
		if bin == today {
			if err := s.CreateTopic(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.UntilEvents()
		}
	}
	s.Keep(l)
	t.Logf("%d operations accepted", l.Accepted.Load())
}

// A worker of the last release meets what it does not know: the apis came first. It leaves that wallet waiting and
// applies the others, and one of today applies what has waited.
func TestAWorkerOfTheLastReleaseLeavesWhatItDoesNotKnow(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	s.OtherTimes, s.EventGaps = true, true
	today, worker := s.Bin, s.Process("worker")
	worker.Replace(programOf(lastRelease(t), worker))
	s.Kill(worker, syscall.SIGTERM)
	wallets := s.OpenWallets(2)
	history := []load.Operation{s.Deposit(s.APIURLs[0], wallets[0])}
	s.Until("the worker of the last release applies", time.Minute, func() bool { return s.Outcomes() == 1 })
	l := &load.Load{APIs: s.APIURLs, APIKey: s.APIKey, Attempt: 12 * time.Second, Patience: 30 * time.Second}
	history = append(history, l.SendThese(t.Context(), load.Operation{Wallet: wallets[0], Kind: "HOLD", Amount: 1})...)
	for range 3 {
		history = append(history, s.Deposit(s.APIURLs[0], wallets[0]), s.Deposit(s.APIURLs[0], wallets[1]))
	}
	s.Until("the other wallet's are applied", time.Minute, func() bool { return s.Outcomes() == 4 })
	if _, version := s.Balance(wallets[0]); version != 1 {
		t.Errorf("the wallet is at version %d behind what the worker does not know", version)
	}
	worker.Replace(programOf(today, worker))
	s.Kill(worker, syscall.SIGTERM)
	s.Until("a worker of today applies what has waited", time.Minute, func() bool { return s.Outcomes() == 8 })
	s.KeepPromises(history)
}

// programOf is a process's program in another folder.
func programOf(bin string, p *proc.Process) string {
	return filepath.Join(bin, filepath.Base(p.Argv[0]))
}

// A client that was generated from the last release's contract sees of a wallet with deposits and withdrawals alone
// what it saw then.
func TestTheLastReleasesClientSeesWhatItSaw(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	client, saw := clientOfLastRelease(t)
	client.env = []string{"API_URL=" + s.APIURLs[0], "API_KEY=" + s.APIKey}
	if diff := cmp.Diff(saw, client.run(client.program...)); diff != "" {
		t.Errorf("the last release's client saw (-then +now):\n%s", diff)
	}
}

// clientOfLastRelease is the Go client that the last release's tests ran, and what it saw then.
func clientOfLastRelease(t *testing.T) (client *clientSource, saw string) {
	t.Helper()
	released := sourceOfLastRelease(t)
	_, saw, _ = strings.Cut(source(t, released, "local", "clients_test.go"), "const seenByClients = `")
	saw, _, found := strings.Cut(saw, "`")
	if !found {
		t.Fatal("the last release has no seenByClients")
	}
	return goClient(t, released), saw
}

// lastRelease builds the programs of the last release.
func lastRelease(t *testing.T) string {
	t.Helper()
	source, bin := sourceOfLastRelease(t), filepath.Join(stacktest.Binaries(t), "last_release")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	// With the same flags, so that what did not change since is not built again.
	if err := stack.Build(ctx, source, bin, io.Discard, testkit.BuildFlags()...); err != nil {
		t.Fatal(err)
	}
	return bin
}

// sourceOfLastRelease is a folder with the commit that last_release names. A clone may lack the tags, but has the
// history.
func sourceOfLastRelease(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("last_release")
	if err != nil {
		t.Fatal(err)
	}
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	archive := filepath.Join(folder, "archive.tar")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := proc.Run(ctx, root, "git", "archive", "--output", archive, strings.Fields(string(text))[0]); err != nil {
		t.Fatal(err)
	}
	if err := proc.Run(ctx, folder, "tar", "-xf", archive); err != nil {
		t.Fatal(err)
	}
	return folder
}
