package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of CPU times in /proc, the same on every Linux.
const ticksPerSecond = 100

// usage is what a part of the system has consumed.
type usage struct {
	cpu    time.Duration
	rssMiB float64 // the most so far
}

// measureUsage returns what every process of the stack has used, by name. Postgres's is shared out
// between the services that its backends work for, and its own processes. What a backend used that
// has ended is lost: the services keep their connections.
func (s *stack) measureUsage() map[string]usage {
	used := map[string]usage{"generator": processUsage(os.Getpid())}
	for _, p := range slices.Concat(s.services, s.parts.processes) {
		if p.name != "postgres" {
			used[p.name] = processUsage(p.currentPID())
		}
	}
	// The postmaster detaches itself from its launcher, so its processes are found by the data folder
	// that it runs in.
	processes, _ := filepath.Glob("/proc/[0-9]*")
	data := filepath.Join(s.state.dir, "postgres", "data")
	for _, process := range processes {
		if folder, err := os.Readlink(filepath.Join(process, "cwd")); err != nil || folder != data {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			continue
		}
		name := "postgres"
		title, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		if bytes.HasPrefix(title, []byte("postgres: postgres ")) {
			name = "generator" // the superuser's connections are those that watch
		}
		for _, service := range []string{"api", "relay", "worker"} {
			if bytes.Contains(title, []byte("local_"+service)) {
				name += " for " + service
			}
		}
		total := used[name]
		total.cpu += processUsage(pid).cpu
		used[name] = total
	}
	return used
}

// processUsage returns nothing for a process that has ended.
func processUsage(pid int) usage {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return usage{}
	}
	// The second field, the program's name, may contain anything, so fields are counted behind it:
	// utime and stime are the 14th and 15th.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
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
