package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// macOS has no parent-death signal: what ends local's children there is tried here on Linux too.
func TestTheReaperEndsWhatIsLeftWhenItsInputEnds(t *testing.T) {
	sleeper := func() *exec.Cmd {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd
	}
	left, forgotten := sleeper(), sleeper()
	reaper := exec.Command(self(), "reaper")
	reaper.Stdin = strings.NewReader(fmt.Sprintf("+%d\n+%d\n-%d\n", left.Process.Pid, forgotten.Process.Pid, forgotten.Process.Pid))
	if output, err := reaper.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if err := left.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the process that was left ended with %v", err)
	}
	if err := forgotten.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process that was forgotten is gone: %v", err)
	}
}

func TestTheReaperTakesNoOtherWord(t *testing.T) {
	for _, word := range []string{"+1", "+0", "+-7", "12x", ""} {
		if err := serveReaper(strings.NewReader(word + "\n")); err == nil {
			t.Errorf("%q is taken for a process group", word)
		}
	}
}

func TestChildrenAreFoundByTheirParent(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if found := childrenOf(os.Getpid()); !slices.Contains(found, cmd.Process.Pid) {
		t.Errorf("%d is not among %d", cmd.Process.Pid, found)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if found := childrenOf(os.Getpid()); slices.Contains(found, cmd.Process.Pid) {
		t.Errorf("%d is among %d after its end", cmd.Process.Pid, found)
	}
}

func TestWhatPsAndTopSayOnMacOSIsRead(t *testing.T) {
	for text, want := range map[string]usage{
		"   0:01.25  10240\n": {1250 * time.Millisecond, 10},
		" 61:00.50 2097152\n": {61*time.Minute + 500*time.Millisecond, 2048},
		"":                    {},
	} {
		if got := parsePS(text); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
	const sample = "Processes: 412 total\nLoad Avg: 1.9, 2.0, 2.1\nCPU usage: %s idle\nSharedLibs: 700M resident\n"
	text := fmt.Sprintf(sample+sample, "50.0% user, 25.0% sys, 25.0%", "3.5% user, 5.25% sys, 91.25%")
	if busy, err := parseTop(text); err != nil || busy != 8.75 {
		t.Errorf("%g %% busy, %v; want the second sample's 8.75", busy, err)
	}
	if _, err := parseTop("top: illegal option\n"); err == nil {
		t.Error("what is not a sample is read")
	}
}
