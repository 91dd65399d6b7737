package proc

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// This file and os_linux.go hold what differs between Linux and macOS. macOS has no /proc: ps, pgrep
// and top, which every macOS has, report what is read there on Linux.

// endWithParent does nothing: macOS has no parent-death signal. The reaper does it.
func endWithParent(*syscall.SysProcAttr) {}

const needsReaper = true

// CommandLine is empty for a process that has ended.
func CommandLine(pid int) []byte {
	text, _ := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return text
}

// ChildrenOf lists the processes that a process has started.
func ChildrenOf(parent int) []int {
	var children []int
	text, _ := exec.Command("pgrep", "-P", strconv.Itoa(parent)).Output()
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			children = append(children, pid)
		}
	}
	return children
}
