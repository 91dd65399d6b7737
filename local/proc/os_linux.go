package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// This file and os_darwin.go hold what differs between Linux and macOS.

// endWithParent lets the kernel kill a child when local ends, however it ends.
func endWithParent(child *syscall.SysProcAttr) { child.Pdeathsig = syscall.SIGKILL }

// needsReaper is false: the kernel ends local's children.
const needsReaper = false

// CommandLine is empty for a process that has ended.
func CommandLine(pid int) []byte {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return text
}

// ChildrenOf lists the processes that a process has started.
func ChildrenOf(parent int) []int {
	var children []int
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		fields := StatFields(path)
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			children = append(children, pid)
		}
	}
	return children
}

// StatFields are the fields of /proc/PID/stat from the third on, the state. The second, the program's
// name, may contain anything. There are none for a process that has ended.
func StatFields(path string) []string {
	stat, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
}
