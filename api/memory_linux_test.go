package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// mostMemoryMiB is the most memory that the process has used so far.
func (a *api) mostMemoryMiB(t *testing.T) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}
