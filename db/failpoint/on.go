//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

// FAILPOINT names the point that kills the process, FAILPOINT_AFTER how often it may be reached
// before (0 times if unset).
var (
	deadly  = os.Getenv("FAILPOINT")
	left, _ = strconv.ParseInt(os.Getenv("FAILPOINT_AFTER"), 10, 64)
	reached atomic.Int64
)

// Reach kills the process with SIGKILL if name is the point that FAILPOINT names.
func Reach(name string) {
	if name == deadly && reached.Add(1) > left {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// ReachIf is Reach if the condition holds.
func ReachIf(condition bool, name string) {
	if condition {
		Reach(name)
	}
}
