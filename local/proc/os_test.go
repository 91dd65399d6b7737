package proc

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
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
	reaper := exec.Command(Self(), "reaper")
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
	if found := ChildrenOf(os.Getpid()); !slices.Contains(found, cmd.Process.Pid) {
		t.Errorf("%d is not among %d", cmd.Process.Pid, found)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if found := ChildrenOf(os.Getpid()); slices.Contains(found, cmd.Process.Pid) {
		t.Errorf("%d is among %d after its end", cmd.Process.Pid, found)
	}
}
