package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// This file and os_linux.go hold what differs between Linux and macOS. macOS has no /proc: ps, pgrep
// and top, which every macOS has, tell what is read there on Linux.

// endWithParent does nothing: macOS has no parent-death signal. The reaper does it.
func endWithParent(*syscall.SysProcAttr) {}

const needsReaper = true

// commandLine is empty for a process that has ended.
func commandLine(pid int) []byte {
	text, _ := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return text
}

// childrenOf lists the processes that a process has started.
func childrenOf(parent int) []int {
	var children []int
	text, _ := exec.Command("pgrep", "-P", strconv.Itoa(parent)).Output()
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			children = append(children, pid)
		}
	}
	return children
}

// processUsage returns nothing for a process that has ended. The memory is what it has now: ps does
// not know the most that it had.
func processUsage(pid int) usage {
	text, err := exec.Command("ps", "-o", "time=,rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return usage{}
	}
	return parsePS(string(text))
}

// measureBusy tells how much of the machine something else takes. The first of top's two samples is
// since the machine's start.
func measureBusy(during time.Duration) (percent float64, err error) {
	seconds := max(1, int(during.Seconds()))
	text, err := exec.Command("top", "-l", "2", "-n", "0", "-s", strconv.Itoa(seconds)).Output()
	if err != nil {
		return 0, fmt.Errorf("top: %w", err)
	}
	return parseTop(string(text))
}

// fdatasync is more on macOS: Sync asks the drive to write its cache out (F_FULLFSYNC), which
// Postgres does there with wal_sync_method=fsync_writethrough only.
func fdatasync(file *os.File) error { return file.Sync() }

func niceness() int {
	nice, _ := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	return nice
}

var errNoMounts = errors.New("a file system of its own takes Linux and root")

func ownMounts() error                 { return errNoMounts }
func mountMemory(_, _ string) error    { return errNoMounts }
func limitMemory(string, uint64) error { return errNoMounts }
