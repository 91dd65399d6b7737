package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file and os_darwin.go hold what differs between Linux and macOS.

// endWithParent lets the kernel kill a child when local ends, however it ends.
func endWithParent(child *syscall.SysProcAttr) { child.Pdeathsig = syscall.SIGKILL }

// needsReaper is false: the kernel ends local's children.
const needsReaper = false

// commandLine is empty for a process that has ended.
func commandLine(pid int) []byte {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return text
}

// childrenOf lists the processes that a process has started.
func childrenOf(parent int) []int {
	var children []int
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		fields := statFields(path)
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			children = append(children, pid)
		}
	}
	return children
}

// statFields are the fields of /proc/PID/stat from the third on, the state. The second, the program's
// name, may contain anything. There are none for a process that has ended.
func statFields(path string) []string {
	stat, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
}

// ticksPerSecond is the unit of CPU times in /proc, the same on every Linux.
const ticksPerSecond = 100

// processUsage returns nothing for a process that has ended.
func processUsage(pid int) usage {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	fields := statFields(filepath.Join(folder, "stat"))
	if len(fields) < 13 {
		return usage{}
	}
	// utime and stime are the 14th and 15th of all.
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	u := usage{cpu: time.Duration(user+system) * time.Second / ticksPerSecond}
	status, _ := os.ReadFile(filepath.Join(folder, "status"))
	if _, after, found := strings.Cut(string(status), "VmHWM:"); found {
		kib, _ := strconv.ParseFloat(strings.Fields(after)[0], 64)
		u.rssMiB = kib / 1024
	}
	return u
}

// measureBusy tells how much of the machine something else takes.
func measureBusy(during time.Duration) (percent float64, err error) {
	read := func() (busy, total int64, err error) {
		text, err := os.ReadFile("/proc/stat")
		if err != nil {
			return 0, 0, err
		}
		var user, nice, system, idle, wait, irq, softirq, steal int64
		if _, err := fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal); err != nil {
			return 0, 0, err
		}
		busy = user + nice + system + irq + softirq + steal
		return busy, busy + idle + wait, nil
	}
	busy, total, err := read()
	if err != nil {
		return 0, err
	}
	time.Sleep(during)
	busyAfter, totalAfter, err := read()
	return 100 * float64(busyAfter-busy) / float64(max(1, totalAfter-total)), err
}

func fdatasync(file *os.File) error { return syscall.Fdatasync(int(file.Fd())) }

// niceness is this process's. The kernel's answer is 20 - nice.
func niceness() int {
	priority, _ := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	return 20 - priority
}

// ownMounts gives the processes that the launcher's thread will start mounts of their own. It takes
// root.
func ownMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	return unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
}

// mountMemory mounts a file system in memory.
func mountMemory(folder, options string) error {
	return unix.Mount("tmpfs", folder, "tmpfs", 0, options)
}

// limitMemory changes how much such a file system may hold: 0 is what it holds now.
func limitMemory(folder string, bytes uint64) error {
	if bytes == 0 {
		var now unix.Statfs_t
		if err := unix.Statfs(folder, &now); err != nil {
			return err
		}
		bytes = (now.Blocks - now.Bfree) * uint64(now.Bsize)
	}
	return unix.Mount("", folder, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", bytes))
}
