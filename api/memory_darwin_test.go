package main

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// mostMemoryMiB is the memory that the process has now: macOS's ps does not know the most that it had.
func (a *api) mostMemoryMiB(t *testing.T) float64 {
	t.Helper()
	text, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(a.process.Pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	kib, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}
