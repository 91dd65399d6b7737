package machine

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// Usage is what a part of the system has consumed.
type Usage struct {
	CPU    time.Duration
	RSSMiB float64 // the most so far; on macOS the present
}

// MeasureUsage returns what processes have used, by name, this one as the generator. Postgres's is
// shared out between the services that its backends work for, and its own processes. What a backend used
// that has ended is lost: the services keep their connections.
func MeasureUsage(pids map[string]int, postmaster int) map[string]Usage {
	used := map[string]Usage{"generator": ProcessUsage(os.Getpid())}
	for name, pid := range pids {
		used[name] = ProcessUsage(pid)
	}
	if postmaster == 0 {
		return used
	}
	for _, pid := range append(proc.ChildrenOf(postmaster), postmaster) {
		name := "postgres"
		title := proc.CommandLine(pid)
		if bytes.HasPrefix(title, []byte("postgres: postgres ")) {
			name = "generator" // the superuser's connections are those that watch
		}
		for _, service := range []string{"api", "relay", "worker", "hooks"} {
			if bytes.Contains(title, []byte("local_"+service)) {
				name += " for " + service
			}
		}
		total := used[name]
		total.CPU += ProcessUsage(pid).CPU
		used[name] = total
	}
	return used
}

// parsePS reads what ps prints on macOS for "time=,rss=": minutes, seconds and hundredths, and KiB.
func parsePS(text string) Usage {
	var minutes int64
	var seconds, kib float64
	if _, err := fmt.Sscanf(strings.TrimSpace(text), "%d:%f %f", &minutes, &seconds, &kib); err != nil {
		return Usage{}
	}
	return Usage{CPU: time.Duration(minutes)*time.Minute + time.Duration(seconds*float64(time.Second)), RSSMiB: kib / 1024}
}

// parseTop reads the last line of top on macOS like "CPU usage: 3.44% user, 5.17% sys, 91.37% idle".
func parseTop(text string) (busyPercent float64, err error) {
	line := text[max(0, strings.LastIndex(text, "CPU usage:")):]
	var user, system float64
	if _, err := fmt.Sscanf(line, "CPU usage: %f%% user, %f%% sys", &user, &system); err != nil {
		return 0, fmt.Errorf("top says %q", text)
	}
	return user + system, nil
}
