package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

func TestNothingOutlivesLocal(t *testing.T) {
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(stacktest.Binaries(t), "local")
	if err := proc.Run(t.Context(), root, "go", "build", "-o", program, "./local"); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			// All its processes have to do with this folder. Kafka's would take longer, and dies like
			// Redis's.
			state, err := proc.TemporaryState()
			if err != nil {
				t.Fatal(err)
			}
			defer state.Close()
			cmd := exec.Command(program, "parts", "--", "sleep", "600")
			cmd.Env = append(os.Environ(), "TMPDIR="+state.Dir, "TEST_DATABASE_URL=", "TEST_REDIS_URL=", "TEST_KAFKA_BROKERS=unused")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stacktest.Until(t, "a child of local sleeps", time.Minute, func() bool { return hasChild(cmd.Process.Pid, "sleep") })
			const local, command, redis, launcher, postmaster = 1, 1, 1, 1, 1
			if n := len(processesWith(state.Dir)); n < local+command+redis+launcher+postmaster {
				t.Fatalf("only %d processes run", n)
			}
			_ = cmd.Process.Signal(signal)
			_ = cmd.Wait()
			stacktest.Until(t, "all processes are gone", 15*time.Second, func() bool { return len(processesWith(state.Dir)) == 0 })
		})
	}
}

// processesWith lists the processes that have a folder in their environment, or run in it: Redis
// writes its title over its environment.
func processesWith(folder string) []string {
	var found []string
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		environment, _ := os.ReadFile(filepath.Join(process, "environ"))
		runsIn, _ := os.Readlink(filepath.Join(process, "cwd"))
		if strings.Contains(string(environment), folder) || strings.HasPrefix(runsIn, folder) {
			found = append(found, process)
		}
	}
	return found
}

func hasChild(parent int, name string) bool {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		if stat, err := os.ReadFile(path); err == nil && strings.Contains(string(stat), fmt.Sprintf("(%s) S %d ", name, parent)) {
			return true
		}
	}
	return false
}
